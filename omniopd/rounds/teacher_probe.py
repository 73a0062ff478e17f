"""Before a run asks a teacher behind an API: a probe, whose finding is kept beside the run."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from omniopd.data.store import read_json, write_json
from omniopd.errors import DataError
from omniopd.teachers import kind_of

if TYPE_CHECKING:
    from omniopd.rounds.run import Run
    from omniopd.teachers.probe import ProbeResult


def probe_teacher(run: "Run") -> None:
    """Find out how the teacher is to be asked, unless that is known, or the method asks none.

    Raises:
        ConfigError: the API knows neither the key nor the model.
        TeacherError: it does not continue what is put before it.
    """
    asks = run.config.method.source == "teacher" or "verdicts" in run.config.method.needs
    kind = kind_of(run.config.teacher)
    if not kind.is_api or not asks or recorded_probe(run) is not None:
        return
    prompts = [prompt.prompt for prompt in run.prompts("train")]
    if found := kind.probe(prompts, tokens_of=run.models.decoder.read_alone, root=run.layout.root):
        write_json(run.files.teacher, {"key": run.key, **asdict(found)})


def recorded_probe(run: "Run") -> "ProbeResult | None":
    """What the probe of this run found, where it has been."""
    from omniopd.teachers.capabilities import Capabilities
    from omniopd.teachers.probe import ProbeResult

    try:
        content = read_json(run.files.teacher, "key", "capabilities", "way", "shares_tokens")
        known = content["capabilities"]
        capabilities = Capabilities(**{**known, "ways": tuple(known["ways"])})
    except (DataError, KeyError, TypeError):  # damaged: the teacher is probed again
        return None
    if content["key"] != run.key:
        return None
    return ProbeResult(content["way"], capabilities, shares_tokens=content["shares_tokens"])
