"""A student that chats, and two runs of it: with all weights trained, and with an adapter."""

from pathlib import Path

import torch
from projects import Project, make_project, run_plain
from text_models import save_text_model
from transformers import AutoModelForCausalLM

# Its turns end with another token than the tokenizer's end token, as Qwen's do.
TURNS = (
    "{% for message in messages %}[{{ message['role'] }}]{{ message['content'] }}<start>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
APACHE = (
    "                                 Apache License\n                           Version 2.0, January 2004\n"
)
STUDENT = "acme-student"
LORA = {"rank": 2, "alpha": 8.0, "targets": "all-linear"}
TRAIN = {"num_rounds": 2, "checkpoint_every": 1, "lr": 0.05, "warmup_rounds": 0, "schedule": "constant"}
ARMS = {"whole": TRAIN, "adapted": {**TRAIN, "lora": LORA}}


def save_student(path: Path) -> None:
    """A student in bfloat16, with a chat template, generation settings and a licence."""
    save_text_model(path, chat_template=TURNS)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16)
    model.generation_config.update(do_sample=True, temperature=0.9)
    model.save_pretrained(path)
    (path / "LICENSE").write_text(APACHE)


def make_chatting(folder: Path) -> None:
    """The student, and next to it a project with a finished run of each arm."""
    save_student(folder / STUDENT)
    project = make_project(folder / "project").edit(
        models__student=f"../{STUDENT}", teacher__model=f"../{STUDENT}", rollout__num_prompts=4,
        rollout__max_new_tokens=8, arms={name: {"method": "sft", "train": train} for name, train in ARMS.items()},
    )  # fmt: skip
    project.make_base()
    for arm in ARMS:
        run_plain(project.params_file, arm)


def chatting_in(folder: Path) -> Project:
    """The project that `make_chatting` made."""
    return Project(folder / "project")
