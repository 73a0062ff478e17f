"""Alarms: when they ring, what they say and how often, and that they change no result."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from examples import annotated, bare
from projects import Project, digests, run_plain

from omniopd.config import load_params
from omniopd.config.schema.tracking import Alarms
from omniopd.data.metrics import rules
from omniopd.methods import SFT, Annotated, Fork, Method, OmniOPD
from omniopd.report.run import run_summary
from omniopd.rounds import steps as rounds
from omniopd.rounds.alarms import MIN_NORMS, WINDOW, alarm_metrics, begun

SETTINGS = Alarms(
    cut_share=0.5, repetition=0.1, anchor_kl=2.0, zero_agreement=0.5, k_sem_over_floor=0.05, audited_share=0.0,
    grad_norm=10.0, accuracy_drop=0.1,
)  # fmt: skip
QUIET = {
    "cut_share": 0.5,
    "repetition": 0.1,
    "anchor_kl": 2.0,
    "zero_agreement": 0.5,
    "k_sem_over_floor": 0.05,
    "audited_share": 1e-6,
    "accuracy_drop": 0.1,
}
LOUD = {
    "cut_share": 0.51,
    "repetition": 0.11,
    "anchor_kl": 2.1,
    "zero_agreement": 1.0,
    "k_sem_over_floor": 0.0,
    "audited_share": 0.0,
    "accuracy_drop": 0.11,
}
SILENT = Alarms(**dict.fromkeys(Alarms.model_fields))


def test_every_setting_is_the_name_of_an_alarm():
    assert rules().keys() == Alarms.model_fields.keys()


@pytest.mark.parametrize("name", QUIET)
def test_an_alarm_rings_beyond_its_limit_and_not_at_it(name: str):
    assert alarm_metrics(SETTINGS, {name: QUIET[name]}, []) == {f"alarm/{name}": 0.0}
    assert alarm_metrics(SETTINGS, {name: LOUD[name]}, []) == {f"alarm/{name}": 1.0}
    assert alarm_metrics(SETTINGS, {name: math.nan}, []) == {f"alarm/{name}": 1.0}
    assert alarm_metrics(SILENT, {name: LOUD[name]}, []) == {}


def test_metrics_that_a_method_does_not_have_have_no_alarm():
    assert alarm_metrics(SETTINGS, {"cut_share": 0.0, "loss": 3.0}, []) == {"alarm/cut_share": 0.0}


FORK, OMNIOPD = Fork(num_chunks=3, num_replies=2), OmniOPD(num_chunks=2, num_replies=2, chunk_len=2)


def _without_votes(items: list[Annotated]) -> list[Annotated]:
    """The same audits, where no reply can be read as tokens of the student."""
    return [
        replace(item, verdicts=[replace(verdict, reply_ids=[], boundary=True) for verdict in item.verdicts])
        for item in items
    ]


AUDITED = {
    "fork with votes": (FORK, annotated(FORK), 0.0),
    "fork without votes": (FORK, _without_votes(annotated(FORK)), 1.0),
    "fork with nothing audited": (FORK, bare(annotated(FORK)), 1.0),
    "omniopd": (OMNIOPD, annotated(OMNIOPD), 0.0),
    "omniopd with nothing audited": (OMNIOPD, bare(annotated(OMNIOPD)), 1.0),
    "sft, which audits nothing": (SFT(), annotated(SFT()), None),
}


@pytest.mark.parametrize(("method", "items", "rings"), AUDITED.values(), ids=AUDITED)
def test_a_round_whose_audits_train_nothing_rings_an_alarm(
    method: Method, items: list[Annotated], rings: float | None
):
    config = SimpleNamespace(method=method, rollout=SimpleNamespace(overlap=False))
    metrics = rounds._round_metrics(SimpleNamespace(config=config), 0, items)  # pyright: ignore[reportArgumentType]
    assert alarm_metrics(SETTINGS, metrics, []).get("alarm/audited_share") == rings


def test_the_gradients_norm_is_compared_with_the_median_of_the_rounds_before():
    earlier = [{"grad_norm": value} for value in (1.0, 2.0, 3.0, 400.0, 2.0)]
    assert alarm_metrics(SETTINGS, {"grad_norm": 20.0}, earlier) == {"alarm/grad_norm": 0.0}
    assert alarm_metrics(SETTINGS, {"grad_norm": 20.1}, earlier) == {"alarm/grad_norm": 1.0}
    few = earlier[: MIN_NORMS - 1]
    assert alarm_metrics(SETTINGS, {"grad_norm": 1e9}, few) == {"alarm/grad_norm": 0.0}
    sparse = [{"grad_norm": 0.0}] * 10 + [{"grad_norm": 2.0}] * MIN_NORMS
    assert alarm_metrics(SETTINGS, {"grad_norm": 19.0}, sparse) == {"alarm/grad_norm": 0.0}
    assert alarm_metrics(SETTINGS, {"grad_norm": 21.0}, sparse) == {"alarm/grad_norm": 1.0}
    assert alarm_metrics(SETTINGS, {"grad_norm": 5.0}, sparse[:10]) == {"alarm/grad_norm": 0.0}
    long_ago = [{"grad_norm": 1e6}] * 50 + [{"grad_norm": 1.0}] * WINDOW
    assert alarm_metrics(SETTINGS, {"grad_norm": 11.0}, long_ago) == {"alarm/grad_norm": 1.0}


@pytest.mark.parametrize("name", rules())
def test_a_warning_is_one_sentence_of_what_how_much_why_and_the_remedy(name: str):
    earlier = [{"grad_norm": 2.0, f"alarm/{name}": 0.0}] * MIN_NORMS
    metrics = {**LOUD, "grad_norm": 31.0, f"alarm/{name}": 1.0}

    [line] = begun(SETTINGS, metrics, earlier)

    assert f"{metrics[name]:.3g}" in line
    assert f"(alarms.{name}: {getattr(SETTINGS, name):g}), usually because " in line
    assert line.count("; ") == 1
    assert begun(SILENT, metrics, earlier) == []


def test_a_warning_of_loops_word_for_word():
    metrics = {"repetition": 0.4321, "alarm/repetition": 1.0}
    assert begun(SETTINGS, metrics, []) == [
        "0.432 of a response goes round in loops (alarms.repetition: 0.1), usually because the end token is not what "
        "the chat template ends a turn with, or the learning rate is too high; see what `omniopd check` says of the "
        "template, or lower train.lr"
    ]


def test_an_alarm_is_told_of_when_it_begins_and_again_only_after_a_long_silence():
    rings, silent = ({"repetition": 0.4, "alarm/repetition": value} for value in (1.0, 0.0))
    assert begun(SETTINGS, rings, [silent] * WINDOW)
    assert begun(SETTINGS, rings, [rings, silent]) == []
    assert begun(SETTINGS, silent, []) == []


def test_the_summary_lists_the_alarms(base_project: Project):
    from omniopd.config import resolve

    config = resolve(load_params(base_project.params_file), "omniopd", 0)
    rows = [{"round": n, "alarm/repetition": float(n > 1), "alarm/cut_share": 0.0} for n in range(4)]
    rows[2]["alarm/anchor_kl"] = 1.0
    assert "| alarms | anchor_kl in 1 round, first in 2; repetition in 2 rounds, first in 2 |" in run_summary(
        config, rows, page=""
    )
    assert "| alarms | none |" in run_summary(config, rows[:1], page="")


def test_a_run_whose_validation_accuracy_falls_warns_at_the_next_measurement_and_at_its_end(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Measured before the rounds 0, 2 and 4 and at the end; compared with the best of the run, not the last."""
    accuracies = iter([0.3, 0.7, 0.62, 0.59])
    monkeypatch.setattr(rounds, "accuracy_of", lambda _: next(accuracies))
    project.edit(alarms={**dict.fromkeys(rules()), "accuracy_drop": 0.1})
    run_plain(project.params_file)
    drops = {row["round"]: row["accuracy_drop"] for row in _lines(project) if "accuracy_drop" in row}
    assert drops == {0: 0.0, 2: 0.0, 4: 0.08, 5: 0.11}
    rang = {
        row["round"]: row["alarm/accuracy_drop"] for row in _lines(project) if "alarm/accuracy_drop" in row
    }
    assert rang == {0: 0.0, 2: 0.0, 4: 0.0, 5: 1.0}
    [line] = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert line.startswith(
        "warning: omniopd-0: round 5: validation accuracy is 0.11 below the best of the run"
    )
    assert "lower train.lr" in line


def _lines(project: Project) -> list[dict[str, Any]]:
    text = (project.run_dir() / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
def test_a_run_warns_once_rings_every_round_and_learns_the_same(
    project: Project, capsys: pytest.CaptureFixture[str]
):
    quiet = project.copied_to(project.root.with_name("quiet")).edit(alarms=dict.fromkeys(rules()))
    run_plain(quiet.params_file)
    assert "warning" not in capsys.readouterr().err

    project.edit(alarms__cut_share=0.0, alarms__repetition=0.0, alarms__k_sem_over_floor=1e3)
    run_plain(project.params_file)

    warned = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert sum("k_sem is" in line for line in warned) == 1
    assert warned[0].startswith("warning: omniopd-0: round 0: ")
    assert sum("k_sem is" in line for line in (project.run_dir() / "run.log").read_text().splitlines()) == 1
    rows = _lines(project)[:-1]
    assert all(row["alarm/k_sem_over_floor"] == 1.0 for row in rows)
    assert all(row["alarm/anchor_kl"] == 0.0 for row in rows)
    assert all(0.0 <= row["repetition"] <= 1.0 and 0.0 <= row["zero_agreement"] <= 1.0 for row in rows)
    assert all(row["k_sem_over_floor"] == row["k_sem/mean"] - row["k_sem_floor/mean"] for row in rows)
    assert not any(name.startswith("alarm/") for row in _lines(quiet) for name in row)
    kept = ("trajectories/", "verdicts/", "checkpoints/")
    actual, expected = (
        {name: md5 for name, md5 in digests(each.run_dir()).items() if name.startswith(kept)}
        for each in (project, quiet)
    )
    assert actual == expected
