"""The report of `prepare` on a source of prompts, as text."""

from collections.abc import Iterator, Mapping
from typing import Any

MAX_SHOWN = 20  # of a kind
_KINDS = {
    "unusable": "cannot be used",
    "without_answer": "without an answer",
    "too_long": "longer than max_prompt_tokens",
    "contaminated": "overlap with what is measured on",
}


def findings_text(report: Mapping[str, Any]) -> str:
    """How many prompts there are, and how many are left out and why, in half a sentence.

    >>> listed = {"count": 0, "listed": []}
    >>> kinds = dict.fromkeys(("unusable", "without_answer", "too_long"), listed)
    >>> findings_text({"rows": 1700, "repeated": 1683, **kinds})
    "1,700 prompts, 1,683 of them repeat another's text and are left out"
    """
    repeated = report["repeated"]
    parts = [
        f"{report['rows']:,} prompts",
        f"{repeated:,} of them repeat another's text and are left out" if repeated else "",
        *_counts(report).values(),
    ]
    return ", ".join(filter(None, parts))


def report_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The whole report, with the first entries of every list."""
    part = ", ".join(filter(None, (report["subset"], report["split"])))
    yield f"{report['source']}{part and f' ({part})'}: {findings_text(report)}"
    yield "splits: " + ", ".join(f"{count:,} {name}" for name, count in report["splits"].items())
    if "contaminated" in report:
        yield f"compared with the prompts measured on and {report['evaluation_items']:,} items from elsewhere"
    for kind, line in _counts(report).items():
        yield f"{line}:"
        for entry in report[kind]["listed"][:MAX_SHOWN]:
            yield f"  {_entry(entry)}"
        if (num_more := report[kind]["count"] - MAX_SHOWN) > 0:
            yield f"  and {num_more:,} more"


def _counts(report: Mapping[str, Any]) -> dict[str, str]:
    """The kinds of prompts that are left out, each with its number."""
    counts = {kind: report[kind]["count"] for kind in _KINDS if kind in report}
    return {kind: f"{count:,} {_KINDS[kind]}" for kind, count in counts.items() if count}


def _entry(entry: Mapping[str, Any]) -> str:
    if "with" in entry:
        return f"{entry['id']}: {entry['words']!r} of {entry['with']}"
    if "tokens" in entry:
        return f"{entry['id']}: {entry['tokens']:,} tokens"
    return f"{entry.get('id') or 'row {}'.format(entry['row'])}: {entry['reason']}"
