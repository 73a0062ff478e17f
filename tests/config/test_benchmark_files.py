"""Benchmarks of one's own: their files, the order of settings, and mistakes."""

from pathlib import Path
from typing import Any

import pytest
from benchmark_files import write_capitals
from params_files import edited, refusal, written

from omniopd.config import Benchmarks, load_params
from omniopd.config.benchmarks import Measurement, measurements, with_suite
from omniopd.data.decoding import Decoding
from omniopd.errors import ConfigError


def measured(folder: Path, *suite: Any, **settings: Any) -> list[Measurement]:
    benchmarks = Benchmarks.model_validate({"suite": list(suite), **settings})
    return measurements(benchmarks, folder)


def mistakes(folder: Path, *suite: Any, **settings: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        measured(folder, *suite, **settings)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def test_a_file_is_a_benchmark_of_its_own_name_with_items_next_to_it(tmp_path: Path):
    write_capitals(tmp_path / "bench")

    [one] = measured(tmp_path, "bench/capitals.yaml")

    assert one.benchmark.name == "capitals"
    assert one.source.path == tmp_path / "bench" / "capitals.jsonl"
    assert one.benchmark.sampling.decoding == Decoding(0.5, stop=("\n",))


def test_two_settings_are_enough(tmp_path: Path):
    (tmp_path / "sums.yaml").write_text("source: someone/sums\ngrader: math\n")
    (tmp_path / "programs.yaml").write_text("source: programs.csv\ngrader: code\n")

    sums, programs = measured(tmp_path, "sums.yaml", "programs.yaml")

    assert (sums.source.path, str(sums.source)) == (None, "someone/sums (test)")
    assert programs.source.path == tmp_path / "programs.csv"
    assert sums.benchmark.template == "{prompt}"
    assert [one.benchmark.columns.named for one in (sums, programs)] == [
        ["prompt", "answer"],
        ["prompt", "tests"],
    ]


# --- the order of settings


def test_settings_of_the_entry_come_before_the_block_and_that_before_the_file(tmp_path: Path):
    write_capitals(tmp_path)
    block = {"num_samples": 5, "temperature": 0.7, "top_p": 0.9, "num_items": 3}
    entry = {"name": "capitals.yaml", "temperature": 0.9, "num_items": 2}
    capitals, aime = measured(tmp_path, entry, "aime24", **block)

    assert capitals.benchmark.sampling.determining() == {
        "temperature": 0.9, "num_samples": 5, "max_new_tokens": 8, "top_p": 0.9, "stop": ["\n"],
    }  # fmt: skip
    assert (capitals.num_items, aime.num_items) == (2, 3)
    assert (aime.benchmark.sampling.temperature, aime.benchmark.sampling.max_new_tokens) == (0.7, 16384)


def test_options_of_the_command_come_first_and_an_entry_keeps_its_settings(tmp_path: Path):
    write_capitals(tmp_path)
    entries = [{"name": "./capitals.yaml", "temperature": 0.9, "num_samples": 3}, "gsm8k"]
    benchmarks = Benchmarks.model_validate({"suite": entries, "num_samples": 7})
    chosen = with_suite(benchmarks, ["aime24", "capitals.yaml"], tmp_path, {"num_samples": 4})
    aime, capitals = measurements(chosen, tmp_path)

    assert (capitals.benchmark.sampling.temperature, capitals.benchmark.sampling.num_samples) == (0.9, 4)
    assert aime.benchmark.sampling.num_samples == 4


def test_an_empty_list_of_stop_strings_is_none_and_null_those_of_the_file(tmp_path: Path):
    write_capitals(tmp_path)
    stops = [
        measured(tmp_path, {"name": "capitals.yaml", "stop": stop})[0].benchmark.sampling.stop
        for stop in (None, [], ["Q:"])
    ]

    assert stops == [["\n"], [], ["Q:"]]


def test_a_benchmark_has_its_own_system_message_before_that_of_the_prompts(tmp_path: Path):
    write_capitals(tmp_path)

    def systems(entry: str | None, block: str | None) -> list[str | None]:
        suite = [{"name": name, "system": entry} for name in ("capitals.yaml", "gsm8k")]
        benchmarks = Benchmarks.model_validate({"suite": suite, "system": block})
        return [one.benchmark.system for one in measurements(benchmarks, tmp_path, system="prompts")]

    assert systems(None, None) == ["Answer in one word.", "prompts"]
    assert systems(None, "block") == ["block", "block"]
    assert systems("entry", "block") == ["entry", "entry"]
    assert systems("", "block") == ["", ""]


def test_examples_and_items_of_params_are_those_of_the_benchmark_by_its_name(tmp_path: Path):
    write_capitals(tmp_path, "bench/cities.yaml")
    (tmp_path / "other.jsonl").write_text("{}\n")
    shot = {"prompt": "Chile", "response": "Santiago."}
    [one] = measured(
        tmp_path, "bench/cities.yaml", files={"cities": "other.jsonl"}, examples={"cities": [shot]}
    )

    assert one.source.path == tmp_path / "other.jsonl"
    assert [example.prompt for example in one.benchmark.examples] == ["Chile"]
    assert [example.prompt for example in measured(tmp_path, "bench/cities.yaml")[0].benchmark.examples] == [
        "Italy"
    ]


# --- mistakes


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown key": ({"grade": "math"}, "capitals.yaml: grade: unknown key; did you mean 'grader'?"),
    "no grader": ({"grader": None}, "capitals.yaml: grader: is missing; add it, as in docs/benchmarks.md"),
    "no source": ({"source": None}, "capitals.yaml: source: is missing; add it, as in docs/benchmarks.md"),
    "no such grader": ({"grader": "maths"}, "capitals.yaml: grader: 'maths' is not a grader; write math, code, "),
    "a template without a place": ({"template": "Go"}, "capitals.yaml: template: 'Go' has no {prompt}; write that"),
    "a pattern without a group": ({"response_pattern": "x"}, "capitals.yaml: response_pattern: 'x' has no group; "),
    "no pattern": ({"response_pattern": None}, "capitals.yaml: grader is 'pattern' and response_pattern None; the"),
    "a pattern of no use": ({"grader": "math"}, "capitals.yaml: grader is 'math' and response_pattern 'It is"),
    "no answers": ({"columns": {"prompt": "country"}}, "capitals.yaml: grader pattern compares with an answer; name"),
    "no tests": (
        {"grader": "code", "response_pattern": None}, "capitals.yaml: grader code runs tests; name their column in"
    ),
    "a setting of sampling": (
        {"sampling": {"num_sample": 3}}, "capitals.yaml: sampling.num_sample: unknown key; did you mean 'num_samples'?"
    ),
    "several greedy samples": (
        {"sampling": {"num_samples": 3}}, "capitals.yaml: sampling: at temperature 0 all 3 responses to an item are"
    ),
    "a name for no file": ({"name": "my bench"}, "capitals.yaml: name: 'my bench' cannot name files and metrics; "),
    "a packaged name": ({"name": "gsm8k"}, "capitals.yaml: name: 'gsm8k' is a packaged benchmark; rename the file, "),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_a_file_names_it_with_the_key_the_value_and_the_remedy(
    tmp_path: Path, changes: dict[str, Any], message: str
):
    write_capitals(tmp_path, **changes)

    [line] = mistakes(tmp_path, "capitals.yaml")

    assert line.startswith(message)


def test_all_mistakes_of_a_suite_are_reported_at_once(tmp_path: Path):
    write_capitals(tmp_path, grader="maths", template="Go")
    write_capitals(tmp_path, "cities.yaml", sampling={"temperature": -1.0})
    (tmp_path / "broken.yaml").write_text("source: [")
    entries = [
        "capitals.yaml",
        "gsm8",
        "cities.yaml",
        "none.yaml",
        "broken.yaml",
        {"name": "math500", "num_samples": 4},
    ]

    lines = mistakes(tmp_path, *entries)

    assert [line.split(": ")[0] for line in lines] == [
        "capitals.yaml", "capitals.yaml", "benchmarks.suite", "cities.yaml", "none.yaml", "broken.yaml",
        "benchmarks.suite",
    ]  # fmt: skip
    assert "no such file" in lines[4]
    assert "not YAML" in lines[5]
    assert lines[6].startswith("benchmarks.suite: math500: at temperature 0 all 4 responses")


def test_two_files_of_one_name_are_refused(tmp_path: Path):
    for name in ("a/capitals.yaml", "b/capitals.yaml"):
        write_capitals(tmp_path, name)

    [line] = mistakes(tmp_path, "a/capitals.yaml", "b/capitals.yaml")

    assert line == (
        "benchmarks.suite: a/capitals.yaml and b/capitals.yaml are both named 'capitals'; write another `name` into one"
    )


def test_two_files_of_one_name_may_have_different_names_inside(tmp_path: Path):
    write_capitals(tmp_path, "a/capitals.yaml")
    write_capitals(tmp_path, "b/capitals.yaml", name="cities")

    names = [one.benchmark.name for one in measured(tmp_path, "a/capitals.yaml", "b/capitals.yaml")]

    assert names == ["capitals", "cities"]


def test_mistakes_in_files_are_reported_with_those_of_params(tmp_path: Path):
    write_capitals(tmp_path, grader="maths")
    path = edited(
        tmp_path,
        {
            "comparison.against": "nobody", "benchmarks.suite": ["gsm8", "./capitals.yaml"],
            "benchmarks.files": {"capitols": "x.jsonl"},
        },
    )  # fmt: skip

    lines = [line.replace(f"{tmp_path}/", "") for line in refusal(path)]

    assert [line.split(": ")[1] for line in lines] == [
        "comparison.against", "benchmarks.suite", "grader", "benchmarks.files.capitols"
    ]  # fmt: skip
    assert lines[2].startswith("capitals.yaml: grader: 'maths'")
    assert lines[3].endswith("did you mean 'capitals'?")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "aime24", "num_sample": 4}, "benchmarks.suite.0.num_sample: unknown key; did you mean"),
        ({"num_samples": 4}, "benchmarks.suite.0.name: is missing; add it"),
        ({"name": "aime24", "top_p": 0}, "benchmarks.suite.0.top_p: 0 is not positive"),
        (24, "benchmarks.suite.0: 24 is not a block of settings"),
    ],
)  # fmt: skip
def test_a_mistake_in_an_entry_names_it(tmp_path: Path, entry: Any, message: str):
    [line] = refusal(edited(tmp_path, {"benchmarks.suite": [entry]}))

    assert line.startswith(f"params.yaml: {message}")


def test_params_without_a_suite_give_the_settings_that_they_always_gave(tmp_path: Path):
    text = "prompts: { source: addition }\narms: { a: { method: fork } }"
    params = load_params(written(tmp_path, text))
    always = {
        "files": {},
        "num_items": None,
        "num_samples": None,
        "temperature": None,
        "max_new_tokens": None,
    }

    assert params.benchmarks.determining() == {"suite": [], **always}
    params = load_params(written(tmp_path, f"{text}\nbenchmarks: {{ suite: [gsm8k, {{ name: math500 }}] }}"))
    assert params.benchmarks.determining() == {"suite": ["gsm8k", "math500"], **always}
