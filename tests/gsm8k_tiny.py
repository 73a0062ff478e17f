"""Real text, small: GSM8K through a byte-level BPE, a teacher and a weaker student trained here on its solutions."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from projects import Project, make_project
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from omniopd.config import DemoModel
from omniopd.data.records import Trajectory
from omniopd.data.rows import Row
from omniopd.methods import Annotated, OmniOPD
from omniopd.models.chat import Chat
from omniopd.models.loading import load_model
from omniopd.models.scoring import score
from omniopd.models.threads import use_threads
from omniopd.rounds.run import Run
from omniopd.sampling.samplers import batches
from omniopd.teachers import solutions
from omniopd.training.pretrain import save_model, train_demo_model

VOCABULARY = 1280
SPECIAL = ["<pad>", "<end>", "<start>"]
# How Qwen parts text before it is encoded: a digit is a token.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<start>{{ message.role }}\n{{ message.content }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<start>assistant\n{% endif %}"
)
TEMPLATE = "{prompt}\nShow each step."
TEMPERATURE = 0.5  # of the teacher: at 1 one this small agrees with nobody, itself included
ANSWER = r"####\s*(.*)$"
CONTEXT = 512
MAX_PROMPT_TOKENS = 96
MAX_TOKENS = 176  # of an example, question and solution together
TEACHER = DemoModel(
    width=96,
    ffn_width=192,
    num_layers=2,
    num_heads=4,
    num_steps=240,
    batch_size=16,
    num_examples=1600,
    lr=5e-3,
)
STUDENT = DemoModel(
    width=96, ffn_width=192, num_layers=2, num_heads=4, num_steps=60, batch_size=16, num_examples=400, lr=5e-3
)


@dataclass(frozen=True)
class Example:
    """A question as it is put, and its solution.

    >>> Example("Jo has 2 apples and eats 1. How many are left?", "2 - 1 = 1\\n#### 1").solution[-1]
    '1'
    """

    question: str
    solution: str


def examples(file: Path) -> list[Example]:
    """The rows of a file of GSM8K."""
    rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return [Example(row["question"], row["answer"]) for row in rows]


def bpe_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of VOCABULARY tokens with a chat template, trained on the texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<end>",
        bos_token="<start>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def make_models(folder: Path, train_file: Path, *, seed: int) -> None:
    """A teacher and a weaker student in folders of these names, trained on the solutions of a file of GSM8K."""
    use_threads(1)
    rows = examples(train_file)
    tokenizer = bpe_tokenizer([text for row in rows for text in (row.question, row.solution)])
    chat = Chat(tokenizer)
    pairs = [(chat.render(TEMPLATE.format(prompt=row.question)), row.solution) for row in rows]
    lengths = map(len, chat.encode_rendered(["".join(pair) for pair in pairs]))
    short = [pair for pair, length in zip(pairs, lengths, strict=True) if length <= MAX_TOKENS]
    for role, settings in (("teacher", TEACHER), ("student", STUDENT)):
        model = train_demo_model(
            short[: settings.num_examples],
            tokenizer,
            settings,
            seed=seed,
            on_step=lambda _: None,
            context=CONTEXT,
        )
        save_model(folder / role, model, tokenizer)


class Shuffled(OmniOPD):
    """The published form with the agreement of another chunk, half a round away, in place of the chunk's."""

    def rows(self, annotated: Sequence[Annotated]) -> list[Row]:
        audits = [verdict for item in annotated for verdict in item.verdicts]
        half = len(audits) // 2
        others = [*audits[half:], *audits[:half]]
        k_sem = {verdict.id: other.k_sem for verdict, other in zip(audits, others, strict=True)}
        return super().rows(
            [
                replace(
                    item, verdicts=[replace(verdict, k_sem=k_sem[verdict.id]) for verdict in item.verdicts]
                )
                for item in annotated
            ]
        )


NUM_ROUNDS = 8
AUDITS = {"num_chunks": 4, "num_replies": 4, "chunk_len": 8}
ARMS: dict[str, dict[str, Any]] = {
    "sft": {"method": "sft", "settings": {"temperature": TEMPERATURE}},
    "grpo": {"method": "grpo", "rollout": {"num_prompts": 6, "num_samples": 4}},
    "opd": {"method": "opd"},
    "omniopd": {"method": "omniopd", "settings": AUDITS},
    "omniopd-baseline": {"method": "omniopd", "settings": {**AUDITS, "baseline": "batch"}},
    "omniopd-shuffled": {"method": "gsm8k_tiny:Shuffled", "settings": AUDITS},
    "fork": {"method": "fork", "settings": {"num_chunks": 6, "chunk_len": 6}},
}


def make_gsm8k_project(root: Path, data: Path, models: Path) -> Project:
    """A project of those arms with models in that folder, which were trained on none of its questions."""
    return make_project(root).edit_paths(
        {
            "prompts.source": str(data / "gsm8k" / "test.jsonl"),
            "prompts.columns": {"prompt": "question", "answer": "answer", "id": None, "tests": None},
            "prompts.template": TEMPLATE,
            "prompts.answer_pattern": ANSWER,
            "prompts.max_prompt_tokens": MAX_PROMPT_TOKENS,
            "prompts.num_train": 192,
            "prompts.num_heldout": 48,
            "models.student": str(models / "student"),
            "teacher.model": str(models / "teacher"),
            "teacher.temperature": TEMPERATURE,
            "teacher.batch_size": 24,
            "rollout.num_prompts": 24,
            "rollout.max_new_tokens": 80,
            "rollout.batch_size": 24,
            "train.num_rounds": NUM_ROUNDS,
            "train.lr": 1e-3,
            "train.warmup_rounds": 1,
            "train.batch_size": 24,
            "train.checkpoint_every": NUM_ROUNDS,
            "train.validate_every": NUM_ROUNDS,
            "evaluation.grader": "math",
            "evaluation.answer_pattern": None,
            "arms": ARMS,
        }
    )


def written_by_teacher(run: Run) -> list[Trajectory]:
    """Two solutions of each held-out question, as the teacher samples them."""
    return solutions(
        run.prompts("heldout"),
        teacher=run.models.teacher,
        temperature=TEMPERATURE,
        chat=run.models.chat,
        student="",
        round_=0,
        num_samples=2,
        max_new_tokens=run.config.rollout.max_new_tokens,
        seed=run.config.seed,
    )


def loss_on(model: PreTrainedModel, written: Sequence[Trajectory]) -> float:
    """Nats a token by which the model fails to foresee those solutions."""
    logps = [
        logp
        for group in batches(written, 24)
        for _, logps in score(model, [Row(item.id, item.prompt_ids, item.response_ids) for item in group])
        for logp in logps
    ]
    return -math.fsum(logps) / len(logps)


@dataclass(frozen=True)
class Losses:
    """Nats a token on the teacher's solutions of held-out questions.

    >>> Losses(teacher=1.5, before=3.5, after=3.25).gain
    0.25
    """

    teacher: float
    before: float  # of the student
    after: float

    @property
    def gain(self) -> float:
        return self.before - self.after


def losses(run: Run) -> Losses:
    """Of the teacher, and of the student before and after its run."""
    written, last = written_by_teacher(run), run.files.checkpoint(run.config.train.num_rounds)
    return Losses(
        teacher=loss_on(load_model(run.model_path("teacher")), written),
        before=loss_on(load_model(run.model_path("student")), written),
        after=loss_on(run.models.load_student(str(last)), written),
    )
