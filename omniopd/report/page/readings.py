"""Trajectories as a page holds them: each prompt and each token's text once.

Keys are short, as there may be a hundred thousand of them; `docs/report.md` lists them.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from omniopd.data.conversation import transcript
from omniopd.data.records import Trajectory, Verdict
from omniopd.methods import Method
from omniopd.models.text import TextDecoder
from omniopd.models.token_text import PART
from omniopd.report.page.story import AuditedTrajectory

Places = dict[str, int]  # texts that rows refer to by their place, each kept once


def readings(
    trajectories: Iterable[AuditedTrajectory], method: Method, decoder: TextDecoder | None
) -> dict[str, Any]:
    """The trajectories for JSON: `prompts` and `tokens` are lists of texts, `rows` refer to places in them."""
    prompts: Places = {}
    tokens: Places = {}
    rows = [_row(audited, method, decoder, prompts, tokens) for audited in trajectories]
    return {"prompts": list(prompts), "tokens": list(tokens), "rows": rows}


def _place(text: str, places: Places) -> int:
    return places.setdefault(text, len(places))


def _row(
    audited: AuditedTrajectory, method: Method, decoder: TextDecoder | None, prompts: Places, tokens: Places
) -> dict[str, Any]:
    trajectory, reward = audited.trajectory, audited.reward
    last_id = (trajectory.prompt_ids or [None])[-1]
    texts = decoder.pieces(last_id, trajectory.response_ids) if decoder else []
    row: dict[str, Any] = {
        "id": trajectory.id,
        "round": trajectory.round,
        "prompt": _place(transcript(trajectory.messages), prompts),
        "prompt_id": trajectory.prompt_id,
        "len": len(trajectory.response_ids),
        "finish": trajectory.finish_reason,
        "audits": [_audit(verdict, trajectory, method, decoder, tokens) for verdict in audited.verdicts],
    }
    # A stop string, if one was written, follows the response.
    if texts and "".join(texts).startswith(trajectory.response.rstrip(PART)):
        row["tokens"] = [_place(text, tokens) for text in texts]
        row["entropies"] = _thousandths(trajectory.entropies)
        row["logps"] = _thousandths(trajectory.logps)
    else:
        row["response"] = trajectory.response
    return row | _present(
        failure=trajectory.failure,
        writer="" if trajectory.writer == "student" else trajectory.writer,
        staleness=trajectory.staleness,
        teacher_tokens=trajectory.teacher_tokens,
        cost=trajectory.cost_usd,
        reward=reward and {"answer": reward.answer, "value": reward.reward},
    )


def _audit(
    verdict: Verdict, trajectory: Trajectory, method: Method, decoder: TextDecoder | None, tokens: Places
) -> dict[str, Any]:
    reading = method.reading(trajectory, verdict) if verdict.replies else None
    before = [*trajectory.prompt_ids[-1:], *trajectory.response_ids[: verdict.anchor]]
    last_id = before[-1] if before else None
    replies = [decoder.pieces(last_id, ids) for ids in verdict.reply_ids] if decoder else []
    return {
        "at": verdict.anchor,
        "len": verdict.chunk_len,
        "chunk": verdict.chunk,
        "replies": verdict.replies,
        "likeness": _thousandths(verdict.similarities),
        "k": round(verdict.k_sem, 4),
        "n": verdict.num_replies,
        "belief": round(verdict.pi_bar, 4),
        "mode": verdict.mode,
        "teacher": verdict.teacher,
        "read": verdict.prompt_tokens,
        "wrote": verdict.completion_tokens,
        "ends": verdict.finish_reasons,
    } | _present(
        what=reading and reading.name,
        value=reading and round(reading.value, 4),
        cost=verdict.cost_usd,
        failure=verdict.failure,
        boundary=verdict.boundary,
        votes=[[_place(text, tokens) for text in texts] for texts in replies],
    )


def _present(**values: Any) -> dict[str, Any]:
    """The values that are not empty; the page takes the others as absent. A target of 0 is not empty."""
    return {name: value for name, value in values.items() if value or (name == "value" and value is not None)}


def _thousandths(values: Sequence[float]) -> list[int | None]:
    """Whole thousandths: half the size in JSON, and finer than a shade can show. None for NaN and infinity."""
    return [round(1000 * value) if math.isfinite(value) else None for value in values]
