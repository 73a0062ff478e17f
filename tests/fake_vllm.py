"""vLLM's offline engine as far as rollouts use it, on a model of transformers: real weights, real samples, no vLLM.

`installed` puts it in the place of the package. Its worker has the methods that the project adds to vLLM's.
"""

import copy
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar
from unittest import mock

import torch

from omniopd.engines.vllm_worker import StudentWorker
from omniopd.models.generation import generate
from omniopd.models.loading import load_model

MODULE = "omniopd.engines.vllm_student"


@dataclass
class SamplingParams:
    temperature: float
    max_tokens: int
    seed: int
    stop_token_ids: list[int]
    ignore_eos: bool
    detokenize: bool


class Worker(StudentWorker):
    """What vLLM's own worker has of what StudentWorker needs."""

    def __init__(self, model: Any):
        self.model_config = types.SimpleNamespace(dtype=torch.float32)
        self.model_runner = types.SimpleNamespace(get_model=lambda: model)

    def reload_weights(self, weights_iterator: Any) -> None:
        with torch.no_grad():
            own = self.model_runner.get_model().state_dict()
            for name, weight in weights_iterator:
                own[name].copy_(weight)


class LLM:
    """One engine. `started` are all that were, in order."""

    worker: ClassVar[type[Worker]] = Worker
    started: ClassVar[list["LLM"]] = []

    def __init__(self, model: str, *, worker_extension_cls: str, **settings: Any):
        assert worker_extension_cls == f"{StudentWorker.__module__}.{StudentWorker.__name__}"
        self.settings, self.calls = settings, []
        self.model = copy.deepcopy(load_model(model))
        self.model_config = types.SimpleNamespace(
            max_model_len=settings.get("max_model_len", 128), dtype=torch.float32
        )
        self.llm_engine = types.SimpleNamespace(
            is_sleeping=lambda: self.calls.count("sleep") > self.calls.count("wake_up"),
            engine_core=types.SimpleNamespace(shutdown=lambda: self.calls.append("shutdown")),
        )
        self._worker, self._version = self.worker(self.model), "default"
        self.started.append(self)

    def collective_rpc(self, method: str, args: tuple = ()) -> list[Any]:
        self.calls.append(method)
        return [getattr(self._worker, method)(*args)]

    def reset_prefix_cache(self) -> bool:
        self.calls.append("reset_prefix_cache")
        return True

    def get_weight_version(self) -> str:
        return self._version

    def update_weight_version(self, version: str) -> None:
        self._version = version

    def sleep(self, level: int) -> None:
        del level
        self.calls.append("sleep")

    def wake_up(self) -> None:
        self.calls.append("wake_up")

    def generate(self, prompts: list[dict], params: list[SamplingParams], *, use_tqdm: bool) -> list[Any]:
        del use_tqdm
        self.calls.append("generate")
        [shape] = {(own.temperature, own.max_tokens, *own.stop_token_ids) for own in params}
        temperature, max_tokens, end_id = shape
        outputs = []
        for prompt, own in zip(prompts, params, strict=True):
            [[one]] = generate(
                self.model, [prompt["prompt_token_ids"]], seeds=[[own.seed]], max_new_tokens=max_tokens,
                temperature=temperature, end_id=end_id,
            )  # fmt: skip
            span = types.SimpleNamespace(version=self._version, start=0, end=len(one.token_ids))
            completion = types.SimpleNamespace(
                token_ids=one.token_ids, finish_reason=one.finish_reason, weight_versions=[span]
            )
            outputs.append(types.SimpleNamespace(outputs=[completion]))
        return outputs


@contextmanager
def installed(**changes: Any) -> Iterator[type[LLM]]:
    """This in the place of vLLM, with some of the engine's members otherwise."""
    engine = type("LLM", (LLM,), {"started": [], **changes})
    module = types.ModuleType("vllm")
    module.__dict__.update(LLM=engine, SamplingParams=SamplingParams)
    with mock.patch.dict(sys.modules, {"vllm": module}):
        sys.modules.pop(MODULE, None)
        try:
            yield engine
        finally:
            sys.modules.pop(MODULE, None)
