"""Files are whole or absent."""

import os
import signal
import subprocess
import sys
from typing import Any

import pyarrow.parquet as pq
import pytest
from projects import REPOSITORY

from omniopd.data.lock import only_writer
from omniopd.data.receipts import valid_receipt, write_receipt
from omniopd.data.records import Reward, Verdict
from omniopd.data.store import (
    num_rows,
    read_column,
    read_json,
    read_records,
    write_atomic,
    write_dir_atomic,
    write_json,
    write_records,
)
from omniopd.errors import DataError, RunError

VERDICT = Verdict(
    id="t/5", trajectory_id="t", anchor=5, chunk_len=2, chunk="=0", teacher="demo", mode="completion", num_replies=2,
    replies=["=0", "é"], similarities=[1.0, 0.1], k_sem=1.1, pi_bar=0.62, seed=2**50, prompt_tokens=15,
    completion_tokens=8, cost_usd=0.25, finish_reasons=["length", "stop"], reply_ids=[[11, 0], []], boundary=False,
)  # fmt: skip


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(partial):
        partial.write_text("half of the n")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, fail)
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("file", "old")]


def test_a_directory_that_fails_to_fill_leaves_the_old_one_and_nothing_else(tmp_path):
    path = tmp_path / "folder"
    write_dir_atomic(path, lambda folder: (folder / "a").write_text("old"))

    def fail(folder):
        (folder / "a").write_text("new")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_dir_atomic(path, fail)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]
    assert (path / "a").read_text() == "old"


DYING = """
import os, signal, sys
from pathlib import Path
from omniopd.data.store import write_atomic, write_dir_atomic
def die(partial):
    (partial / "a" if partial.is_dir() else partial).write_text("half of the n")
    os.kill(os.getpid(), signal.SIGKILL)
{"file": write_atomic, "folder": write_dir_atomic}[sys.argv[1]](Path(sys.argv[1]), die)
"""


@pytest.mark.parametrize("name", ["file", "folder"])
def test_what_a_killed_writer_left_is_removed_by_the_next_of_the_same(tmp_path, name: str):
    other = tmp_path / f".{name}.elsewhere-1.partial"
    other.write_text("of another machine, where it may yet be written")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    died = subprocess.run([sys.executable, "-c", DYING, name], cwd=tmp_path, env=environment, check=False)
    assert died.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    if name == "file":
        write_atomic(tmp_path / name, lambda partial: partial.write_text("new"))
    else:
        write_dir_atomic(tmp_path / name, lambda partial: (partial / "a").write_text("new"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, name]


def test_records_come_back_equal_and_equal_records_give_equal_bytes(tmp_path):
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for path in paths:
        write_records(path, [VERDICT, VERDICT], Verdict)
    assert read_records(paths[0], Verdict) == [VERDICT, VERDICT]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    write_records(paths[0], [], Verdict)
    assert read_records(paths[0], Verdict) == []


def test_a_column_that_a_file_was_written_without_holds_its_default(tmp_path):
    path = tmp_path / "rewards.parquet"
    write_records(path, [Reward("a", "42", 1.0, "MemoryError"), Reward("b", None, 0.0)], Reward)
    pq.write_table(pq.read_table(path).drop_columns(["failure"]), path)
    assert read_records(path, Reward) == [Reward("a", "42", 1.0), Reward("b", None, 0.0)]


def test_a_damaged_file_of_records_is_named(tmp_path):
    path = tmp_path / "a.parquet"
    write_records(path, [VERDICT], Verdict)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="a.parquet: cannot be read as Verdict"):
        read_records(path, Verdict)


def test_a_lock_is_refused_to_another_process_and_dies_with_its_holder(tmp_path):
    lock = tmp_path / "run.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(RunError, match=f"runs/a-0: is being written by process {holder.pid} on "),
        only_writer(lock, of="runs/a-0"),
    ):
        pass
    holder.kill()
    holder.communicate()
    with only_writer(lock, of="runs/a-0"):
        pass


HOLD = """
import sys, time
from pathlib import Path
from omniopd.data.lock import only_writer
with only_writer(Path(sys.argv[1]), of="runs/a-0"):
    print("held", flush=True)
    time.sleep(60)
"""


# --- damage

NOT_JSON = {
    "bytes": bytes(range(128, 256)), "cut": b'{"key": "k"', "nothing": b"", "too deep": b"[" * 100_000,
    "zeros": bytes(64),
}  # fmt: skip
OTHER_JSON = {
    "a list": b"[1]",
    "text": b'"x"',
    "null": b"null",
    "no files": b'{"key": "k"}',
    "a number": b"7",
}


@pytest.mark.parametrize(
    "content", [*NOT_JSON.values(), *OTHER_JSON.values(), None], ids=[*NOT_JSON, *OTHER_JSON, "dir"]
)
def test_a_file_that_is_not_the_expected_json_is_named_in_one_line(tmp_path, content: bytes | None):
    path = tmp_path / "round-0000.json"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_json(path, "key", "files")
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"{path}: ")
    assert line.endswith("delete it and run again")
    assert valid_receipt(path, key="k", base=tmp_path) is None


@pytest.mark.parametrize(
    "content", [b"PAR1", b"PAR1" + bytes(200) + b"PAR1", b"", None], ids=["short", "zeros", "empty", "dir"]
)
def test_damaged_parquet_is_named_in_one_line(tmp_path, content: bytes | None):
    path = tmp_path / "verdicts.parquet"
    path.mkdir() if content is None else path.write_bytes(content)
    for read in (lambda: read_records(path, Verdict), lambda: read_column(path, "id")):
        with pytest.raises(DataError) as caught:
            read()
        [line] = str(caught.value).splitlines()
        assert line.startswith(f"{path}: ")
        assert "delete it" in line
    if content is not None:
        with pytest.raises(DataError, match="verdicts.parquet"):
            num_rows(path)


def test_parquet_of_other_columns_is_named_in_one_line(tmp_path):
    path = tmp_path / "verdicts.parquet"
    write_records(path, [], Reward)
    with pytest.raises(DataError, match="Verdict records"):
        read_records(path, Verdict)


def test_a_folder_in_place_of_a_file_is_not_replaced(tmp_path):
    path = tmp_path / "verdicts.parquet"
    path.mkdir()
    with pytest.raises(DataError, match="is a folder"):
        write_records(path, [VERDICT], Verdict)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="is a file"):
        write_dir_atomic(tmp_path / "file", lambda _: None)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "verdicts.parquet"]


OF_OTHER_TYPES = {
    "metrics": 3, "files": [], "round": "x", "inputs": {"student": None}, "settings": [], "method": 1, "seconds": "1",
    "num_steps": 1.5, "tried": [{"lr": "x"}], "student": {"path": "student"}, "teacher": "demo", "run_id": {},
}  # fmt: skip


@pytest.mark.parametrize(("key", "value"), OF_OTHER_TYPES.items())
def test_a_value_of_another_type_is_named_with_its_file_and_key(tmp_path, key: str, value: Any):
    path = tmp_path / "a.json"
    write_json(path, {key: value})
    with pytest.raises(DataError) as caught:
        read_json(path, key)
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"{path}: {key}")
    assert "delete it and run again" in line


def test_values_are_read_unchanged(tmp_path):
    student = {"digest": "d", "name": "a", "starts": [0.1]}
    written = {"metrics": {"gap": float("inf"), "loss": 1}, "student": student}
    write_json(tmp_path / "a.json", written)
    assert repr(read_json(tmp_path / "a.json", "metrics", "student")) == repr(written)


def test_the_type_of_the_whole_is_checked(tmp_path):
    path = tmp_path / "learning_rates.json"
    write_json(path, {"opd": 1e-3, "sft": None})
    assert read_json(path, like=dict[str, float | None]) == {"opd": 1e-3, "sft": None}
    write_json(path, {"opd": "fast"})
    with pytest.raises(DataError, match="learning_rates.json: opd.* is 'fast'"):
        read_json(path, like=dict[str, float | None])


def test_a_receipt_whose_content_was_changed_is_not_valid(tmp_path):
    receipt, work = tmp_path / "receipt.json", tmp_path / "work"
    work.write_text("done")
    write_receipt(receipt, key="k", files=[work], base=tmp_path, more={"metrics": {"loss": 0.25}})
    content = valid_receipt(receipt, key="k", base=tmp_path)

    assert content is not None
    assert content["metrics"] == {"loss": 0.25}
    receipt.write_text(receipt.read_text().replace("0.25", "0.35"))
    assert valid_receipt(receipt, key="k", base=tmp_path) is None


def test_a_receipt_that_names_what_cannot_be_a_file_is_not_valid(tmp_path):
    for name in ("a" * 300, "a\0b"):
        write_json(tmp_path / "receipt.json", {"key": "k", "files": {name: "0"}})
        assert valid_receipt(tmp_path / "receipt.json", key="k", base=tmp_path) is None
