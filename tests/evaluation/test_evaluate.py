"""Measuring a finished run: what is in memory meanwhile, and who writes the answers."""

import gc
import json
import weakref

import fake_vllm
import pytest
from projects import Project, digests
from transformers import PreTrainedModel

from omniopd.data.layout import Layout
from omniopd.data.records import ItemResult
from omniopd.data.store import read_records
from omniopd.evaluation import evaluate as measuring
from omniopd.evaluation.evaluate import evaluate
from omniopd.models.generation import generate
from omniopd.rounds import run as runs
from omniopd.sampling import samplers


@pytest.fixture
def finished(finished_project: Project, tmp_path) -> Project:
    return finished_project.copied_to(tmp_path / "project")


def test_one_model_is_in_memory_at_a_time(finished: Project, monkeypatch: pytest.MonkeyPatch):
    """The student before the run, the one after it, and the teacher, which is read beside them, take turns."""
    monkeypatch.setattr(runs, "_open_runs", {})  # what other tests left open there
    gc.collect()
    living: weakref.WeakSet[PreTrainedModel] = weakref.WeakSet()
    counts = []
    init = PreTrainedModel.__init__

    def counted(self: PreTrainedModel, *args, **kwargs) -> None:
        init(self, *args, **kwargs)
        if type(self).__name__.endswith("ForCausalLM"):
            gc.collect()
            living.add(self)
            counts.append(len(living))

    monkeypatch.setattr(PreTrainedModel, "__init__", counted)
    record = evaluate("omniopd", 0, Layout(finished.root))

    assert record["before"]["fork_entropy"].keys() == {"student", "teacher"}
    assert counts == [1, 1, 1]


def test_on_vllm_the_answers_are_those_of_the_model_in_this_process(finished: Project):
    """The fake engine samples with real weights: its figures are the same where it was given the right ones."""
    layout = Layout(finished.root)
    expected = evaluate("omniopd", 0, layout)
    settings = finished.run_dir() / "config.json"
    settings.write_text(settings.read_text().replace('"engine": "transformers"', '"engine": "vllm"'))
    before = digests(finished.run_dir())

    with fake_vllm.installed() as engine:
        record = evaluate("omniopd", 0, layout)

    [started] = engine.started
    assert started.calls.count("load_student") == 2
    assert started.calls.count("generate") == 6  # greedy, sampled and for entropies, before and after
    assert started.calls[-1] == "shutdown"
    for when in ("before", "after"):
        assert record[when]["greedy"] == expected[when]["greedy"]
        assert record[when]["sampled"] == expected[when]["sampled"]
    assert digests(finished.run_dir()) == before


def test_samples_are_drawn_once_and_graded_anew(finished: Project, monkeypatch: pytest.MonkeyPatch):
    """As by the next arm of a seed, which starts with the same student."""
    layout, drawn = Layout(finished.root), []

    def counted(*args, **kwargs):
        drawn.append(kwargs["decoding"])
        return generate(*args, **kwargs)

    monkeypatch.setattr(samplers, "generate", counted)
    expected = evaluate("omniopd", 0, layout)
    num_drawn = len(drawn)
    assert num_drawn > 0
    assert evaluate("omniopd", 0, layout) == expected
    assert len(drawn) == num_drawn

    damaged = sorted((finished.root / ".cache" / "samples").glob("*.parquet"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert evaluate("omniopd", 0, layout) == expected
    assert num_drawn < len(drawn) < 2 * num_drawn

    settings, num_drawn = finished.run_dir() / "config.json", len(drawn)
    content = json.loads(settings.read_text())
    content["settings"]["evaluation"]["answer_pattern"] = "(.*)"
    settings.write_text(json.dumps(content))
    file = layout.answers("omniopd-0", "before", "greedy")
    answers = [item.answer for item in read_records(file, ItemResult)]
    evaluate("omniopd", 0, layout)
    assert [item.answer for item in read_records(file, ItemResult)] != answers
    assert len(drawn) == num_drawn

    content["settings"]["compute"]["num_threads"] = 2  # which rounding depends on
    settings.write_text(json.dumps(content))
    evaluate("omniopd", 0, layout)
    assert len(drawn) > num_drawn


def test_the_held_out_prompts_are_counted_part_by_part(finished: Project, monkeypatch: pytest.MonkeyPatch):
    """And the answers are those of all prompts at once: parts are whole batches."""
    layout, seen = Layout(finished.root), []
    expected = evaluate("omniopd", 0, layout)
    settings = finished.run_dir() / "config.json"
    batch_size = json.loads(settings.read_text())["settings"]["evaluation"]["batch_size"]
    num_prompts = expected["before"]["greedy"]["num_prompts"]
    monkeypatch.setattr(measuring, "BATCHES_A_PART", 1)

    record = evaluate("omniopd", 0, layout, on_items=lambda *counted: seen.append(counted))

    assert record == expected
    parts = [min(done, num_prompts) for done in range(batch_size, num_prompts + batch_size, batch_size)]
    assert seen == [
        (f"held-out prompts {when}, {how}", done, num_prompts)
        for when in ("before", "after")
        for how in ("greedy", "sampled")
        for done in parts
    ]
