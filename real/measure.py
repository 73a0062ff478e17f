"""What `make real` and `make real-comparison` measure beside accuracy, and the table of all runs.

python measure.py ARM SEED    # a finished and evaluated run: metrics/real/ARM-SEED.json
python measure.py             # the table of all measured runs
"""

import json
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from pydoc_data.topics import topics  # English prose that comes with Python
from typing import Any

from records import record_of
from transformers import PreTrainedModel

from omniopd.config import load_params
from omniopd.data.decoding import GREEDY
from omniopd.data.layout import Layout
from omniopd.data.prompts import Prompt
from omniopd.data.records import ItemResult
from omniopd.data.rows import Row
from omniopd.data.store import read_json, read_records, write_json
from omniopd.models.loading import load_model
from omniopd.models.scoring import score
from omniopd.models.threads import use_threads
from omniopd.report.intervals import mean_interval
from omniopd.rounds.run import Run, open_run
from omniopd.sampling.responses import in_process, respond
from omniopd.sampling.samplers import Student, batches
from omniopd.teachers.base import ask, request_of

ROOT = Path()
MEASURED = ROOT / "metrics" / "real"
BEFORE, TEACHER = "before", "teacher, behind its examples"
NUM_PASSAGES, PASSAGE_LEN, CONTEXT_LEN = 16, 96, 16  # of unrelated text; tokens
CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Germany": "Berlin", "Japan": "Tokyo", "China": "Beijing",
    "Egypt": "Cairo", "Russia": "Moscow", "Greece": "Athens", "Portugal": "Lisbon", "Austria": "Vienna",
    "Poland": "Warsaw", "Norway": "Oslo", "Sweden": "Stockholm", "Finland": "Helsinki", "Denmark": "Copenhagen",
    "Ireland": "Dublin", "Hungary": "Budapest", "Turkey": "Ankara", "Cuba": "Havana", "Peru": "Lima",
    "Kenya": "Nairobi", "Canada": "Ottawa", "India": "New Delhi", "Iran": "Tehran", "Iraq": "Baghdad",
    "Chile": "Santiago", "Argentina": "Buenos Aires", "Brazil": "Brasília", "Mexico": "Mexico City",
    "Thailand": "Bangkok", "Vietnam": "Hanoi", "Indonesia": "Jakarta", "Australia": "Canberra",
    "New Zealand": "Wellington", "South Korea": "Seoul", "Belgium": "Brussels", "the Netherlands": "Amsterdam",
    "Switzerland": "Bern", "the Czech Republic": "Prague", "Romania": "Bucharest", "Bulgaria": "Sofia",
    "Ukraine": "Kyiv", "Ethiopia": "Addis Ababa", "Ghana": "Accra", "Nigeria": "Abuja", "Morocco": "Rabat",
    "the United Kingdom": "London",
}  # fmt: skip

Shares = dict[str, float]


class Measurement:
    """What is measured of a run's student, beside the teacher's greedy answers to the held-out prompts."""

    def __init__(self, run: Run):
        self.run = run
        self.prompts = list(run.prompts("heldout"))

    @cached_property
    def of_teacher(self) -> list[str]:
        """The teacher's answers behind the context of params.yaml, whichever context the arm gives it."""
        file = MEASURED / f"teacher-{self.run.config.seed}.json"
        if not file.exists():
            write_json(file, {"answers": self._asked()})
        return read_json(file, "answers")["answers"]

    def _asked(self) -> list[str]:
        briefing = self.run.briefing
        if not briefing.messages(self.prompts[0])[:-1]:
            raise SystemExit(
                f"{self.run.files.root}: its teacher has no context; measure another arm of its seed first"
            )
        requests = [
            request_of(
                briefing.messages(prompt), id=prompt.id, trajectory_id=prompt.id, prefix="", num_replies=1,
                max_tokens=self.run.config.rollout.max_new_tokens, seed=0, temperature=0.0,
            )
            for prompt in self.prompts
        ]  # fmt: skip
        teacher, size = self.run.models.teacher, self.run.config.evaluation.batch_size
        answers = [answer for group in batches(requests, size) for answer in ask(teacher, group)]
        self.run.models.release("teacher")
        return [answer.replies[0] for answer in answers]

    def shares(self, answers: Sequence[str]) -> Shares:
        """The shares of answers that are a record, the right one, and the teacher's."""
        count = len(answers)
        right = [json.loads(prompt.answer or "") for prompt in self.prompts]
        given = [record_of(answer) for answer in answers]
        same = [a.strip() == b.strip() for a, b in zip(answers, self.of_teacher, strict=True)]
        return {
            "record": sum(record is not None for record in given) / count,
            "right": sum(a == b for a, b in zip(given, right, strict=True)) / count,
            "as the teacher": sum(same) / count,
        }

    def student(self, when: str, path: str) -> dict[str, Any]:
        """Everything of the student with the weights in that directory; `when` names the answers of `evaluate`."""
        model, measured = load_model(path), {}
        for how in ("greedy", "sampled"):
            file = self.run.layout.answers(self.run.files.root.name, when, how)
            responses = {item.id: item.response for item in read_records(file, ItemResult)}
            measured[how] = self.shares([responses[prompt.id] for prompt in self.prompts])
        return {
            **measured,
            "nats, teacher's answers": self._loss(model, self._answer_rows()),
            "nats, unrelated text": self._loss(model, self._text_rows()),
            "capitals": self._capitals(model),
        }

    def _answer_rows(self) -> list[Row]:
        """The teacher's answers, each with the end token."""
        chat = self.run.models.chat
        prompt_ids = chat.encode([prompt.messages for prompt in self.prompts])
        return [
            Row(prompt.id, ids, [*self.run.models.decoder.read_alone(answer), chat.end_id])
            for prompt, ids, answer in zip(self.prompts, prompt_ids, self.of_teacher, strict=True)
        ]

    def _text_rows(self) -> list[Row]:
        encoded = [
            (name, self.run.models.decoder.read_alone(topics[name].strip())) for name in sorted(topics)
        ]
        long = [(name, ids) for name, ids in encoded if len(ids) >= CONTEXT_LEN + PASSAGE_LEN]
        return [
            Row(name, ids[:CONTEXT_LEN], ids[CONTEXT_LEN : CONTEXT_LEN + PASSAGE_LEN])
            for name, ids in long[:NUM_PASSAGES]
        ]

    def _loss(self, model: PreTrainedModel, rows: Sequence[Row]) -> float:
        """Mean negative log-probability of the responses' tokens, nats."""
        size = self.run.config.rollout.batch_size
        logps = [logp for group in batches(rows, size) for _, row in score(model, group) for logp in row]
        return -sum(logps) / len(logps)

    def _capitals(self, model: PreTrainedModel) -> float:
        """The share of capitals that are named, greedy: a task that no run trains."""
        writer = in_process(Student(model, self.run.models.chat, ""), batch_size=len(CAPITALS))
        prompts = [Prompt(country, f"What is the capital of {country}?") for country in CAPITALS]
        responses = respond(
            writer,
            prompts,
            seeds=[[0]] * len(prompts),
            max_new_tokens=24,
            decoding=GREEDY,
            purpose="capitals",
        )
        return sum(CAPITALS[response.prompt.id] in response.text for response in responses) / len(prompts)


def measure(arm: str, seed: int) -> None:
    """Write the measurements of a run, and those of the student and the teacher that it started with."""
    layout = Layout(ROOT)
    run = open_run(layout.run(arm, seed).root)
    use_threads(run.config.compute.num_threads)
    measurement, before = Measurement(run), MEASURED / f"{BEFORE}-{seed}.json"
    if not before.exists():
        write_json(before, measurement.student("before", run.model_path("student")))
    after = measurement.student("after", str(run.files.checkpoint(run.config.train.num_rounds)))
    evaluated = read_json(layout.evaluation(arm, seed), "teacher_tokens")
    costs = {name: evaluated[name] for name in ("lr", "teacher_tokens", "student_tokens", "seconds")}
    write_json(MEASURED / f"{arm}-{seed}.json", {**after, **costs})
    rows = {
        TEACHER: {"greedy": measurement.shares(measurement.of_teacher)},
        f"student {BEFORE}": read_json(before, "greedy"),
        "student after": after,
    }
    print(f"{arm}, seed {seed}: {len(measurement.prompts)} sentences that were not trained on; greedy\n")
    print_rows({name: [row] for name, row in rows.items()})


COLUMNS = {
    "a record": ("greedy", "record"),
    "right": ("greedy", "right"),
    "sampled": ("sampled", "right"),
    "as the teacher": ("greedy", "as the teacher"),
    "nats": ("nats, teacher's answers",),
    "text": ("nats, unrelated text",),
    "capitals": ("capitals",),
    "teacher tokens": ("teacher_tokens",),
}


def print_rows(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """A line for each name: means, and of several measurements half the width of the 95 % t interval."""
    width = max(map(len, rows))
    print("  ".join([" " * width, *(f"{column:>15}" for column in COLUMNS)]))
    for name, measured in rows.items():
        cells = []
        for column, keys in COLUMNS.items():
            values = [value for one in measured if (value := _at(one, keys)) is not None]
            cells.append(_cell(values, as_share=column not in ("nats", "text", "teacher tokens")))
        print("  ".join([f"{name:{width}}", *(f"{cell:>15}" for cell in cells)]))


def _at(measured: Mapping[str, Any], keys: Sequence[str]) -> float | None:
    value: Any = measured
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _cell(values: Sequence[float], *, as_share: bool) -> str:
    if not values:
        return ""
    mean = mean_interval(values)
    if mean.value > 100:  # a count
        return f"{mean.value:,.0f}"
    scale, digits = (100, 1) if as_share else (1, 3)
    half = "" if mean.half is None else f" ± {mean.half * scale:.{digits}f}"
    return f"{mean.value * scale:.{digits}f}{half}"


def table() -> None:
    """Print the means over the seeds that have been measured, shares in percent."""
    params = load_params(ROOT / "params.yaml")
    rows = {}
    for name in (BEFORE, *params.every_arm):
        files = [file for seed in params.seeds if (file := MEASURED / f"{name}-{seed}.json").exists()]
        if files:
            rows[f"{name} ({len(files)})"] = [read_json(file, "greedy") for file in files]
    if not rows:
        raise SystemExit(f"{MEASURED}: nothing is measured yet; run `make real` or `make real-comparison`")
    print_rows(rows)


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            table()
        case [arm, seed]:
            measure(arm, int(seed))
        case _:
            raise SystemExit(__doc__)
