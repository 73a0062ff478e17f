"""The probe of a teacher behind an API, before a run asks it; the result is kept in the run's directory."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from omniopd.data.store import read_json, write_json
from omniopd.errors import DataError
from omniopd.teachers import kind_of

if TYPE_CHECKING:
    from omniopd.rounds.run import Run
    from omniopd.teachers.probe import ProbeResult


def probe_teacher(run: "Run") -> None:
    """Probe how the teacher continues a prefix, unless that is recorded or the method asks no teacher.

    Raises:
        ConfigError: the API knows neither the key nor the model.
        TeacherError: it does not continue a prefix.
    """
    asks = run.config.method.source == "teacher" or "verdicts" in run.config.method.needs
    kind = kind_of(run.config.teacher)
    if not kind.is_api or not asks or recorded_probe(run) is not None:
        return
    prompts = [run.teacher_prompt(prompt.id) for prompt in run.prompts("train")]
    if probe := kind.probe(prompts, tokens_of=run.models.decoder.read_alone, root=run.layout.root):
        write_json(run.files.teacher, {"key": run.key, **asdict(probe)})


def recorded_probe(run: "Run") -> "ProbeResult | None":
    """The recorded probe of this run, if there is one."""
    if not run.files.teacher.exists():
        return None
    from omniopd.teachers.capabilities import Capabilities  # imports litellm: seconds
    from omniopd.teachers.probe import ProbeResult

    try:
        content = read_json(run.files.teacher, "key", "capabilities", "way", "shares_tokens")
        recorded = content["capabilities"]
        capabilities = Capabilities(**{**recorded, "ways": tuple(recorded["ways"])})
    except (DataError, KeyError, TypeError):  # damaged: the teacher is probed again
        return None
    if content["key"] != run.key:
        return None
    return ProbeResult(content["way"], capabilities, shares_tokens=content["shares_tokens"])
