"""A white-box OPD step, rollouts included, against TRL's DistillationTrainer on the same models, batch and machine.

The demo's models, trained for a moment on digits, with an end that is none of their tokens: every response has its full
length, so that a step's work is the same in each turn and for both.
"""

import copy
import logging
import random
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from benchmarks.figure import Figure, in_turns
from omniopd.config import DemoModel, Params, load_params
from omniopd.data.decoding import Decoding
from omniopd.data.prompts import Prompt
from omniopd.data.rows import Row, collate
from omniopd.methods import OPD
from omniopd.models.chat import Chat
from omniopd.models.scoring import response_states
from omniopd.models.threads import use_threads
from omniopd.rounds.rollout import rollouts, scored
from omniopd.sampling.responses import in_process
from omniopd.sampling.samplers import Student
from omniopd.tasks import TASKS
from omniopd.training.pretrain import character_tokenizer, train_demo_model
from omniopd.training.trainer import Trainer

NUM_PROMPTS, PROMPT_LEN, RESPONSE_LEN, ROUNDS = 128, 10, 43, 7
PARAMS = Path(__file__).parent.parent / "params.yaml"


def figures(num: int = NUM_PROMPTS, rounds: int = ROUNDS) -> list[Figure]:
    """Sequences a second of a whole step, of each of its parts, and of twice as many."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    tokenizer = character_tokenizer(TASKS["addition"].alphabet)
    student = digits_model(tokenizer, params.models.demo.student)
    teacher = digits_model(tokenizer, params.models.demo.teacher).requires_grad_(False)
    never_ending(tokenizer, student, teacher)
    prompts = [f"{i:04d}+{(7 * i) % 10_000:04d}=" for i in range(1000, 1000 + 2 * num)]
    ours = {
        count: Ours(params, copy.deepcopy(student), teacher, tokenizer, prompts[:count])
        for count in (num, 2 * num)
    }
    with tempfile.TemporaryDirectory() as folder:
        theirs = Trl(copy.deepcopy(student), copy.deepcopy(teacher), tokenizer, prompts[:num], Path(folder))
        rates = in_turns(
            {
                "whole": ours[num].step, "trl": theirs.step, "generate": ours[num].generate, "score": ours[num].score,
                "train": ours[num].train, "bodies": ours[num].bodies, "twice": ours[2 * num].step,
                "white-box": ours[num].white_box,
            },
            rounds=rounds,
        )  # fmt: skip
    unit = "sequences/s"
    return [
        Figure(
            "an OPD step: generate and train",
            unit,
            rates["white-box"],
            "TRL's DistillationTrainer",
            rates["trl"],
        ),
        Figure(
            "a round of the arm opd: scored for the record too", unit, rates["whole"], "TRL's", rates["trl"]
        ),
        Figure("rollouts on transformers", "tokens/s", RESPONSE_LEN * rates["generate"]),
        Figure("scores of the trainer's forward pass", "tokens/s", RESPONSE_LEN * rates["score"]),
        Figure(
            "training",
            "tokens/s",
            RESPONSE_LEN * rates["train"],
            "the models' own passes, without a loss",
            RESPONSE_LEN * rates["bodies"],
        ),
        Figure(f"a round of {2 * num} sequences", unit, rates["twice"], f"one of {num}", rates["whole"]),
    ]


def digits_model(tokenizer: PreTrainedTokenizerFast, settings: DemoModel) -> PreTrainedModel:
    """A model that writes digits and hardly ever stops: its examples have no end token."""
    rng = random.Random(0)
    texts = ["".join(rng.choices("0123456789", k=RESPONSE_LEN + 20)) for _ in range(64)]
    examples = [(f"{rng.randrange(10_000):04d}+{rng.randrange(10_000):04d}=", text) for text in texts]
    settings = settings.model_copy(update={"num_steps": 60, "batch_size": 16})
    endless = copy.deepcopy(tokenizer)
    endless.eos_token = "0"
    model = train_demo_model(examples, endless, settings, seed=0, on_step=lambda _: None)
    _end_with(model, Chat(tokenizer).end_id)
    return model


def never_ending(tokenizer: PreTrainedTokenizerFast, *models: PreTrainedModel) -> None:
    """Set an end token that the models cannot write: it is not in their vocabulary."""
    tokenizer.add_special_tokens({"eos_token": "<never>"})
    for model in models:
        _end_with(model, Chat(tokenizer).end_id)


def _end_with(model: PreTrainedModel, token: int) -> None:
    """TRL also stops at the model's end token, whatever the tokenizer says."""
    model.config.eos_token_id = token
    if model.generation_config is not None:
        model.generation_config.eos_token_id = token


class Ours:
    """A round's steps, apart and together."""

    def __init__(
        self, params: Params, student: PreTrainedModel, teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerFast,
        prompts: list[str], response_len: int = RESPONSE_LEN, trainer: Trainer | None = None,
    ):  # fmt: skip
        self._student, self._teacher = Student(student, Chat(tokenizer), "w"), teacher
        self.trainer = trainer or Trainer(student, params.train, teacher=teacher)
        self._response_len = response_len
        self._prompts = [Prompt(prompt, prompt, "") for prompt in prompts]
        self._size = params.rollout.batch_size
        self._written = self._rolled_out()
        self._method = OPD()

    def _rolled_out(self):
        return rollouts(
            in_process(self._student, batch_size=self._size), self._prompts, round_=0, num_samples=1,
            max_new_tokens=self._response_len, decoding=Decoding(), seed=0,
        )  # fmt: skip

    def generate(self) -> int:
        self._written = self._rolled_out()
        return len(self._prompts)

    def score(self) -> int:
        return len(scored(self._student, self._written, batch_size=self._size))

    def train(self) -> int:
        rows = [Row(item.id, item.prompt_ids, item.response_ids) for item in self._written]
        self.trainer.round(rows, self._method)
        return len(rows)

    def bodies(self) -> int:
        """The floor of training: the student there and back and the teacher there, to a sum of hidden states."""
        batch = collate(
            [Row(item.id, item.prompt_ids, item.response_ids) for item in self._written], pad_id=0
        )
        with torch.no_grad():
            response_states(self._teacher, batch)
        response_states(self._student.model, batch).hidden.sum().backward()
        self._student.model.zero_grad(set_to_none=True)
        return len(batch.lengths)

    def white_box(self) -> int:
        self.generate()
        return self.train()

    def step(self) -> int:
        self.generate()
        self.score()
        return self.train()


class Trl:
    """Steps of one long run of DistillationTrainer, each begun where the last ended."""

    def __init__(
        self, student: PreTrainedModel, teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerFast,
        prompts: list[str], folder: Path, response_len: int = RESPONSE_LEN,
    ):  # fmt: skip
        from datasets import Dataset
        from trl import DistillationConfig, DistillationTrainer

        logging.getLogger("trl").setLevel(logging.ERROR)
        warnings.simplefilter("ignore")
        tokenizer.padding_side = "left"
        config = DistillationConfig(
            output_dir=str(folder), per_device_train_batch_size=len(prompts), max_completion_length=response_len,
            use_cpu=not torch.cuda.is_available(), bf16=torch.cuda.is_available(), beta=1.0, temperature=1.0,
            top_k=0, top_p=1.0,
            report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True, max_steps=10_000,
            gradient_checkpointing=False, learning_rate=5e-4,
        )  # fmt: skip
        self._trainer = DistillationTrainer(
            model=student, teacher_model=teacher, args=config, processing_class=tokenizer,
            train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
        )  # fmt: skip
        self._trainer.current_gradient_accumulation_steps = 1  # what its loop sets
        self._count = len(prompts)
        self._trainer.create_optimizer_and_scheduler(10_000)
        # What its loop does first: without it products would be taken in float32, whatever bf16 says.
        self._model = self._trainer.accelerator.prepare_model(self._trainer.model)
        self._batches = iter(self._trainer.get_train_dataloader())
        self.generating_s = 0.0  # of its last step
        generate = self._trainer._generate

        def timed(prompts: list) -> Any:
            start = time.perf_counter()
            generated = generate(prompts)
            self.generating_s = time.perf_counter() - start
            return generated

        self._trainer._generate = timed

    def step(self) -> int:
        trainer = self._trainer
        try:
            batch = next(self._batches)
        except StopIteration:
            self._batches = iter(trainer.get_train_dataloader())
            batch = next(self._batches)
        self._model.train()
        trainer.training_step(self._model, batch, None)
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        trainer.state.global_step += 1
        return self._count
