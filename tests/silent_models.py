"""Silent faults in a directory of a model, for campaigns: what is changed, and what `omniopd check` says of it."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from checked import content, generation, template
from silent_faults import change_json, change_weights, permuted
from torch import Tensor

from omniopd.preflight.self_test import TEXTS
from omniopd.training.pretrain import character_tokenizer

ALPHABET = "".join(sorted(set("".join(TEXTS)) | set("0123456789+=;<|>_")))  # of checked.save_fluent_model
OTHERS = "".join(char for char in ALPHABET if char not in "0123456789+=;")  # than those of sums
FIRST_CHINESE = 0x4E00
NUM_ORDINARY = len(ALPHABET)  # tokens; then <pad>, <end>, <start>, <unk>
PAD, END, START, UNK = range(NUM_ORDINARY, NUM_ORDINARY + 4)

# A template as it should be; those of the faults differ from it in one place.
TURNS = (
    "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}<end>{% endif %}{% endfor %}"
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (
    "{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
THINKS = TURNS + (
    "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
)
NO_SYSTEM = (
    TURNS.replace("{{ m['content'] }}", "{% if m['role'] != 'system' %}{{ m['content'] }}{% endif %}"),
    "{{ messages[-1]['content'] }}",
)
ALIKE = (
    "2+2=", "{{ messages[-1]['content'][:10] }}", "{{ messages[-1]['content'][-3:] }}", "{{ messages | length }}",
)  # fmt: skip
KWARGS = {"student": "models.chat_template_kwargs", "teacher": "teacher.chat_template_kwargs"}

Damage = Callable[[Path], object]
Drawn = Callable[[random.Random], Damage]


@dataclass(frozen=True)
class Fault:
    """A kind of fault, and a part of the sentence that names it."""

    number: int
    draw: Drawn
    sentence: str
    roles: tuple[str, ...] = ("student", "teacher")
    in_test: bool = False  # whether the self-test of check finds it, which loads the model
    settings: dict[str, Any] = field(default_factory=dict)  # of the project


def _missing(rng: random.Random) -> Damage:
    return change_weights(lambda tensors: tensors.pop(rng.choice(sorted(tensors))))


def _extra(rng: random.Random) -> Damage:
    def change(tensors: dict[str, Tensor]) -> None:
        name = rng.choice(sorted(name for name in tensors if ".layers.0." in name))
        tensors[name.replace(".0.", ".1.")] = tensors[name].clone()

    return change_weights(change)


def _shaped(rng: random.Random) -> Damage:
    def change(tensors: dict[str, Tensor]) -> None:
        name = rng.choice(sorted(tensors))
        cut = tensors[name][:-1] if rng.random() < 0.5 else tensors[name][..., :-1]
        tensors[name] = cut.contiguous()

    return change_weights(change)


def _no_number(rng: random.Random) -> Damage:
    def change(tensors: dict[str, Tensor]) -> None:
        values = tensors[rng.choice(sorted(tensors))].view(-1)
        values[rng.randrange(len(values))] = rng.choice((torch.nan, torch.inf, -torch.inf))

    return change_weights(change)


def _overflowing(_: random.Random) -> Damage:
    return change_weights(lambda tensors: tensors["model.norm.weight"].fill_(3e38))


def _of_another_model(rng: random.Random) -> Damage:
    first = FIRST_CHINESE + 200 * rng.randrange(50)
    characters = "".join(map(chr, range(first, first + NUM_ORDINARY)))
    return lambda folder: character_tokenizer(characters).save_pretrained(folder)


def _of_a_larger_model(rng: random.Random) -> Damage:
    more = "".join(map(chr, range(FIRST_CHINESE, FIRST_CHINESE + rng.randrange(1, 100))))
    return lambda folder: character_tokenizer(ALPHABET + more).save_pretrained(folder)


def _without_tokens(rng: random.Random) -> Damage:
    def change(tokenizer: dict[str, Any]) -> None:
        vocabulary = tokenizer["model"]["vocab"]
        for name in rng.sample(OTHERS, NUM_ORDINARY // 3):
            del vocabulary[name]

    return change_json("tokenizer.json", change)


def _one_of(*templates: str) -> Drawn:
    return lambda rng: template(rng.choice(templates))


def _ends(draw: Callable[[random.Random], Any]) -> Drawn:
    return lambda rng: generation(eos_token_id=draw(rng))


def _end_of_tokenizer(rng: random.Random) -> Damage:
    return change_json(
        "tokenizer_config.json", lambda config: config.update(eos_token=rng.choice(("<start>", "<unk>")))
    )


FAULTS: dict[str, Fault] = {
    "a missing tensor": Fault(8, _missing, "of the weights that config.json describes"),
    "a tensor of a layer too many": Fault(4, _extra, "describes a smaller model than the files hold"),
    "a tensor of another shape": Fault(6, _shaped, "describes other shapes than the weights have"),
    "NaN or infinity in a tensor": Fault(8, _no_number, "hold NaN or infinity", in_test=True),
    "weights that overflow": Fault(2, _overflowing, "its logits hold NaN or infinity", in_test=True),
    "a tokenizer with other ids": Fault(
        8, permuted, "reads plain texts no better than by chance", in_test=True
    ),
    "a tokenizer of another model": Fault(4, _of_another_model, "writes none of the texts", in_test=True),
    "a tokenizer of a larger model": Fault(3, _of_a_larger_model, "the tokenizer's last token is"),
    "a tokenizer that lacks tokens": Fault(4, _without_tokens, "that are no token of its tokenizer", in_test=True),
    "two ids swapped, where distributions are read": Fault(
        4, lambda rng: permuted(rng, 2), "its vocabulary is not the student's",
        settings={"arms": {"opd": {"method": "opd", "train": {"lr": 2e-4}}}},
    ),
    "a chat template that is lost": Fault(
        2, lambda _: lambda folder: (folder / "chat_template.jinja").unlink(), "has no chat template"
    ),
    "a chat template of another family": Fault(4, _one_of(CHATML, LLAMA), "its chat template ends a turn with '<"),
    "a chat template that drops the system message": Fault(
        4, _one_of(*NO_SYSTEM), "leaves out the system message", settings={"prompts.system": "1+1=2;"}
    ),
    "a chat template that renders two prompts alike": Fault(6, _one_of(*ALIKE), "alike, so that prompts"),
    "a chat template that begins no answer": Fault(
        2, _one_of(TURNS.replace("{{ m", "{{ '=' if m['role'] == 'assistant' }}{{ m")),
        "begins an answer with '='",
    ),
    "a chat template that thinks": Fault(3, _one_of(THINKS), "chat template lets it think before it answers"),
    "an ordinary token as an end": Fault(
        4, _ends(lambda rng: [END, rng.randrange(NUM_ORDINARY)]), "which is an ordinary token"
    ),
    "an end that is no token": Fault(
        2, _ends(lambda rng: [END, UNK + 1 + rng.randrange(99)]), "which its tokenizer does not have"
    ),
    "another end in the generation config": Fault(
        3, _ends(lambda rng: rng.choice((PAD, START, UNK))), "is none of the end tokens of generation_config.json"
    ),
    "another end of the tokenizer": Fault(
        3, _end_of_tokenizer, "is none of the end tokens of generation_config.json"
    ),
    "another end of turn in the template": Fault(
        3, _one_of(*(TURNS.replace("<end>", end) for end in ("<pad>", "<start>", "<unk>"))),
        "is none of the end tokens of generation_config.json",
    ),
    "an ordinary end of turn in the template": Fault(
        3, _one_of(*(TURNS.replace("<end>", end) for end in (";", ">", "\n"))), "its chat template ends a turn with"
    ),
    "a generation config that is no JSON": Fault(
        1, lambda _: content("generation_config.json", "{"), "generation_config.json cannot be used"
    ),
}  # fmt: skip
