"""The student behind vLLM's offline engine: started once for a run, and given new weights for each round."""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch
from vllm import LLM, SamplingParams  # pyright: ignore[reportMissingImports]
from vllm.lora.request import LoRARequest  # pyright: ignore[reportMissingImports]

from omniopd.config import Lora, Precision
from omniopd.data.processes import own_name
from omniopd.errors import ConfigError, RunError
from omniopd.functional import top_entropy
from omniopd.models.adapters import base_weights
from omniopd.models.generation import Generation
from omniopd.models.trust import code_is_allowed
from omniopd.sampling.handover import handed_over, saved_weights
from omniopd.sampling.samplers import Sample, Sampler, Student
from omniopd.sampling.weight_sums import adapter_sums, differing, weight_sums

WORKER = "omniopd.sampling.vllm_worker.StudentWorker"
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # of adapters, that vLLM makes room for
NUM_TOP = 20  # tokens whose log-probabilities make an entropy; what vLLM returns without asking for more


class VllmStudent:
    """An engine that holds the weights of one student at a time, and says of each response which wrote it.

    Its samples are of the same distributions as InProcessSampler's, not the same bytes. Of a student with an adapter
    it has the base from the start, and is given the adapter alone. settings: of vLLM's engine, beside or in place of
    those here. With `enable_sleep_mode` it leaves the accelerator's memory between rounds. scores: whether samples
    have log-probabilities and entropies, these over the NUM_TOP likeliest tokens and the rest as one: lower bounds.
    """

    def __init__(
        self, path: str, *, batch_size: int, precision: Precision, settings: Mapping[str, Any],
        lora: Lora | None = None, scores: bool = False,
    ):  # fmt: skip
        own = {
            "max_num_seqs": batch_size, "dtype": precision, "enable_prefix_caching": True, "generation_config": "vllm",
            "disable_log_stats": True, "trust_remote_code": code_is_allowed(),
        }  # fmt: skip
        fixed: dict[str, Any] = {"model": path, "worker_extension_cls": WORKER}
        if lora is not None:
            _check_adapter_precision(str(settings.get("dtype", precision)))
            own |= {
                "max_loras": 1,
                "max_lora_rank": min([r for r in RANKS if r >= lora.rank], default=lora.rank),
            }
            fixed["enable_lora"] = True
        if scores:
            fixed |= {"logprobs_mode": "raw_logprobs", "max_logprobs": NUM_TOP}
        try:
            self._engine = LLM(**(own | dict(settings) | fixed))
        except (TypeError, ValueError) as error:
            found = " ".join(str(error).split())
            raise ConfigError(
                f"rollout.engine_settings: vLLM does not start with {dict(settings)} ({found}); fix them"
            ) from error
        self._engine.collective_rpc("end_with", args=(os.getpid(), own_name()))
        self._sleeps = bool(settings.get("enable_sleep_mode"))
        self._lora, self._scores = lora, scores
        self._adapter: LoRARequest | None = None  # the one that it was given last
        self._numbers = count(1)  # of adapters; none has another's
        self._base: dict[str, int] = {}  # the sums of what adapters were added to
        self._expected: dict[str, int] = {}  # the sums of the weights that it was given last
        self._lock = threading.Lock()

    @contextmanager
    def holding(self, student: Student) -> Iterator[Sampler]:
        """This engine with the student's weights in it, for one thread at a time.

        Raises:
            RunError: it does not hold them.
        """
        with self._lock:
            if self._sleeps and self._engine.llm_engine.is_sleeping():
                self._engine.wake_up()
            if self.version != student.digest:
                self._take(student)
            self._check(student)
            yield self
            if self._sleeps:
                self._engine.sleep(level=1)

    def as_loaded(self, digest: str) -> Sampler:
        """This engine with the weights that it started with, which the digest names."""
        self._engine.update_weight_version(digest)
        return self

    @property
    def version(self) -> str:
        """The digest of the weights that the engine says it holds."""
        return self._engine.get_weight_version()

    def sample(
        self,
        prompts: Sequence[list[int]],
        *,
        seeds: Sequence[Sequence[int]],
        max_new_tokens: int,
        temperature: float,
        end_id: int,
    ) -> list[list[Sample]]:
        self._check_lengths(prompts, max_new_tokens)
        asked = [(prompt, seed) for prompt, own in zip(prompts, seeds, strict=True) for seed in own]
        outputs = self._engine.generate(
            [{"prompt_token_ids": prompt} for prompt, _ in asked],
            [
                SamplingParams(
                    temperature=temperature, max_tokens=max_new_tokens, seed=seed, stop_token_ids=[end_id],
                    ignore_eos=True, detokenize=False, logprobs=self._num_logprobs, flat_logprobs=True,
                )
                for _, seed in asked
            ],
            lora_request=self._adapter,
            use_tqdm=False,
        )  # fmt: skip
        samples = iter([_sample(output.outputs[0], output.lora_request, end_id) for output in outputs])
        return [[next(samples) for _ in own] for own in seeds]

    def close(self) -> None:
        """End the engine's processes, and with them their hold on the memory."""
        self._engine.llm_engine.engine_core.shutdown()

    @property
    def _num_logprobs(self) -> int | None:
        return min(NUM_TOP, self._engine.model_config.get_vocab_size()) if self._scores else None

    def _take(self, student: Student) -> None:
        """Give the engine the student's weights in place of its own, and forget what it read with those."""
        take = self._take_weights if self._lora is None else self._take_adapter
        with handed_over(student.model) as folder:
            self._expected = take(student, folder)
        if not self._engine.reset_prefix_cache():
            raise RunError(
                "rollout.engine: vllm kept what it had read with the weights before; start the run again"
            )

    def _take_weights(self, student: Student, folder: str) -> dict[str, int]:
        del student
        self._engine.collective_rpc("take_student", args=(folder,))
        return weight_sums(saved_weights(folder), self._engine.model_config.dtype)

    def _take_adapter(self, student: Student, folder: str) -> dict[str, int]:
        assert self._lora is not None
        dtype, scale = self._engine.model_config.dtype, self._lora.alpha / self._lora.rank
        if not self._base:
            self._base = weight_sums(base_weights(student.model), dtype)
        if self._adapter is not None:
            self._engine.llm_engine.remove_lora(self._adapter.lora_int_id)
        self._adapter = LoRARequest(student.digest, next(self._numbers), folder)
        self._engine.llm_engine.add_lora(self._adapter)
        return self._base | adapter_sums(saved_weights(folder), scale, dtype)

    def _check(self, student: Student) -> None:
        """Stop where the workers compute with other weights than the student's; else name theirs by its digest."""
        number = 0 if self._adapter is None else self._adapter.lora_int_id
        if found := differing(self._expected, self._engine.collective_rpc("held_sums", args=(number,))):
            others = f" and {len(found) - 1} more" if len(found) > 1 else ""
            raise RunError(
                f"rollout.engine: vllm was given the trainer's weights {student.digest} and holds others "
                f"({found[0]}{others}); take what changes weights, such as quantization, out of "
                "rollout.engine_settings, or take transformers"
            )
        self._engine.update_weight_version(student.digest)

    def _check_lengths(self, prompts: Sequence[list[int]], max_new_tokens: int) -> None:
        longest, room = max(map(len, prompts), default=0), self._engine.model_config.max_model_len
        if longest + max_new_tokens > room:
            raise RunError(
                f"rollout.engine_settings: max_model_len {room} is less than a prompt of {longest} tokens and the "
                f"rollout.max_new_tokens {max_new_tokens} after it; raise it"
            )


def _sample(completion: Any, adapter: LoRARequest | None, end_id: int) -> Sample:
    ids = list(completion.token_ids)
    if completion.finish_reason not in ("stop", "length"):
        raise RunError(
            f"rollout.engine: vllm left a response unfinished ({completion.finish_reason}); start the run again"
        )
    versions = [span.version for span in completion.weight_versions or []]
    if adapter is not None:  # it has the name of the weights too
        versions = list(dict.fromkeys([*versions, adapter.lora_name]))
    finish_reason = "stop" if ids[-1:] == [end_id] else "length"
    return Sample(Generation(ids, finish_reason, **_scores_of(completion.logprobs)), "+".join(versions))


def _scores_of(logprobs: Any) -> dict[str, list[float]]:
    """Entropies and log-probabilities from vLLM's flat lists: at each position the token's, and then the likeliest."""
    if logprobs is None:
        return {}
    found = torch.tensor(logprobs.logprobs, dtype=torch.float64).view(len(logprobs), -1)  # (T, 1 + K)
    return {"entropies": top_entropy(found[:, 1:]).tolist(), "logps": found[:, 0].tolist()}


def _check_adapter_precision(dtype: str) -> None:
    if torch.cuda.is_available() and dtype in ("float32", "float"):
        raise ConfigError(
            "train.lora: vLLM's kernels for adapters on a GPU take float16 and bfloat16, and rollouts are in "
            f"{dtype}; set train.precision: bfloat16, or take rollout.engine: transformers"
        )
