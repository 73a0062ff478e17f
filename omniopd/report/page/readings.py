"""Trajectories as a page holds them: each prompt, each token's text and each response once.

Names are short, as there may be a hundred thousand of them; `docs/report.md` lists them.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from omniopd.data.records import Trajectory, Verdict
from omniopd.methods import Method
from omniopd.models.text import PART, TextDecoder
from omniopd.report.page.story import Told

MAX_PARTS = 4  # tokens that a character may be made of, in tokenizers over bytes


@dataclass
class Table:
    """Texts that are named by their place, each kept once.

    >>> table = Table()
    >>> [table.place(text) for text in ("a", "b", "a")], table.texts
    ([0, 1, 0], ['a', 'b'])
    """

    _places: dict[str, int] = field(default_factory=dict)

    def place(self, text: str) -> int:
        """Where that text stands."""
        return self._places.setdefault(text, len(self._places))

    @property
    def texts(self) -> list[str]:
        """The texts in their places."""
        return list(self._places)


def readings(told: Iterable[Told], method: Method, decoder: TextDecoder | None) -> dict[str, Any]:
    """The trajectories for JSON: `prompts` and `tokens` are tables of texts, `rows` name places in them."""
    prompts, tokens = Table(), Table()
    rows = [_row(item, method, decoder, prompts, tokens) for item in told]
    return {"prompts": prompts.texts, "tokens": tokens.texts, "rows": rows}


def pieces(decoder: TextDecoder, token_ids: Sequence[int]) -> list[str]:
    """The text of each token where it stands.

    Of a character that takes several tokens the last has it, and those before it have none.
    """
    found: list[str] = []
    while (start := len(found)) < len(token_ids):
        before = token_ids[start - 1] if start else None
        own = decoder.token_after(before, token_ids[start])
        if PART not in own:
            found.append(own)
            continue
        for size in range(2, min(MAX_PARTS, len(token_ids) - start) + 1):
            text = decoder.text_after(before, list(token_ids[start : start + size]))
            if PART not in text:
                found += [""] * (size - 1) + [text]
                break
        else:
            found.append(own)
    return found


def _row(
    item: Told, method: Method, decoder: TextDecoder | None, prompts: Table, tokens: Table
) -> dict[str, Any]:
    own = item.trajectory
    texts = pieces(decoder, own.response_ids) if decoder else []
    says_all = bool(texts) and "".join(texts).rstrip(PART) == own.response.rstrip(PART)
    row: dict[str, Any] = {
        "id": own.id,
        "round": own.round,
        "prompt": prompts.place(own.prompt),
        "prompt_id": own.prompt_id,
        "len": len(own.response_ids),
        "finish": own.finish_reason,
        "audits": [_audit(verdict, own, method, decoder, tokens) for verdict in item.verdicts],
    }
    if says_all:
        row |= {"tokens": [tokens.place(text) for text in texts]}
        row |= {"entropies": _thousandths(own.entropies), "logps": _thousandths(own.logps)}
    else:
        row["response"] = own.response
    return row | _known(
        failure=own.failure,
        writer="" if own.writer == "student" else own.writer,
        staleness=own.staleness,
        teacher_tokens=own.teacher_tokens,
        cost=own.cost_usd,
        reward=item.reward and {"answer": item.reward.answer, "value": item.reward.reward},
    )


def _audit(
    verdict: Verdict, trajectory: Trajectory, method: Method, decoder: TextDecoder | None, tokens: Table
) -> dict[str, Any]:
    reading = None if verdict.failure else method.reading(trajectory, verdict)
    by_token = (
        [[tokens.place(text) for text in pieces(decoder, ids)] for ids in verdict.reply_ids]
        if decoder
        else []
    )
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
    } | _known(
        what=reading and reading.name,
        value=reading and round(reading.value, 4),
        cost=verdict.cost_usd,
        failure=verdict.failure,
        boundary=verdict.boundary,
        votes=by_token,
    )


def _known(**values: Any) -> dict[str, Any]:
    """Those that say something; the page reads the others as absent. A target of 0 says something."""
    return {name: value for name, value in values.items() if value or (name == "value" and value is not None)}


def _thousandths(values: Sequence[float]) -> list[int | None]:
    """Whole thousandths: half the size in JSON, and finer than a shade can show. None for what is no number."""
    return [round(1000 * value) if math.isfinite(value) else None for value in values]
