"""The card of an exported model: what it was trained on and how, what was measured, and how to repeat it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from huggingface_hub import EvalResult, ModelCardData

from omniopd.config import builtin_task, yaml_text
from omniopd.export.licences import UNKNOWN, Licence, licence_of
from omniopd.export.names import is_on_hub
from omniopd.export.origin import Origin
from omniopd.export.render import rendered
from omniopd.export.results import results
from omniopd.export.selection import Selection
from omniopd.export.usage import usage
from omniopd.report.summary import Record, dollars, short_count, total

TAGS = ("omniopd", "on-policy-distillation")
AROUND = ("system", "template", "examples")  # settings that put text around each prompt


class Licensed(NamedTuple):
    """A row of the table of licences."""

    role: str
    name: str
    licence: Licence


def model_card(
    chosen: Selection, *, origin: Origin, records: Sequence[Record], dtype: str, datasets: Sequence[str] = ()
) -> str:
    """The README.md of an exported model.

    Args:
        chosen: The checkpoint.
        origin: When and with which code its run was made.
        records: What `omniopd evaluate` wrote about the run, and about other seeds of its arm.
        dtype: That of the weights.
        datasets: Names on the hub of the data that it was trained on.
    """
    config, measured = chosen.run.config, list(records) if chosen.is_last else []
    licences = _licences(chosen)
    return rendered(
        "model_card.md.j2",
        _front_matter(chosen, measured, licences[0].licence, datasets),
        title=chosen.title,
        run=chosen.run.files.root.name,
        base=chosen.student,
        adapter_of=chosen.student if chosen.is_adapter else None,
        method=config.method_name,
        teacher=chosen.teacher,
        facts=_facts(chosen, origin, dtype),
        results=results(chosen.run, chosen.round, measured),
        remark=_remark(chosen, records),
        usage=usage(chosen),
        template_kwargs=config.models.chat_template_kwargs,
        around=[f"`prompts.{name}`" for name in AROUND if getattr(config.prompts, name)],
        settings=yaml_text(chosen.differing()),
        arm=config.arm,
        seed=config.seed,
        needs_server=config.teacher.base_url is not None,
        local_files=_local_files(chosen),
        licences=licences,
    )


def _front_matter(
    chosen: Selection, records: Sequence[Record], licence: Licence, datasets: Sequence[str]
) -> ModelCardData:
    source = [chosen.hub_prompts] if chosen.hub_prompts else []
    lora = ["lora"] if chosen.run.config.train.lora else []
    return ModelCardData(
        base_model=chosen.hub_student,
        library_name="peft" if chosen.is_adapter else "transformers",
        pipeline_tag="text-generation",
        license=licence.id,
        license_name=licence.name or None,
        license_link=licence.link or None,
        tags=[*TAGS, chosen.run.config.method_name, *lora],
        datasets=[*source, *datasets] or None,
        model_name=chosen.title.rpartition("/")[2],
        eval_results=_scores(chosen, records[0]) if records else None,
    )


def _scores(chosen: Selection, record: Record) -> list[EvalResult]:
    """The accuracies after the run, for the hub's own tables."""
    scores = {"held-out prompts": record["after"]["greedy"]["accuracy"]}
    scores |= {name: score["mean"] for name, score in record["after"].get("benchmarks", {}).items()}
    held_out = chosen.hub_prompts or chosen.prompts
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=held_out if name == "held-out prompts" else name,
            dataset_name=name,
            metric_type="accuracy",
            metric_value=round(accuracy, 4),
        )
        for name, accuracy in scores.items()
    ]


def _facts(chosen: Selection, origin: Origin, dtype: str) -> dict[str, str]:
    config, metrics = chosen.run.config, chosen.metrics()
    teacher = {"teacher": f"`{chosen.teacher}` ({config.teacher.kind})"} if chosen.teacher else {}
    written, read = total(metrics, "teacher_tokens"), total(metrics, "teacher_prompt_tokens")
    bought = {
        "teacher tokens": f"{short_count(round(written))} written, {short_count(round(read))} read",
        "cost of the teacher": dollars(total(metrics, "cost_usd")),
    }
    return {
        "base model": f"`{chosen.student}`",
        **teacher,
        "method": f"`{config.method_name}`, arm `{config.arm}`, seed {config.seed}",
        "prompts": f"`{chosen.prompts}`, {config.prompts.num_train:,} to train on",
        "checkpoint": f"after round {chosen.round} of {config.train.num_rounds}, of "
        f"{config.rollout.num_prompts * config.rollout.num_samples} responses each",
        "weights": _weights(chosen, dtype),
        "learning rate": f"{config.train.lr:g}",
        **(bought if chosen.teacher else {}),
        **({"trained": f"{origin.begun} UTC"} if origin.begun else {}),
        "exported": f"{datetime.now(UTC):%Y-%m-%d}",
        "code" if origin.begun else "code of the export": origin.code,
        "versions": origin.versions,
        "key of the run": chosen.run.key,
    }


def _weights(chosen: Selection, dtype: str) -> str:
    lora = chosen.run.config.train.lora
    if lora is None:
        return dtype
    adapter = f"LoRA of rank {lora.rank}"
    return f"{adapter}, merged, {dtype}" if chosen.merged else f"{adapter}, float32"


def _remark(chosen: Selection, records: Sequence[Record]) -> str:
    """Why there are no accuracies on held-out prompts."""
    if not chosen.is_last:
        return "Held-out prompts are measured on the last round alone, so not on this checkpoint."
    return "" if records else "This run was not evaluated on held-out prompts."


def _local_files(chosen: Selection) -> list[str]:
    """The models and files that repeating the run needs, and that are neither on the hub nor built in."""
    config, root = chosen.run.config, chosen.run.layout.root
    models = {config.models.student, config.teacher.model if config.teacher.is_local else "demo"} - {"demo"}
    names = {chosen.public(name) for name in models if not is_on_hub(name, root)}
    if builtin_task(config) is None and not chosen.hub_prompts:
        names.add(chosen.prompts)
    return [f"`{name}`" for name in sorted(names)]


def _licences(chosen: Selection) -> list[Licensed]:
    """The licences of the base model, which comes first, of the teacher and of the prompts."""
    run, unknown = chosen.run, Licence(UNKNOWN)
    rows = [Licensed("base model", chosen.student, licence_of(run.model_path("student")))]
    if chosen.teacher:
        licence = licence_of(run.model_path("teacher")) if run.config.teacher.is_local else unknown
        rows.append(Licensed("teacher", chosen.teacher, licence))
    return [*rows, Licensed("prompts", chosen.prompts, unknown)]
