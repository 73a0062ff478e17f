"""base: the student and the teacher of a seed, trained here or existing, and listed in models.json."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig, PreTrainedTokenizerFast, Qwen3ForCausalLM

from omniopd import RESULTS_VERSION
from omniopd.config import DEMO, DemoModel, Params, demo_problems
from omniopd.data.decoding import GREEDY
from omniopd.data.layout import Layout
from omniopd.data.lock import one_at_a_time
from omniopd.data.prompts import read_prompts
from omniopd.data.receipts import valid_receipt, work_key, write_receipt
from omniopd.data.store import file_md5, read_json, write_json
from omniopd.errors import ConfigError, DataError, ModelError
from omniopd.functional.seeds import stable_seed
from omniopd.grading.accuracy import accuracy_of, answered
from omniopd.inputs.stages import model_settings
from omniopd.models.chat import Chat
from omniopd.models.loading import check_model_dir, load_chat, load_config
from omniopd.models.threads import use_threads
from omniopd.sampling.responses import in_process
from omniopd.sampling.samplers import Student
from omniopd.tasks import TASKS
from omniopd.training.pretrain import character_tokenizer, demo_config, save_model, train_demo_model

# Files that decide what a model computes, reads or writes: its weights, configurations, tokenizer, templates and code.
DECIDING = (".safetensors", ".json", ".jinja", ".model", ".tiktoken", ".py")
DECIDING_TEXTS = ("vocab.txt", "merges.txt")
MORE_TEMPLATES = "additional_chat_templates"  # transformers' folder of those that have a name


def make_models(
    params: Params, seed: int, layout: Layout, *, on_step: Callable[[str, int, int], None]
) -> bool:
    """Make the models of a seed unless they are complete and of these settings. Returns whether they were made.

    on_step gets the progress of training: role, step, number of steps.
    """
    key, receipt = base_key(params, seed, layout), layout.made("base", seed)
    with one_at_a_time(layout.making(seed)):
        if valid_receipt(receipt, key=key, base=receipt.parent) is not None:
            return False
        base(params, seed, layout, on_step=on_step)
    return True


def base(
    params: Params,
    seed: int,
    layout: Layout,
    *,
    on_step: Callable[[str, int, int], None],
) -> dict[str, dict[str, Any]]:
    """Train the demo models that params name, check the others, and write models.json; returns its content.

    The demo's student is trained from one initialisation after another until it starts in the range of params;
    `starts` in models.json lists the accuracies of all draws. on_step gets the role, the step and the number of steps.

    Raises:
        ConfigError: params name a demo model, and the prompts are not of a built-in task.
        ModelError: a directory without a model.
    """
    if problems := demo_problems(params, "params.yaml"):
        raise ConfigError("\n".join(problems))
    use_threads(params.compute.num_threads)
    names = {"student": params.models.student, "teacher": params.teacher.model}
    models = {}
    for role, name in names.items():
        if name == DEMO:
            path = layout.models(seed) / role
            if role == "student":
                model, tokenizer, starts = _train_to_start(params, seed, layout, on_step)
                notes = {"starts": starts}
            else:
                model, tokenizer = _train(params, seed, layout, role, 0, on_step)
                notes = {}
            save_model(path, model, tokenizer)
            models[role] = {"path": role, "digest": model_digest(path), **notes}
        elif role == "teacher" and not params.teacher.is_local:
            models[role] = {"name": name, "digest": name}
        else:
            path = layout.named_model(name)
            check_model_dir(path)
            models[role] = {"name": name, "digest": model_digest(Path(path))}
    write_json(layout.models(seed) / "models.json", models)
    receipt = layout.made("base", seed)
    files = [file for file in sorted(receipt.parent.rglob("*")) if file.is_file() and file != receipt]
    write_receipt(receipt, key=base_key(params, seed, layout), files=files, base=receipt.parent)
    return models


def base_key(params: Params, seed: int, layout: Layout) -> str:
    """The key of the models of a seed: a hash of everything they are made from, or of the files in a directory."""
    names = {"student": params.models.student, "teacher": params.teacher.model}
    in_directories = {
        role: model_digest(Path(layout.named_model(name)))
        for role, name in names.items()
        if name != DEMO and (role == "student" or params.teacher.is_local)
    }
    prompts = {
        file.name: file_md5(file) for file in sorted(layout.prompts(seed, "train").parent.glob("*.jsonl"))
    }
    return work_key("base", seed, model_settings(params), in_directories, prompts, RESULTS_VERSION)


def model_in_use(layout: Layout, seed: int, role: str, *, is_local: bool) -> str:
    """The directory or hub name of the student or teacher that `base` recorded; for an API its model name."""
    folder = layout.models(seed)
    entry = read_json(folder / "models.json", role, made_by=f"omniopd base --seed {seed}")[role]
    if "path" in entry:
        return str(folder / entry["path"])
    return layout.named_model(entry["name"]) if is_local else entry["name"]


def planned_model(params: Params, seed: int, layout: Layout, role: str) -> str | None:
    """The directory or hub name of a model with weights; None for a demo model that `base` has yet to train."""
    name = params.models.student if role == "student" else params.teacher.model
    if name != DEMO:
        return layout.named_model(name)
    return str(layout.models(seed) / role) if (layout.models(seed) / "models.json").is_file() else None


def planned_config(params: Params, seed: int, layout: Layout, role: str) -> PretrainedConfig:
    """The configuration of a model with weights, whether or not `base` has run."""
    path = planned_model(params, seed, layout, role)
    if path is not None:
        return load_config(path)
    return demo_config(_demo_tokenizer(params), getattr(params.models.demo, role))


def planned_chat(params: Params, seed: int, layout: Layout, role: str) -> Chat:
    """The chat of a model with weights, whether or not `base` has run."""
    path = planned_model(params, seed, layout, role)
    if path is None:
        return Chat(_demo_tokenizer(params))
    side = params.models if role == "student" else params.teacher
    return load_chat(path, side.chat_template_kwargs)


def _demo_tokenizer(params: Params) -> PreTrainedTokenizerFast:
    return character_tokenizer(TASKS[params.prompts.source].alphabet)


def check_models(seed: int, layout: Layout, *, teacher_is_local: bool) -> None:
    """Raise where the models of a seed are not those that `base` recorded.

    For runs whose models DVC has made: it does not watch directories that params name.

    Raises:
        ModelError: a file of one has changed since.
    """
    for role in ("student", "teacher") if teacher_is_local else ("student",):
        path = model_in_use(layout, seed, role, is_local=True)
        recorded = read_json(layout.models(seed) / "models.json", role)[role]["digest"]
        if model_digest(Path(path)) != recorded:
            raise ModelError(
                f"{path}: is not the {role} that `omniopd base --seed {seed}` recorded: a file of it has changed; "
                f"restore it, or run `dvc repro --force base@{seed}`, after which runs of the model before start again"
            )


def model_digest(path: Path) -> str:
    """16 hex digits over the files of a directory that decide what the model does; a hub name is its own digest."""
    if not path.is_dir():
        return path.as_posix()
    files = [
        file
        for file in [*path.glob("*"), *(path / MORE_TEMPLATES).glob("*.jinja")]
        if (file.suffix in DECIDING or file.name in DECIDING_TEXTS) and file.is_file()
    ]
    digests = [(file.relative_to(path).as_posix(), file_md5(file)) for file in sorted(files)]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:16]


def _train(
    params: Params, seed: int, layout: Layout, role: str, draw: int, on_step: Callable[[str, int, int], None]
) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]:
    settings: DemoModel = getattr(params.models.demo, role)
    tokenizer = _demo_tokenizer(params)
    model = train_demo_model(
        _examples(layout.prompts(seed, f"{role}-examples")),
        tokenizer,
        settings,
        seed=stable_seed("base", seed, role, *([draw] if draw else [])) % 2**31,
        on_step=lambda step: on_step(role, step, settings.num_steps),
    )
    return model, tokenizer


def _train_to_start(
    params: Params, seed: int, layout: Layout, on_step: Callable[[str, int, int], None]
) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast, list[float]]:
    """The first student that starts in the range, or the nearest of all; and the accuracy of each draw."""
    start = params.models.demo.start
    accuracies: list[float] = []
    drawn: list[tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]] = []
    for draw in range(start.max_draws):
        drawn.append(_train(params, seed, layout, "student", draw, on_step))
        accuracies.append(_accuracy(*drawn[-1], params, seed, layout))
        if start.distance(accuracies[-1]) == 0:
            break
    nearest = min(range(len(drawn)), key=lambda draw: start.distance(accuracies[draw]))
    return *drawn[nearest], accuracies


def _accuracy(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, params: Params, seed: int, layout: Layout
) -> float:
    writer = in_process(Student(model, Chat(tokenizer), ""), batch_size=params.evaluation.batch_size)
    results = answered(
        writer,
        read_prompts(layout.prompts(seed, "validation")),
        decoding=GREEDY,
        max_new_tokens=params.rollout.max_new_tokens,
        settings=params.evaluation,
        seed=seed,
    )
    return accuracy_of(results)


def _examples(path: Path) -> list[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; run `omniopd prepare` first (dvc repro does)") from error
    rows = [json.loads(line) for line in lines]
    return [(row["prompt"], row["solution"]) for row in rows]
