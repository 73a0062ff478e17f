"""The findings of `doctor`, as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.markup import escape
from rich.table import Table

State = Literal["ok", "doubt", "wrong"]
MARKS: dict[State, str] = {"ok": "[green]ok[/]", "doubt": "[yellow]doubt[/]", "wrong": "[red]WRONG[/]"}


@dataclass(frozen=True)
class Finding:
    """One thing that was checked: its condition, and, where that is not ok, what to do.

    doubt: runs work, but maybe not as the user expects. wrong: a run stops at it.

    >>> Finding("git", "doubt", "no repository", "git init: runs are then recorded with their commit").state
    'doubt'
    """

    subject: str
    state: State
    found: str
    remedy: str = ""


def doctor_table(findings: Sequence[Finding]) -> Table:
    """A row for each finding, with its remedy below."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in findings:
        table.add_row(finding.subject, MARKS[finding.state], escape(finding.found))
        if finding.remedy:
            table.add_row("", "", f"→ {escape(finding.remedy)}")
    return table


def doctor_line(findings: Sequence[Finding]) -> str:
    """The sentence below the table."""
    states = [finding.state for finding in findings]
    if num_wrong := states.count("wrong"):
        return f"{num_wrong} of {len(findings)} wrong: runs stop at that; follow the arrows"
    if num_doubts := states.count("doubt"):
        return f"nothing is wrong; {num_doubts} of {len(findings)} to check"
    return "all is well"
