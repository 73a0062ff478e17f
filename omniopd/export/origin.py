"""When and with which code a run was made, as MLflow recorded it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from omniopd.errors import TrackingError
from omniopd.rounds.run import Run
from omniopd.tracking.origin import code_tags


@dataclass(frozen=True)
class Origin:
    """The commit and the versions of a run; those of the export where MLflow does not have the run.

    >>> tags = {"omniopd.version": "0.1.0", "mlflow.source.git.commit": "3f2c", "omniopd.git.changed": "true"}
    >>> Origin("2026-01-31 12:00", tags).code
    'omniopd 0.1.0, commit 3f2c with uncommitted changes'
    """

    begun: str  # UTC; empty where MLflow does not have the run
    tags: Mapping[str, str]

    @property
    def code(self) -> str:
        """The version and the commit, for a reader."""
        text = f"omniopd {self.tags.get('omniopd.version', 'of an unknown version')}"
        if commit := self.tags.get("mlflow.source.git.commit"):
            text += f", commit {commit}"
        return text + " with uncommitted changes" * (self.tags.get("omniopd.git.changed") == "true")

    @property
    def versions(self) -> str:
        """Those of Python and torch, for a reader."""
        named = {"Python": "omniopd.python", "torch": "omniopd.torch"}
        return ", ".join(f"{name} {self.tags[tag]}" for name, tag in named.items() if tag in self.tags)


def origin_of(run: Run, warn: Callable[[str], None]) -> Origin:
    """The origin of a run; `warn` is called where MLflow does not answer."""
    if run.config.tracking.enabled:
        from omniopd.tracking.lookup import Lookup  # mlflow takes seconds

        try:
            tracked = Lookup(run.config.tracking).runs()
        except TrackingError as error:
            warn(f"{error}; the card has the commit of this folder, not that of the run")
            tracked = []
        for recorded in tracked:
            if recorded.tags.get("omniopd.key") == run.key and recorded.name == run.files.root.name:
                return Origin(recorded.begun, recorded.tags)
    return Origin("", code_tags(run.layout.root))
