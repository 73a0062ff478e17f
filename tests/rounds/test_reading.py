"""Readers of a run: nothing replaces it under them, and what does is reported in a sentence."""

import subprocess
import sys
from pathlib import Path

import pytest
from projects import REPOSITORY, Project

from omniopd.config import load_params
from omniopd.data.layout import Layout
from omniopd.data.lock import kept_in_place, only_writer
from omniopd.errors import RunError
from omniopd.evaluation.evaluate import evaluate
from omniopd.rounds import reading, start
from omniopd.rounds.start import start_run


@pytest.fixture
def run_dir(project: Project) -> Path:
    return start_run(load_params(project.params_file), "omniopd", 0, Layout(project.root))


def test_an_evaluation_waits_for_a_writer_for_a_moment_and_then_says_which(
    project: Project, run_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reading, "WAIT_S", 0.1)
    with (
        only_writer(Layout(project.root).run("omniopd", 0).lock, of=str(run_dir)),
        pytest.raises(RunError, match=r"omniopd-0: is being written by process \d+ on .* wait for it"),
    ):
        evaluate("omniopd", 0, Layout(project.root))


def test_a_run_of_other_settings_does_not_replace_one_that_is_read_and_does_so_afterwards(
    project: Project, run_dir: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(start, "READERS_S", 0.1)
    before = (run_dir / "config.json").read_bytes()
    project.edit(train__num_rounds=7)
    params, layout = load_params(project.params_file), Layout(project.root)
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom omniopd.data.lock import kept_in_place\n"
        "with kept_in_place(Path(sys.argv[1]), within_s=1.0) as is_held:\n print(is_held, flush=True)\n time.sleep(60)"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", code, str(run_dir)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "True\n"
    with pytest.raises(RunError, match=r"omniopd-0: is being read .* wait for that to end"):
        start_run(params, "omniopd", 0, layout)
    assert (run_dir / "config.json").read_bytes() == before
    with kept_in_place(run_dir, within_s=0.1) as is_held:
        assert is_held, "readers do not exclude each other"
    reader.kill()
    reader.communicate()
    start_run(params, "omniopd", 0, layout)
    assert (run_dir / "config.json").read_bytes() != before


@pytest.mark.parametrize("change", ["another run", "a file that is gone"])
def test_a_run_that_dvc_replaces_while_it_is_read_is_reported_in_a_sentence(run_dir: Path, change: str):
    def read() -> None:
        with reading.reading(run_dir):
            if change == "another run":
                text = (run_dir / "config.json").read_text()
                (run_dir / "config.json").write_text(text.replace('"key": "', '"key": "f'))
                raise ValueError("half of it")
            (run_dir / "metrics.jsonl").read_text()

    with pytest.raises(
        RunError, match=r"omniopd-0: was changed while it was read, .* run the same command again"
    ):
        read()


def test_an_error_of_a_reader_whose_run_stayed_is_the_readers(run_dir: Path):
    with pytest.raises(ValueError, match="mine"), reading.reading(run_dir):
        raise ValueError("mine")
