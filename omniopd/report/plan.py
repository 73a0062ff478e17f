"""The plan, in lines and tables of 80 columns: the settings, what runs will ask of their teacher, and memory."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from omniopd.config import DEMO, Params, RunConfig
from omniopd.report.summary import dollars, short_count

GIB = 2**30
PARTS = ("parameters", "gradients", "moments", "frozen", "activations", "loss", "peak")
COSTS = ("cost_usd", "cost_usd_with_prefix_cache")


def settings_lines(params: Params, configs: Mapping[str, RunConfig], prompts_text: str) -> list[str]:
    """What params.yaml asks for: prompts, models, and a line for each arm; prompts_text: findings in the source."""
    prompts = params.prompts
    student, teacher = (
        "demo, trained by `omniopd base`" if name == DEMO else name
        for name in (params.models.student, params.teacher.model)
    )
    lines = [
        f"prompts   {prompts.source}{prompts_text and f' ({prompts_text})'}: {prompts.num_train:,} to train, "
        f"{prompts.num_validation:,} for validation, {prompts.num_heldout:,} held out",
        f"student   {student}",
        f"teacher   {teacher}, kind {params.teacher.kind}",
    ]
    for arm, config in configs.items():
        num_responses = config.rollout.num_prompts * config.rollout.num_samples
        text = f"{config.train.num_rounds} rounds of {num_responses} responses, {_rate(params, arm, config)}"
        if audit := config.method.audit(shares_tokens=True):
            text += f", {_count(audit.num_replies, 'reply', 'replies')} of {_count(audit.chunk_len, 'token')} a chunk"
        if config.method.source == "teacher":
            text += ", written by the teacher"
        kind, seeds = (
            ("arm     ", params.seeds) if arm in params.arms else ("ablation", params.ablation_seeds)
        )
        lines.append(f"{kind}  {arm} ({config.method_name}): {text}; seeds {', '.join(map(str, seeds))}")
    return lines


def _rate(params: Params, arm: str, config: RunConfig) -> str:
    source = params.every_arm[arm].lr_of
    if source is None:
        return f"lr {config.train.lr:g}"
    if source != arm:
        return f"lr of {source}"
    seeds = ", ".join(map(str, params.sweep.seeds))
    return f"lr swept over {', '.join(f'{lr:g}' for lr in params.sweep.lrs)} on seed {seeds}"


def _count(number: int, name: str, names: str | None = None) -> str:
    return f"{number} {name if number == 1 else names or f'{name}s'}"


def plan_table(rows: Sequence[dict[str, Any]]) -> Table:
    """A row for each arm; below a line, methods that no arm uses."""
    table = _table("One run asks of the teacher")
    has_prices = any(row["one_run"]["cost_usd"] for row in rows)
    has_limits = any(row["one_run"]["minutes_at_the_limits"] is not None for row in rows)
    costs = ("cost", "with\ncache") if has_prices else ()
    minutes = ("minutes",) if has_limits else ()
    for name in ("calls", "tokens\nin", "of these\ncached", "tokens\nout", *costs, *minutes, "runs"):
        table.add_column(name, justify="right")
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        ends_arms = bool(row["runs"] and following and not following["runs"])
        one = row["one_run"]
        counts = ("calls", "prompt_tokens", "cached_tokens", "completion_tokens")
        cells = [short_count(round(one[name])) for name in counts]
        cells += [dollars(one[name]) for name in COSTS if has_prices]
        cells += [f"{one['minutes_at_the_limits']:.0f}"] if has_limits else []
        table.add_row(row["arm"], *cells, str(row["runs"] or "–"), end_section=ends_arms)
    return table


def plan_total(rows: Sequence[dict[str, Any]]) -> str:
    """All runs together, in a line."""

    def total(name: str) -> float:
        return sum(row["one_run"][name] * row["runs"] for row in rows)

    calls, read, written = (
        short_count(round(total(name))) for name in ("calls", "prompt_tokens", "completion_tokens")
    )
    line = f"All {sum(row['runs'] for row in rows)} runs: {calls} calls, {read} tokens in, {written} out"
    if not total("cost_usd"):
        return line
    plain, cached = (dollars(total(name)) for name in COSTS)
    return f"{line}, {plain}, or {cached} with a prefix cache"


def sample_line(num_sampled: int) -> str:
    """What the estimates are based on, in a line."""
    if num_sampled:
        return f"Estimated from {num_sampled} responses of the student"
    return "Upper bounds: no student was sampled, so responses are taken to be rollout.max_new_tokens long"


def memory_table(memory: dict[str, Any]) -> Table:
    """GiB of one training process, a row for each arm."""
    table = _table("One training process takes, in GiB")
    for name in ("weights", "gradi-\nents", "mo-\nments", "frozen\nmodels", "activa-\ntions", "loss", "peak"):
        table.add_column(name, justify="right")
    for row in memory["arms"]:
        gib = [row["one_process"][part] / GIB for part in PARTS]
        table.add_row(row["arm"], *(f"{size:.2f}" if size < 100 else f"{size:.0f}" for size in gib))
    return table


def memory_line(memory: dict[str, Any]) -> str:
    """Whether the arm that takes most fits, in a line."""
    room = memory["room"]
    most = max(memory["arms"], key=lambda row: row["one_process"]["peak"] * row["processes"])
    needed = most["one_process"]["peak"] * most["processes"] / GIB
    answer = "fits in" if memory["fits"] else "does not fit in"
    free = f"the {room['free'] / GIB:.2f} GiB that are free of {room['name']}"
    return f"{most['arm']} takes most, {needed:.2f} GiB: it {answer} {free}"


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("arm", no_wrap=True)
    return table
