"""The student behind vLLM's offline engine: started once for a run, and given new weights for each round."""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from transformers import PreTrainedModel
from vllm import LLM, SamplingParams  # pyright: ignore[reportMissingImports]

from omniopd.config import Precision
from omniopd.data.processes import own_name
from omniopd.engines.handover import handed_over, saved_weights
from omniopd.engines.sampling import Sample, Sampler, Student
from omniopd.engines.weight_sums import differing, weight_sum
from omniopd.errors import ConfigError, RunError
from omniopd.models.generation import Generation

WORKER = "omniopd.engines.vllm_worker.StudentWorker"


class VllmStudent:
    """An engine that holds the weights of one student at a time, and says of each response which wrote it.

    Its samples are of the same distributions as InProcessSampler's, not the same bytes. settings: of vLLM's engine,
    beside or in place of those here. With `enable_sleep_mode` it leaves the accelerator's memory between rounds.
    """

    def __init__(self, path: str, *, batch_size: int, precision: Precision, settings: Mapping[str, Any]):
        own = {
            "max_num_seqs": batch_size, "dtype": precision, "enable_prefix_caching": True, "generation_config": "vllm",
            "disable_log_stats": True,
        }  # fmt: skip
        try:
            self._engine = LLM(**(own | dict(settings) | {"model": path, "worker_extension_cls": WORKER}))
        except (TypeError, ValueError) as error:
            found = " ".join(str(error).split())
            raise ConfigError(
                f"rollout.engine_settings: vLLM does not start with {dict(settings)} ({found}); mend them"
            ) from error
        self._engine.collective_rpc("end_with", args=(os.getpid(), own_name()))
        self._sleeps = bool(settings.get("enable_sleep_mode"))
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
                self._take(student.model)
            self._check(student)
            yield self
            if self._sleeps:
                self._engine.sleep(level=1)

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
                    ignore_eos=True, detokenize=False,
                )
                for _, seed in asked
            ],
            use_tqdm=False,
        )  # fmt: skip
        samples = iter([_sample(output.outputs[0], end_id) for output in outputs])
        return [[next(samples) for _ in own] for own in seeds]

    def close(self) -> None:
        """End the engine's processes, and with them their hold on the memory."""
        self._engine.llm_engine.engine_core.shutdown()

    def _take(self, model: PreTrainedModel) -> None:
        """Give the engine the model's weights in place of its own, and forget what it read with those."""
        with handed_over(model) as folder:
            self._engine.collective_rpc("take_student", args=(folder,))
            dtype = self._engine.model_config.dtype
            self._expected = {name: weight_sum(weight, dtype) for name, weight in saved_weights(folder)}
        if not self._engine.reset_prefix_cache():
            raise RunError(
                "rollout.engine: vllm kept what it had read with the weights before; start the run again"
            )

    def _check(self, student: Student) -> None:
        """Stop where the workers compute with other weights than the student's; else name theirs by its digest."""
        if found := differing(self._expected, self._engine.collective_rpc("held_sums")):
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


def _sample(completion: Any, end_id: int) -> Sample:
    ids = list(completion.token_ids)
    if completion.finish_reason not in ("stop", "length"):
        raise RunError(
            f"rollout.engine: vllm left a response unfinished ({completion.finish_reason}); start the run again"
        )
    versions = [span.version for span in completion.weight_versions or []]
    return Sample(Generation(ids, "stop" if ids[-1:] == [end_id] else "length"), "+".join(versions))
