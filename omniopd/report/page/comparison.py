"""The page of a comparison: the table, and each run's answers to the held-out prompts, before and after."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from omniopd.data.metrics import ACCURACY
from omniopd.data.records import ItemResult
from omniopd.report.page.curves import Chart, Line
from omniopd.report.page.render import rendered
from omniopd.report.page.run import VENDOR
from omniopd.report.summary import Cells, Record

SCRIPTS = (
    *VENDOR[:1],
    *(f"assets/{name}.js" for name in ("data", "charts", "list", "answers", "comparison")),
)


@dataclass(frozen=True)
class Answered:
    """The answers of a run's student to its held-out prompts.

    >>> Answered("sft-0", "before", []).label
    'sft-0, before'
    """

    run: str
    when: str  # before or after
    results: Sequence[ItemResult]

    @property
    def label(self) -> str:
        """The name on the page."""
        return f"{self.run}, {self.when}"


def comparison_page(
    records: Mapping[str, Record], answered: Sequence[Answered], table: Cells, *, title: str
) -> str:
    """The comparison of runs as HTML. records: what `evaluate` wrote of each, by the name of its folder."""
    charts, by_prompt = [accuracy_chart(records)], answers(answered)
    return rendered(
        "comparison.html.j2",
        scripts=SCRIPTS,
        payloads={"charts": [asdict(chart) for chart in charts], "answers": by_prompt},
        title=title,
        table=table,
        charts=charts,
        num_prompts=len(by_prompt["prompts"]),
        labels=by_prompt["labels"],
    )


def accuracy_chart(records: Mapping[str, Record]) -> Chart:
    """Accuracy on the validation prompts over the rounds, a line for each run."""
    curves = {
        name: {point["round"]: point["value"] for point in record["curves"][ACCURACY]}
        for name, record in records.items()
    }
    rounds = sorted({round_ for curve in curves.values() for round_ in curve})
    lines = [Line(name, [curve.get(round_) for round_ in rounds]) for name, curve in curves.items()]
    return Chart("Accuracy on validation prompts, greedy", "round", "share", rounds, lines)


def answers(answered: Sequence[Answered]) -> dict[str, Any]:
    """The answers for JSON: `labels` of the subjects, and for each prompt the answer of each subject, or null.

    Prompts are the same if id and text are; those of two seeds are not. Subjects with identical answers, such as runs
    of one seed before their first round, are shown as one.
    """
    subjects: list[tuple[list[str], dict[tuple[str, str], ItemResult]]] = []
    for subject in answered:
        by_prompt = {(result.id, result.prompt): result for result in subject.results}
        same = next((labels for labels, known in subjects if known == by_prompt), None)
        if same is None:
            subjects.append(([subject.label], by_prompt))
        else:
            same.append(subject.label)
    prompts = list(dict.fromkeys(key for _, by_prompt in subjects for key in by_prompt))
    return {
        "labels": ["; ".join(labels) for labels, _ in subjects],
        "prompts": [_prompt(key, [by_prompt.get(key) for _, by_prompt in subjects]) for key in prompts],
    }


def _prompt(key: tuple[str, str], results: Sequence[ItemResult | None]) -> dict[str, Any]:
    reference = next(result.reference for result in results if result is not None)
    return {
        "id": key[0],
        "prompt": key[1],
        "reference": reference,
        "answers": [result and _answer(result) for result in results],
    }


def _answer(result: ItemResult) -> dict[str, Any]:
    return {
        "response": result.response,
        "answer": result.answer,
        "right": result.is_right,
        "reason": result.reason,
        "len": result.num_tokens,
        "finish": result.finish_reason,
    }
