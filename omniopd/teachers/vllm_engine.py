"""A teacher in the same process, served by vLLM's offline engine."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from vllm import LLM, SamplingParams  # pyright: ignore[reportMissingImports]

from omniopd.data.processes import this_process
from omniopd.models.loading import load_chat
from omniopd.models.text import TextDecoder
from omniopd.models.trust import code_is_allowed
from omniopd.teachers.base import TeacherAnswer, TeacherRequest

WORKER = "omniopd.models.engine_worker.EngineWorker"
SEED_RANGE = 2**63


class VllmTeacher:
    """A causal language model on vLLM, with prefix caching.

    Its replies are samples of the same distributions as InProcessTeacher's, not the same bytes. engine: settings of
    vLLM's engine that extend or override those here. The engine ends with this process, even if that is killed.
    """

    def __init__(
        self, path: str, *, name: str, temperature: float, batch_size: int, engine: Mapping[str, Any],
        template_kwargs: Mapping[str, Any] | None = None,
    ):  # fmt: skip
        self.name = name
        self._chat = load_chat(path, template_kwargs)
        self._decoder = TextDecoder(self._chat)
        self._temperature = temperature
        settings = {
            "max_num_seqs": batch_size, "enable_prefix_caching": True, "generation_config": "vllm",
            "disable_log_stats": True, "trust_remote_code": code_is_allowed(),
        }  # fmt: skip
        self._engine = LLM(**(settings | dict(engine) | {"model": path, "worker_extension_cls": WORKER}))
        self._engine.collective_rpc("end_with", args=(os.getpid(), this_process()))

    def answer(self, requests: Sequence[TeacherRequest]) -> list[TeacherAnswer]:
        if not requests:
            return []
        texts = [self._chat.render(request.messages) + request.prefix for request in requests]
        prefixes = self._chat.encode_rendered(texts)
        outputs = self._engine.generate(
            [{"prompt_token_ids": prefix} for prefix in prefixes],
            [
                SamplingParams(
                    n=request.num_replies,
                    temperature=self._temperature if request.temperature is None else request.temperature,
                    max_tokens=request.max_tokens,
                    seed=request.seed % SEED_RANGE,
                    stop_token_ids=list(self._chat.stop_ids),
                    stop=list(request.stop),
                    detokenize=bool(request.stop),
                )
                for request in requests
            ],
            use_tqdm=False,
        )
        return [self._answer(prefix, output) for prefix, output in zip(prefixes, outputs, strict=True)]

    def close(self) -> None:
        """End the engine's processes, which frees their memory."""
        self._engine.llm_engine.engine_core.shutdown()

    def _answer(self, prefix: list[int], output: Any) -> TeacherAnswer:
        outputs = sorted(output.outputs, key=lambda reply: reply.index)
        replies = [list(reply.token_ids) for reply in outputs]
        reasons = [self._reason(reply) for reply in outputs]
        return TeacherAnswer(
            replies=[self._decoder.text_after(prefix[-1], ids) for ids in replies],
            finish_reasons=reasons,
            mode="completion",
            prompt_tokens=len(prefix),
            completion_tokens=sum(len(ids) for ids in replies),
        )

    def _reason(self, reply: Any) -> str:
        has_ended = reply.token_ids and reply.token_ids[-1] in self._chat.stop_ids
        return "stop" if has_ended or isinstance(reply.stop_reason, str) else "length"
