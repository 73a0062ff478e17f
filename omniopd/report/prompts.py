"""What `prepare` found in a source of prompts, for people."""

from collections.abc import Iterator, Mapping
from typing import Any

MAX_SHOWN = 20  # of a kind


def findings_text(report: Mapping[str, Any]) -> str:
    """How many prompts there are, and what befell the others, in half a sentence.

    >>> listed = {"count": 0, "listed": []}
    >>> kinds = dict.fromkeys(("unusable", "without_answer", "too_long"), listed)
    >>> findings_text({"rows": 1700, "repeated": 1683, **kinds})
    "1,700 prompts, 1,683 of them repeat another's text and are left out"
    """
    repeated = report["repeated"]
    parts = [
        f"{report['rows']:,} prompts",
        f"{repeated:,} of them repeat another's text and are left out" if repeated else "",
        *(f"{report[kind]['count']:,} {words}" for kind, words in _KINDS.items() if _count(report, kind)),
    ]
    return ", ".join(filter(None, parts))


_KINDS = {
    "unusable": "cannot be used",
    "without_answer": "without an answer",
    "too_long": "longer than max_prompt_tokens",
    "contaminated": "overlap with what is measured on",
}


def _count(report: Mapping[str, Any], kind: str) -> int:
    return report.get(kind, {"count": 0})["count"]


def report_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The whole report, with the first of every list."""
    part = ", ".join(filter(None, (report["subset"], report["split"])))
    yield f"{report['source']}{part and f' ({part})'}: {findings_text(report)}"
    yield "splits: " + ", ".join(f"{count:,} {name}" for name, count in report["splits"].items())
    if "contaminated" in report:
        yield f"compared with the prompts measured on and {report['evaluation_items']:,} items from elsewhere"
    for kind, words in _KINDS.items():
        if not _count(report, kind):
            continue
        yield f"{report[kind]['count']:,} {words}:"
        listed = report[kind]["listed"]
        for entry in listed[:MAX_SHOWN]:
            yield f"  {_entry(entry)}"
        if (num_more := report[kind]["count"] - MAX_SHOWN) > 0:
            yield f"  and {num_more:,} more"


def _entry(entry: Mapping[str, Any]) -> str:
    if "with" in entry:
        return f"{entry['id']}: {entry['words']!r} of {entry['with']}"
    if "tokens" in entry:
        return f"{entry['id']}: {entry['tokens']:,} tokens"
    return f"{entry.get('id') or 'row {}'.format(entry['row'])}: {entry['reason']}"
