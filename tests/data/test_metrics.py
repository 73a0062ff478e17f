"""The catalogue of metrics: what reads it shows each metric, one that a module outside the package adds too."""

import pytest
from projects import REPOSITORY
from ruamel.yaml import YAML

from omniopd.data import metrics
from omniopd.data.metrics import METRICS, Metric, compared
from omniopd.report.page.curves import charts


def test_an_added_metric_is_drawn_by_the_report(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(METRICS, "surprise", Metric("surprise of the teacher", "nats", "Surprise", "mean"))
    rounds = [{"round": 0, "surprise": 0.5, "entropy": 1.0}, {"round": 1, "surprise": 0.25, "entropy": 0.9}]

    drawn = {chart.title: chart for chart in charts(rounds)}

    assert drawn["Surprise"].y_name == "nats"
    assert [(line.name, line.values) for line in drawn["Surprise"].lines] == [("mean", [0.5, 0.25])]
    assert drawn["Entropy"].lines[0].values == [1.0, 0.9]


def test_metrics_of_one_chart_have_one_unit():
    for title, drawn in metrics.charts().items():
        assert len({metric.unit for metric in drawn.values()}) == 1, title


def test_dvc_draws_no_curve_that_compare_does_not_write():
    pipeline = YAML(typ="safe", pure=True).load(REPOSITORY / "dvc.yaml")
    written = {name.replace("/", "_") for name in compared()} | {
        "over_teacher_tokens",
        "agreement",
        "ablations",
    }

    drawn = {path for plot in pipeline["plots"] for shown in plot.values() for path in shown["y"]}

    assert drawn
    assert drawn <= {f"plots/{name}.csv" for name in written}
