"""The metrics of a round: what each is, where it is drawn, and when it is an alarm.

Reports, plots, alarms and the docs read this. A metric that is not here is recorded and logged to MLflow all the
same. A module of your own adds its metrics by `METRICS["name"] = Metric(…)`.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Rule:
    """When the alarm of a metric rings, by the value of its setting in `alarms`, and what its warning says.

    >>> Rule("above", "{value:.3g} of the responses are cut", "the limit is short", "raise it").sense
    'above'
    """

    # Of the setting; times: above so many times the median of the rounds before.
    sense: Literal["above", "below", "not above", "times"]
    what: str  # with {value}, and {limit} where that is not the setting itself
    why: str  # what usually causes it
    remedy: str


@dataclass(frozen=True)
class Metric:
    """One metric of a round.

    >>> METRICS["entropy"].unit
    'nats per token'
    """

    about: str
    unit: str = ""
    chart: str = ""  # the chart of a run's report that draws it; empty: none
    label: str = ""  # what its line is called there
    is_compared: bool = False  # drawn over rounds, arm by arm, by `dvc plots show`
    rule: Rule | None = None


ACCURACY = "validation/greedy"
LOSS_PARTS = "loss/"  # how the names of the parts of a loss begin

METRICS: dict[str, Metric] = {
    ACCURACY: Metric(
        "accuracy of greedy responses to the validation prompts, before the round",
        "share", "Accuracy over rounds", "greedy, validation", is_compared=True,
    ),
    "accuracy_drop": Metric(
        "how far validation accuracy is below the best of the run", "share",
        rule=Rule(
            "above",
            "validation accuracy is {value:.3g} below the best of the run",
            "the learning rate is too high, the teacher misleads the student, or there are few validation prompts",
            "lower train.lr, read the round's verdicts, or use the checkpoint before the drop",
        ),
    ),
    "loss": Metric("the loss, a sum over tokens per sequence", "nats per sequence", "Loss and its parts", "loss"),
    "target/mean": Metric("mean target of the audited chunks", "", "Target", "target, mean", is_compared=True),
    "target/std": Metric("standard deviation of the targets", "", "Target", "target, spread"),
    "k_sem/mean": Metric(
        "mean similarity of replies to the chunk, summed over the replies", "k_sem",
        "Agreement with the teacher's replies", "k_sem", is_compared=True,
    ),
    "k_sem/std": Metric("its standard deviation over chunks", "k_sem"),
    "k_sem_floor/mean": Metric(
        "the same with the replies to other chunks: what unrelated text comes to", "k_sem",
        "Agreement with the teacher's replies", "floor: replies to other chunks", is_compared=True,
    ),
    "k_sem_floor/std": Metric("its standard deviation over chunks", "k_sem"),
    "k_sem_over_floor": Metric(
        "k_sem/mean minus k_sem_floor/mean", "k_sem",
        rule=Rule(
            "below",
            "k_sem is {value:.3g} above that of unrelated text, so agreement says nothing",
            "chunks are too short, or the teacher does not continue the prefix that it is given",
            "raise chunk_len, or try another teacher.way",
        ),
    ),
    "zero_agreement": Metric(
        "audited chunks that resemble no reply", "share",
        rule=Rule(
            "above",
            "{value:.3g} of the audited chunks resemble no reply at all",
            "the teacher does not continue the prefix that it is given, or chunks are long for the similarity",
            "read a few verdicts, and try another teacher.way, similarity or chunk_len",
        ),
    ),
    "agreement/mean": Metric(
        "votes for the token that the student wrote", "share", "Votes for what the student wrote", "agreement"
    ),
    "agreement/std": Metric("its standard deviation over tokens", "share"),
    "reward/mean": Metric("mean reward", "", "Reward", "reward, mean"),
    "reward/std": Metric("standard deviation of the rewards", "", "Reward", "reward, spread"),
    "groups_without_signal": Metric("prompts whose responses all have the same reward", "share"),
    "anchor_kl": Metric(
        "divergence of the student from the initial student",
        "nats per token", "Divergence from the initial student", "anchor KL", is_compared=True,
        rule=Rule(
            "above",
            "{value:.3g} nats per token from the initial student",
            "the learning rate is too high, or the anchor too weak",
            "lower train.lr, or raise the method's beta",
        ),
    ),
    "entropy": Metric(
        "entropy of the student over its responses", "nats per token", "Entropy", "student", is_compared=True
    ),
    "audited_entropy": Metric("entropy at audited tokens", "nats per token", "Entropy", "where it was audited"),
    "audited_share": Metric(
        "tokens that are trained by the teacher's replies", "share",
        rule=Rule(
            "not above",
            "{value:.3g} of the tokens are trained by what the teacher wrote there",
            "its replies are empty or cannot be read as the student's tokens, it fails, or nothing was asked",
            "read a few verdicts and the teacher_failures, and try another teacher.way, teacher.request or "
            "spare_tokens",
        ),
    ),
    "audits": Metric("verdicts of the teacher"),
    "boundaries": Metric("verdicts with a reply that could not be read as tokens, or at an anchor within a character"),
    "unaudited_trajectories": Metric("trajectories without a verdict that trains"),
    "response_len": Metric("mean length of responses", "tokens", "Response length", "mean length", is_compared=True),
    "cut_share": Metric(
        "responses cut at max_new_tokens", "share", "Responses cut, and loops", "cut at the limit",
        rule=Rule(
            "above",
            "{value:.3g} of the responses are cut at the limit",
            "the limit is short for these prompts, or the student does not write its end token",
            "raise rollout.max_new_tokens, and see what `omniopd check` says of the end token",
        ),
    ),
    "repetition": Metric(
        "mean share of a response that is in loops", "share", "Responses cut, and loops", "in loops",
        rule=Rule(
            "above",
            "{value:.3g} of a response goes round in loops",
            "the end token is not what the chat template ends a turn with, or the learning rate is too high",
            "see what `omniopd check` says of the template, or lower train.lr",
        ),
    ),
    "grad_norm": Metric(
        "norm of the gradient before it is clipped",
        rule=Rule(
            "times",
            "the gradient's norm is {value:.3g}, above {limit:.3g}, so many times the median of the rounds before",
            "a few responses went wrong, or the learning rate is too high",
            "look at the round's trajectories, or lower train.lr",
        ),
    ),
    "lr": Metric("learning rate of the last step"),
    "staleness": Metric("rounds of training between the weights that wrote and those that learn", "rounds"),
    "trained_tokens": Metric("tokens of the responses trained on", "tokens"),
    "student_tokens": Metric("tokens that the student wrote", "tokens"),
    "teacher_tokens": Metric("tokens that the teacher wrote", "tokens"),
    "teacher_prompt_tokens": Metric("tokens that the teacher was sent", "tokens"),
    "cost_usd": Metric("what the teacher's replies cost", "dollars"),
    "teacher_failures": Metric("requests that failed; by reason under teacher_failures/…"),
    "grader_failures": Metric("responses that could not be graded; by reason under grader_failures/…"),
}  # fmt: skip

FAMILIES = {
    LOSS_PARTS: "the parts of the loss",
    "alarm/": "1 while the alarm of that name rings, else 0",
    "teacher_failures/": "failed requests, by reason",
    "grader_failures/": "responses that could not be graded, by reason",
}
"""Metrics whose names end differently from run to run, by how they begin."""


def rules() -> dict[str, Rule]:
    """The metrics that have an alarm, with its rule."""
    return {name: metric.rule for name, metric in METRICS.items() if metric.rule is not None}


def compared() -> list[str]:
    """The metrics that are drawn arm by arm."""
    return [name for name, metric in METRICS.items() if metric.is_compared]


def charts() -> dict[str, dict[str, Metric]]:
    """The charts of a run's report: by title the metrics that it draws."""
    drawn: dict[str, dict[str, Metric]] = {}
    for name, metric in METRICS.items():
        if metric.chart:
            drawn.setdefault(metric.chart, {})[name] = metric
    return drawn
