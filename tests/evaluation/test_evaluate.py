"""Measuring a finished run: what is in memory meanwhile, and who writes the answers."""

import gc
import weakref

import fake_vllm
import pytest
from projects import Project, digests
from transformers import PreTrainedModel

from omniopd.data.layout import Layout
from omniopd.evaluation.evaluate import evaluate
from omniopd.rounds import run as runs


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
