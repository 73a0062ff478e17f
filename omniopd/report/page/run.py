"""The page of one run."""

from dataclasses import asdict

from omniopd.report.page.curves import charts
from omniopd.report.page.facts import seconds_by_stage, tables
from omniopd.report.page.readings import readings
from omniopd.report.page.render import rendered
from omniopd.report.page.story import RunStory

VENDOR = ("vendor/uplot/uPlot.iife.min.js", "vendor/jsdiff/diff.min.js")
SCRIPTS = (
    *VENDOR,
    *(f"assets/{name}.js" for name in ("data", "charts", "list", "find", "reading", "audit", "run")),
)


def run_page(story: RunStory) -> str:
    """The report of a run, as HTML."""
    trajectories = readings(story.trajectories, story.config.method, story.decoder)
    drawn = charts(story.rounds, budget_usd=story.config.teacher.budget_usd)
    return rendered(
        "run.html.j2",
        scripts=SCRIPTS,
        payloads={"charts": [asdict(chart) for chart in drawn], "trajectories": trajectories},
        title=story.name,
        tables=tables(story),
        stages=seconds_by_stage(story),
        alarms=story.alarms,
        charts=drawn,
        num_trajectories=len(trajectories["rows"]),
        num_audits=sum(len(row["audits"]) for row in trajectories["rows"]),
        has_tokens=story.decoder is not None,
    )
