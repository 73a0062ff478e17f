"""base: the student and the teacher of a seed, trained here or found, and named in models.json."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from omniopd.config import DEMO, Params, demo_problems
from omniopd.data.layout import Layout
from omniopd.data.store import file_md5, write_json
from omniopd.engines.pretrain import character_tokenizer, save_model, train_demo_model
from omniopd.errors import ConfigError, DataError
from omniopd.functional.seeds import stable_seed
from omniopd.models.loading import check_model_dir
from omniopd.models.threads import use_threads
from omniopd.tasks import TASKS


def base(
    params: Params,
    seed: int,
    layout: Layout,
    *,
    on_step: Callable[[str, int, int], None],
) -> None:
    """Train the demo's models where params name them, check the others, and write models.json.

    on_step is told the role, the step done and the number of steps.

    Raises:
        ConfigError: a demo model is asked for, and the prompts are no built-in task.
        ModelError: a directory that holds no model.
    """
    if problems := demo_problems(params, "params.yaml"):
        raise ConfigError("\n".join(problems))
    use_threads(params.compute.num_threads)
    names = {"student": params.models.student, "teacher": params.teacher.model}
    found = {}
    for role, name in names.items():
        if name == DEMO:
            _train(params, seed, layout, role, on_step)
            path = layout.models(seed) / role
            found[role] = {"path": role, "digest": model_digest(path)}
        elif role == "teacher" and params.teacher.kind != "transformers":
            found[role] = {"name": name, "digest": name}
        else:
            path = layout.named_model(name)
            check_model_dir(path)
            found[role] = {"name": name, "digest": model_digest(Path(path))}
    write_json(layout.models(seed) / "models.json", found)


def model_digest(path: Path) -> str:
    """16 hex digits over the weight files of a directory; a hub name stands for itself."""
    if not path.is_dir():
        return path.as_posix()
    digests = [(file.name, file_md5(file)) for file in sorted(path.glob("*.safetensors"))]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:16]


def _train(
    params: Params, seed: int, layout: Layout, role: str, on_step: Callable[[str, int, int], None]
) -> None:
    settings = getattr(params.models.demo, role)
    tokenizer = character_tokenizer(TASKS[params.prompts.source].alphabet)
    model = train_demo_model(
        _examples(layout.prompts(seed, f"{role}-examples")),
        tokenizer,
        settings,
        seed=stable_seed("base", seed, role) % 2**31,
        on_step=lambda step: on_step(role, step, settings.num_steps),
    )
    save_model(layout.models(seed) / role, model, tokenizer)


def _examples(path: Path) -> list[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; run `omniopd prepare` first (dvc repro does)") from error
    rows = [json.loads(line) for line in lines]
    return [(row["prompt"], row["solution"]) for row in rows]
