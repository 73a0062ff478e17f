"""params.yaml as a file: missing, broken, nested without end, or short."""

from pathlib import Path
from typing import Any

import pytest
from params_files import ROOT, edited, refusal, written

from omniopd.config import as_yaml, load_params, parsed, resolve
from omniopd.errors import ConfigError


def test_the_params_of_the_repository_are_valid():
    assert load_params(ROOT / "params.yaml").arms


def test_every_arm_of_the_repository_resolves_without_a_warning():
    params = load_params(ROOT / "params.yaml")

    for arm in params.arms:  # ablations leave out on purpose what a warning is about
        for seed in params.seeds:
            assert resolve(params, arm, seed).method.warnings(vocab_size=0) == []


def test_a_missing_file_says_where_to_run(tmp_path: Path):
    assert refusal(tmp_path / "params.yaml") == [
        "params.yaml: no such file; run in the folder that holds it, or pass --params"
    ]


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.mkdir()

    [line] = refusal(path)

    assert line.startswith("params.yaml: ")
    assert "directory" in line


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "- seeds\n", "just words\n"])
def test_a_file_without_settings_is_refused(tmp_path: Path, text: str):
    assert refusal(written(tmp_path, text)) == [
        "params.yaml: holds no settings; start from the params.yaml of the repository"
    ]


@pytest.mark.parametrize(
    "text",
    [b"seeds: [0", b"seeds: [0]\n\tmore: 1\n", b"seeds: [0]\nprompts: a: b\n", b"seeds: \xff\n"],
    ids=["bracket not closed", "tab", "two colons", "not UTF-8"],
)
def test_a_broken_file_is_refused_in_one_line(tmp_path: Path, text: bytes):
    [line] = refusal(written(tmp_path, text))

    assert line.startswith("params.yaml: not YAML: ")


@pytest.mark.parametrize(
    "value",
    ["!!float abc", "!!int ''", "!!bool maybe", "2001-99-99", "9" * 5000, r'"\U00110000"', r'"\UFFFFFFFF"',
     "{[{}]: 1}"],
)  # fmt: skip
def test_a_value_that_does_not_fit_its_type_is_refused_in_one_line(tmp_path: Path, value: str):
    [line] = refusal(written(tmp_path, f"seeds: [0]\ntrain: {value}\n"))

    assert line.startswith("params.yaml: not YAML: ")
    with pytest.raises(ConfigError, match="not YAML; write path=value"):
        parsed([f"train={value}"])


@pytest.mark.parametrize(("value", "named"), [
    (r'"a\0b"', r"'a\x00b'"), (r'"\ud800"', r"'\ud800'"), ("1" * 400, "bits"), ("0x" + "f" * 5000, "bits"),
])  # fmt: skip
@pytest.mark.parametrize(
    "place", ["seeds: [{}]", "teacher: {{cache: {}}}", "arms: {{a: {{settings: [{}]}}}}"]
)
def test_what_no_file_name_or_database_takes_is_no_setting(
    tmp_path: Path, value: str, named: str, place: str
):
    [line] = refusal(written(tmp_path, place.format(value)))

    assert line.startswith("params.yaml: ")
    assert named in line


def test_a_repeated_key_is_refused_with_its_line(tmp_path: Path):
    [line] = refusal(written(tmp_path, "seeds: [0]\ntrain: {}\nseeds: [1]\n"))

    assert "'seeds'" in line or '"seeds"' in line
    assert "line 3" in line or "params.yaml:3:" in line
    assert "; " in line  # what to do
    assert "suppress" not in line  # and not how to have it accepted


def test_a_repeated_key_deep_inside_is_refused(tmp_path: Path):
    text = (ROOT / "params.yaml").read_text()
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("    chunk_len: 2", "    chunk_len: 2\n    chunk_len: 3"))

    [line] = refusal(path)

    assert 'found duplicate key "chunk_len"' in line


@pytest.mark.parametrize("number", ["2e-4", "2.0e-4", "0.0002"])
def test_a_number_in_powers_of_ten_is_a_number(tmp_path: Path, number: str):
    path = edited(tmp_path, {"train.lr": "NUMBER"})
    path.write_text(path.read_text().replace("NUMBER", number))

    assert load_params(path).train.lr == 2e-4


TWELVE_LINES = """\
prompts: { source: sums.jsonl, num_train: 900 }
models: { student: Qwen/Qwen3-1.7B }
teacher:
  kind: api
  model: anthropic/claude-haiku-4-5
  budget_usd: 20.0
rollout: { max_new_tokens: 1024 }
train: { num_rounds: 28, lr: 2.0e-6 }
arms:
  sft: { method: sft }
  omniopd-fork: { method: fork }
"""


def test_a_file_of_twelve_lines_is_whole(tmp_path: Path):
    path = written(tmp_path, TWELVE_LINES)
    params = load_params(path)

    assert (params.seeds, params.evaluation.grader) == ([0], "math")
    assert params.runs == [("sft", 0), ("omniopd-fork", 0)]
    assert resolve(params, "omniopd-fork", 0).train.lr == 2e-6
    assert load_params(path, {"compute.num_threads": 1, "sweep.seeds": [7]}).compute.num_threads == 1
    again = written(tmp_path, as_yaml(params))
    assert load_params(again) == params
    assert "max_failed_share: 0.02" in again.read_text()


DEEP = {
    "maps in one line": "a: " + "{a: " * 1500 + "1" + "}" * 1500,
    "maps in lines": "\n".join(" " * i + "a:" for i in range(1500)),
    "lists": "a: " + "[" * 1500 + "]" * 1500,
    "lists in lines": "a:\n" + "\n".join(" " * i + "-" for i in range(1500)),
    "never closed": "a: " + "[{" * 700,
    "a cycle": "a: &a {b: *a}",
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_settings_that_nest_without_end_are_refused_in_one_line(tmp_path: Path, text: str):
    with pytest.raises(ConfigError) as caught:
        load_params(written(tmp_path, text))
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"{tmp_path}/params.yaml: settings nest in more than 50 levels")


def test_overrides_that_nest_without_end_are_refused_in_one_line(tmp_path: Path):
    with pytest.raises(ConfigError, match="nest in more than 50 levels"):
        parsed(["train.lr=" + "{a: " * 1500 + "1" + "}" * 1500])
    cycle: dict[str, Any] = {}
    cycle["a"] = cycle
    for overrides in ({"train" + ".a" * 3000: 1}, {"train.lr": cycle}):
        with pytest.raises(ConfigError) as caught:
            load_params(edited(tmp_path, {}), overrides)
        [line] = str(caught.value).splitlines()
        assert line.startswith("overrides: train.")
        assert len(line) < 200
