"""check: every mistake that can be found before work starts, and what a run would do."""

import random
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniopd.config import (
    DEMO,
    DEMO_CONTEXT,
    Params,
    RunConfig,
    builtin_task,
    demo_problems,
    load_inputs,
    load_params,
    resolve,
    task_problems,
)
from omniopd.config.benchmarks import Measurement, measurements
from omniopd.config.messages import TEXT_ALONE
from omniopd.data.layout import Layout
from omniopd.data.prompts import Prompt, Reference
from omniopd.data.split import Findings, Splits
from omniopd.errors import AdapterError, ConfigError, DataError, ModelError
from omniopd.evaluation.benchmarks import judge_of
from omniopd.grading import grader_of
from omniopd.inputs.prepare import draw_prompts, prompt_source, task_prompts
from omniopd.methods import Need
from omniopd.models.trust import allow_code
from omniopd.preflight.check_chat import sampling_warnings
from omniopd.preflight.mistakes import Mistakes, named
from omniopd.report.plan import settings_lines
from omniopd.report.prompts import findings_text
from omniopd.tasks import TASKS
from omniopd.teachers import kind_of
from omniopd.teachers.briefing import briefing_of

if TYPE_CHECKING:
    from omniopd.preflight.check_models import ModelFacts

Configs = Mapping[str, RunConfig]  # by arm, of its first seed
Drawn = Mapping[int, Splits]  # by seed


@dataclass(frozen=True)
class Checked:
    """Settings without a mistake."""

    params: Params
    warnings: list[str]
    lines: list[str]  # what the settings ask for
    drawn: Drawn  # the prompts of each seed; of a built-in task none

    def train_prompts(self, seed: int) -> list[Prompt]:
        """The prompts that a seed trains on, whether or not `prepare` has run."""
        splits = self.drawn[seed] if self.drawn else task_prompts(self.params, seed)[0]
        return splits["train"]


def check(
    params_file: Path, overrides: Mapping[str, Any] | None = None
) -> tuple[Params, list[str], list[str]]:
    """(params, warnings, lines of what they ask for).

    Raises:
        ConfigError, DataError, ModelError: as `examined`.
    """
    checked = examined(params_file, overrides)
    return checked.params, checked.warnings, checked.lines


def examined(params_file: Path, overrides: Mapping[str, Any] | None = None) -> Checked:
    """The settings, their warnings, and the prompts that they draw.

    Raises:
        ConfigError, DataError, ModelError: every mistake in params.yaml, and in the prompts and models that it names.
            One line each; the type is that of the first mistake.
    """
    try:
        params = load_params(params_file, overrides)
    except ConfigError as error:
        elsewhere = _mistakes_elsewhere(params_file, overrides)
        raise ConfigError("\n".join(dict.fromkeys([*str(error).splitlines(), *elsewhere]))) from error
    return _examined(params, params_file)


def _mistakes_elsewhere(params_file: Path, overrides: Mapping[str, Any] | None) -> list[str]:
    """The mistakes in prompts and models that settings name, where other settings are mistaken."""
    try:
        inputs = load_inputs(params_file, overrides)
        if inputs is not None:
            _examined(inputs, params_file)
    except (ConfigError, DataError, ModelError) as error:
        return str(error).splitlines()
    return []


def _examined(params: Params, params_file: Path) -> Checked:
    layout, mistakes, place = Layout(params_file.parent), Mistakes(), f"{params_file}: "
    configs = {arm: resolve(params, arm, params.seeds[0]) for arm in params.every_arm}
    allow_code(params.models.trust_remote_code)
    for problems in (demo_problems, task_problems):
        mistakes.errors += map(ConfigError, problems(params, str(params_file)))
    grader = mistakes.caught_in(lambda: grader_of(params.evaluation), place=place)
    drawn, findings = {}, None
    if grader is not None and builtin_task(params) is None:
        drawn, findings = mistakes.caught_in(lambda: _drawn(params, configs, layout, grader.needs)) or (
            {},
            None,
        )
    prompts = _every_prompt(params, drawn)
    teacher = mistakes.caught_in(lambda: _check_teacher(params, configs, layout, prompts), place=place)
    mistakes.caught_in(lambda: _check_engine(configs), place=place)
    suite = mistakes.caught_in(lambda: _suite(params, layout, f"{place}benchmarks.suite")) or []
    for measurement in suite:
        mistakes.caught_in(
            lambda one=measurement: _check_benchmark(one, params.benchmarks.files),
            place=f"{place}benchmarks: ",
        )
    student = mistakes.caught_in(lambda: _check_student(params, configs, layout, prompts, suite, place))
    mistakes.caught_in(lambda: _check_logits(params, configs, layout), place=place)
    warnings = [
        *_code_warnings(params),
        *sampling_warnings(configs),
        *(f"models.student: {line}" for line in (student.warnings if student else ())),
        *(f"teacher.model: {line}" for line in (teacher.warnings if teacher else ())),
    ]
    if student is not None:
        from omniopd.preflight.check_models import check_length, side_warnings

        response_lens = [config.rollout.max_new_tokens for config in configs.values()]
        if teacher is not None:
            mistakes.caught_in(
                lambda: check_length(teacher, max(response_lens)), place=f"{place}teacher.model: "
            )
        warnings += side_warnings(student.chat, teacher, max_new_tokens=min(response_lens))
        mistakes.caught_in(lambda: _check_training(params, configs, layout, student), place=place)
        warnings += _room_warnings(params, layout, student, mistakes, place)
    mistakes.raise_all()
    vocab_size = len(student.chat.tokenizer) if student else 0
    warnings += [
        f"arms.{arm}: {warning}"
        for arm in params.arms  # an ablation leaves out necessary parts on purpose
        for warning in configs[arm].method.warnings(vocab_size=vocab_size)
    ]
    first = params.seeds[0]
    prompts_text = findings_text(findings.report(first, drawn[first])) if findings else ""
    lines = settings_lines(params, configs, prompts_text)
    return Checked(params, [f"{place}{warning}" for warning in warnings], lines, drawn)


def _arms_that_need(params: Params, configs: Configs, need: Need) -> list[str]:
    return [
        f"{params.key_of(arm)} ({config.method_name})"
        for arm, config in configs.items()
        if need in config.method.needs
    ]


def _drawn(params: Params, configs: Configs, layout: Layout, needed: Reference) -> tuple[Drawn, Findings]:
    """The prompts that the seeds draw from a source, and the findings in it."""
    source = params.prompts.source
    path = prompt_source(params, layout).path
    if path is not None and not path.exists():
        raise DataError(
            f"{source}: no such file of prompts, and not a built-in task ({', '.join(map(repr, TASKS))}); "
            "fix prompts.source in params.yaml"
        )
    swept = params.sweep.seeds if any(map(params.is_swept, params.arms)) else []
    drawn, findings = draw_prompts(params, [*params.seeds, *params.ablation_seeds, *swept], layout)
    num_without = max(sum(not prompt.has(needed) for prompt in splits["train"]) for splits in drawn.values())
    if num_without and (arms := _arms_that_need(params, configs, "rewards")):
        raise DataError(
            f"{source}: {num_without} of {params.prompts.num_train} prompts to train on have no {needed}, but "
            f"{arms[0]} learns from whether responses are right; add {needed} (prompts.columns.{needed}), or leave the "
            "arm out"
        )
    return drawn, findings


def _every_prompt(params: Params, drawn: Drawn) -> list[Prompt]:
    """The prompts of all seeds; of a built-in task one example."""
    if task := builtin_task(params):
        problem = TASKS[task].problem(random.Random(0))
        columns = {name: getattr(problem, name, "") for name in params.hint_columns}
        return [Prompt(problem.prompt, problem.prompt, problem.answer, columns=columns)]
    prompts = {
        prompt.id: prompt for splits in drawn.values() for split in splits.values() for prompt in split
    }
    return [prompts[id_] for id_ in sorted(prompts)]


def _suite(params: Params, layout: Layout, place: str) -> list[Measurement]:
    return measurements(params.benchmarks, layout.root, system=params.prompts.system, place=place)


def _check_benchmark(measurement: Measurement, files: Collection[str]) -> None:
    """Raise if its grader cannot be used, or its file of items is not there; `files` are names of benchmarks."""
    name, source = measurement.benchmark.name, measurement.source
    judge_of(measurement.benchmark)
    if source.path is not None and not source.path.is_file():
        setting = f"files.{name}" if name in files else source.setting
        raise DataError(f"{source.path}: no such file of items; fix {setting}")


def _check_teacher(
    params: Params, configs: Configs, layout: Layout, prompts: Sequence[Prompt]
) -> "ModelFacts | None":
    """The facts of a usable teacher; None where it is not a local model."""
    kind = kind_of(params.teacher)
    kind.check(layout.root)
    if not params.teacher.is_local or params.teacher.model == DEMO:
        return None
    from omniopd.preflight.check_models import check_teacher

    briefings = dict.fromkeys(briefing_of(config.teacher) for config in configs.values())
    with named("teacher.model"):
        return check_teacher(
            layout.named_model(params.teacher.model),
            params.teacher.chat_template_kwargs,
            [briefing.messages(prompt) for briefing in briefings for prompt in prompts],
            on_vllm=not kind.in_process,
        )


def _code_warnings(params: Params) -> list[str]:
    names = {params.models.student, *([params.teacher.model] if params.teacher.is_local else [])} - {DEMO}
    if not (params.models.trust_remote_code and names):
        return []
    return [
        f"models.trust_remote_code: true: Python code that comes with {' or '.join(sorted(names))} is RUN, with your "
        "permissions; set it to false unless you have read that code"
    ]


def _check_engine(configs: Configs) -> None:
    """Raise if an arm rolls out with vLLM, and vLLM cannot be imported."""
    if any(
        config.rollout.engine == "vllm" and config.method.source == "student" for config in configs.values()
    ):
        from omniopd.sampling.samplers import vllm_student

        vllm_student()


def _check_logits(params: Params, configs: Configs, layout: Layout) -> None:
    """Raise if an arm reads the teacher's distributions, and cannot."""
    arms = _arms_that_need(params, configs, "teacher_logits")
    if not arms:
        return
    if not params.teacher.is_local:
        raise ConfigError(
            f"{arms[0]}: reads the teacher's distributions, and a teacher of kind {params.teacher.kind!r} "
            f"answers in text alone; {TEXT_ALONE}"
        )
    if DEMO in (params.models.student, params.teacher.model):
        return  # with characters as tokens, or else `base` or the run reports the difference
    from omniopd.models.loading import check_same_vocabulary, load_tokenizer

    teacher = layout.named_model(params.teacher.model)
    with named(arms[0]):
        tokenizer = load_tokenizer(layout.named_model(params.models.student))
        check_same_vocabulary(tokenizer, load_tokenizer(teacher), teacher_name=teacher)


def _check_student(
    params: Params,
    configs: Configs,
    layout: Layout,
    prompts: Sequence[Prompt],
    suite: Sequence[Measurement],
    place: str,
) -> "ModelFacts | None":
    """The facts of the student, or None if `base` is yet to make it."""
    name = params.models.student
    if name == DEMO:  # a token is a character
        if builtin_task(params) is not None:
            _check_lengths(params, configs, prompts, [len(prompt.prompt) for prompt in prompts], DEMO_CONTEXT)
        return None
    from omniopd.preflight.check_models import check_student

    with named(f"{place}models.student"):
        student = check_student(
            layout.named_model(name),
            params.models.chat_template_kwargs,
            prompts,
            suite=[measurement.benchmark for measurement in suite],
            stop=[string for config in configs.values() for string in config.rollout.stop],
        )
    if student.context is not None:
        _check_lengths(params, configs, prompts, student.prompt_lens, student.context)
    return student


def _check_lengths(
    params: Params, configs: Configs, prompts: Sequence[Prompt], lengths: Sequence[int], context: int
) -> None:
    longest_response = max(config.rollout.max_new_tokens for config in configs.values())
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
            f"{longest_response} exceeds the student's context of {context}; shorten or remove it{others}, "
            f"{leave_out}or make responses shorter"
        )


def _check_training(params: Params, configs: Configs, layout: Layout, student: "ModelFacts") -> None:
    """Raise if an arm cannot train its weights, or save them."""
    from omniopd.models.generation_config import check_generation_config
    from omniopd.training.memory import count_parameters

    for arm, config in configs.items():
        lora = config.train.lora
        if lora is None:
            with named("models.student"):
                check_generation_config(layout.named_model(params.models.student))
            continue
        with suppress(ModelError):  # little is known of a model that cannot be built without its weights
            try:
                count_parameters(student.config, lora)
            except AdapterError as error:
                raise ConfigError(f"{params.key_of(arm)}: {error}") from error


def _room_warnings(
    params: Params, layout: Layout, student: "ModelFacts", mistakes: Mistakes, place: str
) -> list[str]:
    """Where the machine's memory or its disk may not suffice; where one cannot, that is a mistake."""
    from omniopd.models.loading import load_config
    from omniopd.preflight import fit

    has_weights = params.teacher.is_local and params.teacher.model != DEMO
    try:
        teacher = load_config(layout.named_model(params.teacher.model)) if has_weights else None
        fits = fit.fits(params, student.config, teacher, longest_prompt=student.longest_prompt)
    except ModelError as error:  # a broken teacher is an error elsewhere
        return [str(error)]
    memory = mistakes.caught_in(lambda: fit.memory_warnings(fit.largest(fits), fit.room()), place=place)
    disk = mistakes.caught_in(lambda: fit.disk_warnings(params, layout, student.config), place=place)
    return [*(memory or ()), *(disk or ())]
