"""check: every mistake that can be found before work starts, and what a run would do."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from omniopd.config import (
    DEMO,
    DEMO_CONTEXT,
    Params,
    builtin_task,
    demo_problems,
    load_params,
    resolve,
    task_problems,
)
from omniopd.config.messages import TEXT_ALONE
from omniopd.data.layout import Layout
from omniopd.data.prompts import Prompt, Reference
from omniopd.errors import AdapterError, ConfigError, DataError, ModelError, OmniOPDError
from omniopd.grading import grader_of
from omniopd.inputs.prepare import draw_prompts, prompt_source
from omniopd.methods import Need
from omniopd.models.trust import allow_code
from omniopd.report.prompts import findings_text
from omniopd.tasks import TASKS
from omniopd.teachers import kind_of

if TYPE_CHECKING:
    from omniopd.preflight.check_models import StudentFacts

T = TypeVar("T")


def check(
    params_file: Path, overrides: Mapping[str, Any] | None = None
) -> tuple[Params, list[str], list[str]]:
    """(params, warnings, what would be done).

    Raises:
        ConfigError, DataError, ModelError: every mistake in params.yaml; or else every mistake in the prompts
            and models that it names, a line each, as an error of the first one's kind.
    """
    params = load_params(params_file, overrides)
    layout, found = Layout(params_file.parent), _Mistakes()
    allow_code(params.models.trust_remote_code)
    problems = [check(params, str(params_file)) for check in (demo_problems, task_problems)]
    found.add(ConfigError(problem) for problem in chain(*problems))
    grader = found.of(lambda: grader_of(params.evaluation), place=f"{params_file}: ")
    drawn = found.of(lambda: _prompts(params, layout, grader.needs)) if grader is not None else None
    prompts, of_prompts = drawn or ([], "")
    of_teacher = found.of(lambda: _check_teacher(params, layout), place=f"{params_file}: ")
    found.of(lambda: _check_engine(params), place=f"{params_file}: ")
    for name in dict.fromkeys([*params.benchmarks.suite, *params.benchmarks.files]):
        found.of(
            lambda name=name: _check_benchmark(name, params, layout), place=f"{params_file}: benchmarks: "
        )
    student = found.of(lambda: _check_student(params, layout, prompts, params_file))
    found.of(lambda: _check_logits(params, layout), place=f"{params_file}: ")
    if student is not None:
        found.of(lambda: _check_training(params, layout, student), place=f"{params_file}: ")
    of_room = found.of(lambda: _check_room(params, layout, student, found, params_file)) if student else []
    found.tell()
    doubts = [*_code(params), *(student.warnings if student else []), *(of_teacher or []), *(of_room or [])]
    vocab_size = student.vocab_size if student else 0
    warnings = [f"{params_file}: {doubt}" for doubt in doubts] + [
        f"{params_file}: arms.{arm}: {warning}"
        for arm in params.arms  # an ablation leaves out what is needed on purpose
        for warning in resolve(params, arm, params.seeds[0]).method.warnings(vocab_size=vocab_size)
    ]
    return params, warnings, _plan(params, of_prompts)


class _Mistakes:
    """Errors, kept until all are found."""

    def __init__(self) -> None:
        self._errors: list[OmniOPDError] = []

    def add(self, errors: Iterable[OmniOPDError]) -> None:
        self._errors += errors

    def of(self, step: Callable[[], T], *, place: str = "") -> T | None:
        """What the step returns, or None where it fails."""
        try:
            return step()
        except (ConfigError, DataError, ModelError) as error:
            self._errors.append(type(error)(f"{place}{error}"))
            return None

    def tell(self) -> None:
        """Raise what was found, if anything."""
        if self._errors:
            raise type(self._errors[0])("\n".join(map(str, self._errors)))


def _prompts(params: Params, layout: Layout, needed: Reference) -> tuple[list[Prompt], str]:
    """The prompts that seeds draw from prompts.source, and what was found there; of a built-in task one, as drawn."""
    source, task = params.prompts.source, builtin_task(params)
    if task is not None:
        problem = TASKS[task].problem(random.Random(0))
        return [Prompt(problem.prompt, problem.prompt, problem.answer)], ""
    path = prompt_source(params, layout).path
    if path is not None and not path.exists():
        raise DataError(
            f"{source}: no such file of prompts, and no built-in task ({', '.join(map(repr, TASKS))}) is called so; "
            "fix prompts.source in params.yaml"
        )
    swept = params.sweep.seeds if any(map(params.is_swept, params.arms)) else []
    drawn, findings = draw_prompts(params, [*params.seeds, *params.ablation_seeds, *swept], layout)
    num_mute = max(sum(not prompt.has(needed) for prompt in splits["train"]) for splits in drawn.values())
    if num_mute and (arms := _arms_that_need(params, "rewards")):
        raise DataError(
            f"{source}: {num_mute} of {params.prompts.num_train} prompts to train on have no {needed}, and {arms[0]} "
            f"learns from whether responses are right; add {needed} (prompts.columns.{needed}), or leave the arm out"
        )
    first = params.seeds[0]
    prompts = {
        prompt.id: prompt for splits in drawn.values() for split in splits.values() for prompt in split
    }
    return sorted(prompts.values(), key=lambda prompt: prompt.id), findings_text(
        findings.report(first, drawn[first])
    )


def _check_benchmark(name: str, params: Params, layout: Layout) -> None:
    from omniopd.evaluation.benchmarks import (
        benchmark_named,
    )  # transformers comes with it, which takes seconds

    benchmark_named(name)
    file = params.benchmarks.files.get(name)
    if file is not None and not (layout.root / file).is_file():
        raise DataError(f"files.{name}: {layout.root / file}: no such file of items; fix it, or leave it out")


def _check_teacher(params: Params, layout: Layout) -> list[str]:
    """What to be warned of in a teacher that can be used."""
    kind = kind_of(params.teacher)
    kind.check(layout.root)
    if params.teacher.is_local and params.teacher.model != DEMO:
        from omniopd.preflight.check_models import check_teacher

        with _named("teacher.model"):
            doubts = check_teacher(layout.named_model(params.teacher.model), on_vllm=not kind.in_process)
            return [f"teacher.model: {line}" for line in doubts]
    return []


def _code(params: Params) -> list[str]:
    """What to be warned of where code that comes with a model is run."""
    names = [params.models.student, *([params.teacher.model] if params.teacher.is_local else [])]
    named = sorted(set(names) - {DEMO})
    if not (params.models.trust_remote_code and named):
        return []
    return [
        f"models.trust_remote_code: true: Python code that comes with {' or '.join(named)} is RUN, with your rights; "
        "set it to false unless you have read that code"
    ]


def _check_engine(params: Params) -> None:
    """Whether the engine that writes the student's responses can be imported, where an arm has one."""
    configs = [resolve(params, arm, params.seeds[0]) for arm in params.every_arm]
    if any(config.rollout.engine == "vllm" and config.method.source == "student" for config in configs):
        from omniopd.sampling.samplers import vllm_student

        vllm_student()


def _check_logits(params: Params, layout: Layout) -> None:
    """Whether arms that read the teacher's distributions can."""
    arms = _arms_that_need(params, "teacher_logits")
    if not arms:
        return
    if not params.teacher.is_local:
        raise ConfigError(
            f"{arms[0]}: reads the teacher's distributions, and a teacher of kind {params.teacher.kind!r} "
            f"answers in text alone; {TEXT_ALONE}"
        )
    names = (params.models.student, params.teacher.model)
    if DEMO in names:  # both have a token a character, or else `base` or the run finds them different
        return
    from omniopd.preflight.check_models import check_vocabularies

    with _named(arms[0]):
        check_vocabularies(*map(layout.named_model, names))


def _arms_that_need(params: Params, need: Need) -> list[str]:
    """The arms whose method needs that, as places in params.yaml."""
    configs = {arm: resolve(params, arm, params.seeds[0]) for arm in params.every_arm}
    return [
        f"{'arms' if arm in params.arms else 'ablations'}.{arm} ({config.method_name})"
        for arm, config in configs.items()
        if need in config.method.needs
    ]


def _check_student(
    params: Params, layout: Layout, prompts: Sequence[Prompt], params_file: Path
) -> "StudentFacts | None":
    """What is known of the student, or None where it is yet to be made."""
    name = params.models.student
    if name == DEMO:  # a token a character
        if builtin_task(params) is not None:
            _check_lengths(params, prompts, [len(prompt.prompt) for prompt in prompts], DEMO_CONTEXT)
        return None
    from omniopd.preflight.check_models import check_student

    with _named(f"{params_file}: models.student"):
        facts = check_student(layout.named_model(name), prompts)
    if facts.context is not None:
        _check_lengths(params, prompts, facts.prompt_lens, facts.context)
    return replace(facts, warnings=[f"models.student: {line}" for line in facts.warnings])


def _check_training(params: Params, layout: Layout, student: "StudentFacts") -> None:
    """Whether every arm can train what it is to train, and save it."""
    from omniopd.models.generation_config import check_generation_config
    from omniopd.training.memory import count_adapter

    for arm in params.every_arm:
        lora = resolve(params, arm, params.seeds[0]).train.lora
        if lora is None:
            with _named("models.student"):
                check_generation_config(layout.named_model(params.models.student))
            continue
        with suppress(ModelError):  # of a model that cannot be built without values little is known
            try:
                count_adapter(student.config, lora)
            except AdapterError as error:
                group = "arms" if arm in params.arms else "ablations"
                raise ConfigError(f"{group}.{arm}: {error}") from error


def _check_room(
    params: Params, layout: Layout, student: "StudentFacts", found: _Mistakes, params_file: Path
) -> list[str]:
    """What to be warned of in the machine's memory and disk; what cannot fit is added to the mistakes found."""
    from omniopd.models.loading import load_config
    from omniopd.preflight import fit

    named = params.teacher.is_local and params.teacher.model != DEMO
    try:
        teacher = load_config(layout.named_model(params.teacher.model)) if named else None
        most = fit.largest(
            fit.fits(params, student.config, teacher, longest_prompt=max(student.prompt_lens, default=0))
        )
        verdicts = [
            fit.memory_verdict(most, fit.room()),
            fit.disk_verdict(params, layout, student.config),
        ]
    except ModelError as error:  # a broken teacher is told of elsewhere
        return [str(error)]
    found.add(type(error)(f"{params_file}: {error}") for error, _ in verdicts if error is not None)
    return [line for _, line in verdicts if line is not None]


def _check_lengths(params: Params, prompts: Sequence[Prompt], lengths: Sequence[int], context: int) -> None:
    longest_response = _longest_response(params)
    too_long = [
        (prompt.id, length)
        for prompt, length in zip(prompts, lengths, strict=True)
        if length + longest_response > context
    ]
    if too_long:
        id_, length = too_long[0]
        leave_out = "" if builtin_task(params) else "leave such out with prompts.max_prompt_tokens, "
        others = f" and the {len(too_long) - 1} others that are too long" if len(too_long) > 1 else ""
        raise DataError(
            f"{params.prompts.source}: prompt {id_!r} has {length} tokens, and with rollout.max_new_tokens = "
            f"{longest_response} passes the student's context of {context}; shorten or remove it{others}, "
            f"{leave_out}or make responses shorter"
        )


@contextmanager
def _named(place: str) -> Iterator[None]:
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{place}: {error}") from error


def _longest_response(params: Params) -> int:
    return max(resolve(params, arm, params.seeds[0]).rollout.max_new_tokens for arm in params.every_arm)


def _plan(params: Params, of_prompts: str) -> list[str]:
    lines = [
        f"prompts   {params.prompts.source}{of_prompts and f' ({of_prompts})'}: {params.prompts.num_train:,} to train, "
        f"{params.prompts.num_validation:,} to watch, {params.prompts.num_heldout:,} held out",
        f"student   {_model(params.models.student)}",
        f"teacher   {_model(params.teacher.model)}, kind {params.teacher.kind}",
    ]
    for arm in params.every_arm:
        config = resolve(params, arm, params.seeds[0])
        num_responses = config.rollout.num_prompts * config.rollout.num_samples
        text = f"{config.train.num_rounds} rounds of {num_responses} responses, {_rate(params, arm)}"
        if audit := config.method.audit(shares_tokens=True):
            text += f", {audit.num_replies} replies of {audit.chunk_len} tokens a chunk"
        if config.method.source == "teacher":
            text += ", written by the teacher"
        kind, seeds = (
            ("arm     ", params.seeds) if arm in params.arms else ("ablation", params.ablation_seeds)
        )
        lines.append(f"{kind}  {arm} ({config.method_name}): {text}; seeds {', '.join(map(str, seeds))}")
    return lines


def _model(name: str) -> str:
    return "demo, trained by `omniopd base`" if name == DEMO else name


def _rate(params: Params, arm: str) -> str:
    source = params.every_arm[arm].lr_of
    if source is None:
        return f"lr {resolve(params, arm, params.seeds[0]).train.lr:g}"
    if source != arm:
        return f"lr of {source}"
    seeds = ", ".join(map(str, params.sweep.seeds))
    return f"lr swept over {', '.join(f'{lr:g}' for lr in params.sweep.lrs)} on seed {seeds}"
