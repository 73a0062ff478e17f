"""Comparisons of a model with plain forward passes over texts: without cache, batch or padding."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import torch
from torch import Tensor
from transformers import PreTrainedModel

from omniopd.config import Lora, Precision
from omniopd.data.decoding import Decoding
from omniopd.data.rows import Row
from omniopd.errors import AdapterError, ModelError
from omniopd.models.adapters import adapter_off, adapter_state, add_adapter
from omniopd.models.chat import Chat, excluded_ids
from omniopd.models.generation import generate
from omniopd.models.precision import compute_in, dtype_of_products
from omniopd.models.scoring import check_head, check_packing, check_rows, score

TOLERANCE = {torch.float32: 1e-3}  # nats a token, on average: above rounding
LOW_PRECISION = 0.05  # the same for bfloat16 and float16
NUM_ROWS = 4  # few: a forward pass of 100 million weights takes a quarter of a second on two cores
NUM_SAMPLED = 4  # tokens after each prompt
PADDED_MASS = 1e-3  # of the probability, on ids that are no token
CHANCE = 0.8  # of the loss of a guess among all tokens: SmolLM2-135M has 0.29, with permuted tokens 1.2
MAX_WINDOW = 1024  # tokens; longer windows are not filled


@dataclass(frozen=True)
class Comparison:
    """A model, its chat, and how log-probabilities of a plain forward pass are compared.

    All are means over tokens, in nats.
    """

    model: PreTrainedModel
    chat: Chat
    texts: Sequence[str]

    @property
    def tolerance(self) -> float:
        return TOLERANCE.get(dtype_of_products(self.model) or self.model.dtype, LOW_PRECISION)

    @torch.inference_mode()
    def plain(self, ids: list[int]) -> Tensor:
        """(L, V) log-probabilities after each token, without cache, batch or padding."""
        inputs = torch.tensor([ids], device=self.model.device)
        return self.model(input_ids=inputs, use_cache=False).logits[0].float().log_softmax(-1)

    def expected(self, prompt: list[int], response: Sequence[int]) -> list[float]:
        """Log-probabilities of the response's tokens."""
        logps = self.plain([*prompt, *response])[len(prompt) - 1 : -1]
        return logps[torch.arange(len(response)), list(response)].tolist()

    @cached_property
    def rows(self) -> list[Row]:
        """Some texts, each as the response to a short prompt."""
        [prompt] = self.chat.encode([self.texts[0]])
        return [Row(text, prompt, self.encoded(text)) for text in self.texts[-NUM_ROWS:]]

    @cached_property
    def logps_of_rows(self) -> list[Tensor]:
        """(T, V) log-probabilities of each row's response tokens."""
        whole = [self.plain([*row.prompt_ids, *row.response_ids]) for row in self.rows]
        return [logps[len(row.prompt_ids) - 1 : -1] for row, logps in zip(self.rows, whole, strict=True)]

    def encoded(self, text: str) -> list[int]:
        return list(self.chat.tokenizer.encode(text, add_special_tokens=False))

    def refuse_if(self, differs: float, what: str, remedy: str) -> None:
        if not differs <= self.tolerance:
            raise ModelError(
                f"{what} differ by {differs:.2g} nats a token (at most {self.tolerance:g} is rounding); {remedy}"
            )


def check_generation(compared: Comparison) -> None:
    """Raise where a batch of ragged and nested prompts, read into a cache, is sampled with other probabilities.

    Raises:
        ModelError: they differ from plain forward passes by more than rounding.
    """
    model, chat = compared.model, compared.chat
    first, last = chat.encode([compared.texts[0], compared.texts[-1]])
    text = compared.encoded(compared.texts[-1])
    window = getattr(model.config.get_text_config(), "sliding_window", None) or 0
    if 0 < window <= MAX_WINDOW:
        text = (text * (window // len(text) + 2))[: window + 8]
    prompts = [[*first, *text], [*first, *text[: len(text) // 2]], last]
    generations = generate(
        model, prompts, seeds=[[i] for i in range(len(prompts))], max_new_tokens=NUM_SAMPLED, decoding=Decoding(),
        stop_ids=chat.stop_ids, scored=True,
        excluded=excluded_ids(chat.tokenizer, model.config.get_text_config().vocab_size),
    )  # fmt: skip
    differences = [
        abs(given - wanted)
        for prompt, samples in zip(prompts, generations, strict=True)
        for sample in samples
        for given, wanted in zip(sample.logps, compared.expected(prompt, sample.token_ids), strict=True)
    ]
    compared.refuse_if(
        fmean(differences),
        f"{model.config.model_type}: log-probabilities of samples from its cache and of plain forward passes",
        "sample with vLLM (rollout.engine or teacher.kind: vllm), set train.precision: float32, or take another model",
    )


def check_scores(compared: Comparison) -> None:
    """Raise where scores of a padded batch differ from plain forward passes.

    Raises:
        ModelError: they do, by more than rounding.
    """
    check_head(compared.model)
    check_rows(compared.model)
    compared.refuse_if(
        _difference(compared, packed=False),
        f"{compared.model.config.model_type}: scores of a batch and of plain forward passes",
        "set train.precision: float32, or take another model",
    )


def check_packed(compared: Comparison) -> None:
    """Raise where packed sequences have other scores.

    Raises:
        ModelError: they do, by more than rounding.
    """
    check_packing(compared.model)
    compared.refuse_if(
        _difference(compared, packed=True),
        f"{compared.model.config.model_type}: scores of packed sequences and of plain forward passes",
        "set train.packing: false",
    )


def check_padding(compared: Comparison) -> None:
    """Raise where ids that are no token have more than a negligible probability.

    Raises:
        ModelError: naming how much.
    """
    vocab_size = compared.model.config.get_text_config().vocab_size
    excluded = excluded_ids(compared.chat.tokenizer, vocab_size)
    if not excluded:
        return
    mass = float(torch.cat(compared.logps_of_rows)[:, list(excluded)].logsumexp(-1).exp().mean())
    if mass > PADDED_MASS:
        raise ModelError(
            f"gives {mass:.1%} of the probability to {len(excluded)} ids that are no token of its tokenizer; they are "
            "never sampled, so samples would be of another distribution: take the tokenizer that belongs to the "
            "model, or call resize_token_embeddings(len(tokenizer)) and save it again"
        )


def chance_warning(compared: Comparison) -> list[str]:
    """Where the model reads the texts hardly better than one that takes every token for equally likely.

    A tokenizer that cannot write most of them belongs to a model of a narrow task, such as the demo's, which may be
    surprised by them: it is not judged.
    """
    if len(compared.texts) < NUM_ROWS:
        return []
    loss, num_tokens = -fmean(_wanted(compared).tolist()), len(compared.chat.tokenizer)
    if loss < CHANCE * math.log(num_tokens):
        return []
    return [
        f"reads plain texts no better than by chance: its loss is {loss:.1f} nats a token, and that of a guess among "
        f"its {num_tokens:,} tokens {math.log(num_tokens):.1f}; unless it was never trained, its tokenizer belongs to "
        "another model or its weights are damaged: compare the sha256 of its files with the publisher's"
    ]


def check_adapter(compared: Comparison, lora: Lora, precision: Precision) -> None:
    """Raise where an adapter that is off changes the model, or one that is on does not.

    Raises:
        ModelError: naming which.
    """
    model, row = compared.model, compared.rows[0]
    before = compared.expected(row.prompt_ids, row.response_ids)
    try:
        add_adapter(model, lora, seed=0)
    except AdapterError as error:
        raise ModelError(str(error)) from error
    compute_in(model, precision)
    with torch.no_grad():
        for weight in adapter_state(model).values():
            weight.add_(0.02)
    on = compared.expected(row.prompt_ids, row.response_ids)
    with adapter_off(model):
        off = compared.expected(row.prompt_ids, row.response_ids)
    remedy = "take other train.lora.targets, or set train.lora: null"
    compared.refuse_if(_distance(off, before), "scores with the adapter off and without one", remedy)
    if _distance(on, before) == 0:
        raise ModelError(f"an adapter on train.lora.targets changes nothing; {remedy}")


def _difference(compared: Comparison, *, packed: bool) -> float:
    scores = score(compared.model, compared.rows, packed=packed)
    return _distance([logp for _, logps in scores for logp in logps], _wanted(compared).tolist())


def _wanted(compared: Comparison) -> Tensor:
    """The log-probabilities of the tokens of all rows."""
    return torch.cat(
        [
            logps[torch.arange(len(row.response_ids)), row.response_ids]
            for row, logps in zip(compared.rows, compared.logps_of_rows, strict=True)
        ]
    )


def _distance(given: Sequence[float], wanted: Sequence[float]) -> float:
    return fmean([abs(a - b) for a, b in zip(given, wanted, strict=True)])
