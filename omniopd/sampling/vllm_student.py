"""The student on vLLM's offline engine: started once per run, with a weight sync for each round."""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count, islice
from typing import Any

import torch
from vllm import LLM, SamplingParams  # pyright: ignore[reportMissingImports]
from vllm.lora.request import LoRARequest  # pyright: ignore[reportMissingImports]

from omniopd.config import Lora, Precision
from omniopd.data.decoding import Decoding
from omniopd.data.processes import this_process
from omniopd.errors import ConfigError, RunError
from omniopd.functional import top_entropy
from omniopd.models.adapters import base_weights
from omniopd.models.chat import excluded_ids
from omniopd.models.generation import Generation
from omniopd.models.trust import code_is_allowed
from omniopd.sampling.samplers import Sample, Sampler, Student
from omniopd.sampling.weight_sync import adapter_sums, differing, exported, saved_weights, weight_sums

WORKER = "omniopd.sampling.vllm_worker.StudentWorker"
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # of adapters, that vLLM allocates
NEVER = -100.0  # added to a logit; the most that vLLM takes
NUM_TOP = 20  # log-probabilities per token, for the entropy; vLLM's default maximum


class VllmStudent:
    """An engine with the weights of one student at a time, which names the weights that wrote each response.

    Its samples are of the same distributions as InProcessSampler's, not the same bytes. With an adapter, the base is
    loaded once, and each weight sync moves just the adapter. settings: of vLLM's engine; they extend or override those
    here. With `enable_sleep_mode` the engine frees the GPU's memory between rounds. scores: return log-probabilities
    and entropies with the samples. Entropies count all but the NUM_TOP likeliest tokens as one: lower bounds.
    """

    def __init__(
        self, path: str, *, batch_size: int, precision: Precision, settings: Mapping[str, Any],
        lora: Lora | None = None, scores: bool = False,
    ):  # fmt: skip
        defaults = {
            "max_num_seqs": batch_size, "dtype": precision, "enable_prefix_caching": True, "generation_config": "vllm",
            "disable_log_stats": True, "trust_remote_code": code_is_allowed(),
        }  # fmt: skip
        fixed: dict[str, Any] = {"model": path, "worker_extension_cls": WORKER}
        if lora is not None:
            dtype = str(settings.get("dtype", precision))
            if torch.cuda.is_available() and dtype in ("float32", "float"):
                raise ConfigError(
                    "train.lora: vLLM's kernels for adapters on a GPU take float16 and bfloat16, and rollouts are in "
                    f"{dtype}; set train.precision: bfloat16, or take rollout.engine: transformers"
                )
            max_rank = min([rank for rank in RANKS if rank >= lora.rank], default=lora.rank)
            defaults |= {"max_loras": 1, "max_lora_rank": max_rank}
            fixed["enable_lora"] = True
        if scores:
            fixed |= {"logprobs_mode": "raw_logprobs", "max_logprobs": NUM_TOP}
        try:
            self._engine = LLM(**(defaults | dict(settings) | fixed))
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"rollout.engine_settings: vLLM does not start with {dict(settings)} "
                f"({' '.join(str(error).split())}); fix them"
            ) from error
        vocab_size = self._engine.model_config.get_vocab_size()
        # Of ids that are no token. It does not change log-probabilities, which are of the logits before it.
        self._bias = dict.fromkeys(excluded_ids(self._engine.get_tokenizer(), vocab_size), NEVER) or None
        self._engine.collective_rpc("end_with", args=(os.getpid(), this_process()))
        self._sleeps = bool(settings.get("enable_sleep_mode"))
        self._lora, self._scores = lora, scores
        self._adapter: LoRARequest | None = None  # of the last weight sync
        self._adapter_ids = count(1)
        self._base_sums: dict[str, int] = {}  # of the model that adapters are added to
        self._expected: dict[str, int] = {}  # the sums of the last weight sync
        self._lock = threading.Lock()

    @contextmanager
    def synced_to(self, student: Student) -> Iterator[Sampler]:
        """This engine with the student's weights, for one thread at a time.

        Raises:
            RunError: it does not have them.
        """
        with self._lock:
            if self._sleeps and self._engine.llm_engine.is_sleeping():
                self._engine.wake_up()
            if self.version != student.digest:
                self._sync(student)
            self._check(student)
            yield self
            if self._sleeps:
                self._engine.sleep(level=1)

    def as_loaded(self, digest: str) -> Sampler:
        """This engine with the weights that it was started with, which the digest names."""
        self._engine.update_weight_version(digest)
        return self

    @property
    def version(self) -> str:
        """The digest of the weights, according to the engine."""
        return self._engine.get_weight_version()

    def sample(
        self,
        prompts: Sequence[list[int]],
        *,
        seeds: Sequence[Sequence[int]],
        max_new_tokens: int,
        decoding: Decoding,
        stop_ids: Sequence[int],
    ) -> list[list[Sample]]:
        longest, context_len = max(map(len, prompts), default=0), self._engine.model_config.max_model_len
        if longest + max_new_tokens > context_len:
            raise RunError(
                f"rollout.engine_settings: max_model_len {context_len} is less than a prompt of {longest} tokens and "
                f"the rollout.max_new_tokens {max_new_tokens} after it; raise it"
            )
        requests = [(prompt, seed) for prompt, group in zip(prompts, seeds, strict=True) for seed in group]
        num_top = min(NUM_TOP, self._engine.model_config.get_vocab_size()) if self._scores else None
        outputs = self._engine.generate(
            [{"prompt_token_ids": prompt} for prompt, _ in requests],
            [
                SamplingParams(
                    temperature=decoding.temperature, top_p=decoding.top_p, top_k=decoding.top_k or 0,
                    min_p=decoding.min_p, stop=list(decoding.stop), detokenize=bool(decoding.stop),
                    max_tokens=max_new_tokens, seed=seed, stop_token_ids=list(stop_ids), ignore_eos=True,
                    logprobs=num_top, flat_logprobs=True, logit_bias=self._bias,
                )
                for _, seed in requests
            ],
            lora_request=self._adapter,
            use_tqdm=False,
        )  # fmt: skip
        samples = iter([_sample(output.outputs[0], output.lora_request, stop_ids) for output in outputs])
        return [list(islice(samples, len(group))) for group in seeds]

    def close(self) -> None:
        """End the engine's processes, which frees their memory."""
        self._engine.llm_engine.engine_core.shutdown()

    def _sync(self, student: Student) -> None:
        """Replace the engine's weights by the student's, and clear its prefix cache."""
        dtype = self._engine.model_config.dtype
        with exported(student.model) as folder:
            if self._lora is None:
                self._engine.collective_rpc("load_student", args=(folder,))
                self._expected = weight_sums(saved_weights(folder), dtype)
            else:
                self._base_sums = self._base_sums or weight_sums(base_weights(student.model), dtype)
                if self._adapter is not None:
                    self._engine.llm_engine.remove_lora(self._adapter.lora_int_id)
                self._adapter = LoRARequest(student.digest, next(self._adapter_ids), folder)
                self._engine.llm_engine.add_lora(self._adapter)
                scale = self._lora.alpha / self._lora.rank
                self._expected = self._base_sums | adapter_sums(saved_weights(folder), scale, dtype)
        if not self._engine.reset_prefix_cache():
            raise RunError(
                "rollout.engine: vllm kept its prefix cache of the weights before; start the run again"
            )

    def _check(self, student: Student) -> None:
        """Raise where the workers do not have the student's weights; else name theirs by its digest."""
        adapter_id = 0 if self._adapter is None else self._adapter.lora_int_id
        if names := differing(self._expected, self._engine.collective_rpc("loaded_sums", args=(adapter_id,))):
            others = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise RunError(
                f"rollout.engine: vllm was given the trainer's weights {student.digest} and holds others "
                f"({names[0]}{others}); take what changes weights, such as quantization, out of "
                "rollout.engine_settings, or take transformers"
            )
        self._engine.update_weight_version(student.digest)


def _sample(completion: Any, adapter: LoRARequest | None, stop_ids: Sequence[int]) -> Sample:
    ids = list(completion.token_ids)
    if completion.finish_reason not in ("stop", "length"):
        raise RunError(
            f"rollout.engine: vllm left a response unfinished ({completion.finish_reason}); start the run again"
        )
    versions = [span.version for span in completion.weight_versions or []]
    if adapter is not None:  # named by the digest of its weights
        versions = list(dict.fromkeys([*versions, adapter.lora_name]))
    # At a stop string, or token.
    has_ended = isinstance(completion.stop_reason, str) or (ids and ids[-1] in stop_ids)
    entropies, logps = [], []
    if completion.logprobs is not None:
        # A flat list: at each position the token's, then those of the likeliest.
        flat = torch.tensor(completion.logprobs.logprobs, dtype=torch.float64)
        logprobs = flat.view(len(completion.logprobs), -1)  # (T, 1 + K)
        entropies, logps = top_entropy(logprobs[:, 1:]).tolist(), logprobs[:, 0].tolist()
    return Sample(Generation(ids, "stop" if has_ended else "length", entropies, logps), "+".join(versions))
