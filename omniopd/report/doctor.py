"""What `doctor` found, as people read it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.table import Table

State = Literal["ok", "doubt", "wrong"]
MARKS: dict[State, str] = {"ok": "[green]ok[/]", "doubt": "[yellow]doubt[/]", "wrong": "[red]WRONG[/]"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what was found of it, and, where it is not well, what to do.

    doubt: runs go on with it, but not as their user may think. wrong: a run stops at it.

    >>> Finding("git", "doubt", "no repository", "git init: runs are then recorded with their commit").state
    'doubt'
    """

    subject: str
    state: State
    found: str
    remedy: str = ""


def doctor_table(findings: Sequence[Finding]) -> Table:
    """A row a finding, its remedy below it."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in findings:
        table.add_row(finding.subject, MARKS[finding.state], _escaped(finding.found))
        if finding.remedy:
            table.add_row("", "", f"→ {_escaped(finding.remedy)}")
    return table


def doctor_line(findings: Sequence[Finding]) -> str:
    """The sentence below the table."""
    num_wrong, num_doubts = (
        sum(finding.state == state for finding in findings) for state in ("wrong", "doubt")
    )
    if num_wrong:
        return f"{num_wrong} of {len(findings)} wrong: runs stop at that; do what stands behind the arrows"
    if num_doubts:
        return f"nothing is wrong; {num_doubts} of {len(findings)} to look at"
    return "all is well"


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
