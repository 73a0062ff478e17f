"""vLLM's offline engine as far as rollouts use it, on a model of transformers: real weights, real samples, no vLLM.

`installed` puts it in the place of the package. Its worker has the methods that the project adds to vLLM's.
"""

import copy
import dataclasses
import json
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from omniopd.data.decoding import Decoding
from omniopd.models.adapters import PREFIX
from omniopd.models.generation import generate
from omniopd.models.loading import load_chat, load_model
from omniopd.sampling.vllm_worker import StudentWorker
from omniopd.sampling.weight_sync import saved_weights

MODULE = "omniopd.sampling.vllm_student"


@dataclass
class SamplingParams:
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    stop: list[str]
    max_tokens: int
    seed: int
    stop_token_ids: list[int]
    ignore_eos: bool
    detokenize: bool
    logprobs: int | None
    flat_logprobs: bool
    logit_bias: dict[int, float] | None


@dataclass
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str


@dataclass
class FlatLogprobs:
    logprobs: list[float]  # at each position the token's, then the likeliest
    length: int

    def __len__(self) -> int:
        return self.length


class LinearWithLoRA(nn.Module):
    """A layer with room for one adapter, of which it makes use where it is told to."""

    def __init__(self, layer: nn.Linear, rank: int):
        super().__init__()
        self.base_layer, self.is_used = layer, False
        self.lora_a_stacked = (torch.zeros(1, 1, rank, layer.in_features),)
        self.lora_b_stacked = (torch.zeros(1, 1, layer.out_features, rank),)

    def set_lora(self, a: torch.Tensor, b: torch.Tensor) -> None:
        for stacked, weight in ((self.lora_a_stacked, a), (self.lora_b_stacked, b)):
            stacked[0].zero_()[0, 0, : weight.shape[0], : weight.shape[1]] = weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.base_layer(x)
        return out + x @ self.lora_a_stacked[0][0, 0].T @ self.lora_b_stacked[0][0, 0].T * self.is_used


class Worker(StudentWorker):
    """What vLLM's own worker has of what StudentWorker needs, and its way with adapters."""

    def __init__(self, model: Any):
        self.model_config = types.SimpleNamespace(dtype=torch.float32)
        self.model_runner = types.SimpleNamespace(get_model=lambda: model)

    def reload_weights(self, weights_iterator: Any) -> None:
        with torch.no_grad():
            state = self.model_runner.get_model().state_dict()
            for name, weight in weights_iterator:
                state[name].copy_(weight)

    def load_adapter(self, folder: str) -> None:
        model, config = (
            self.model_runner.get_model(),
            json.loads((Path(folder) / "adapter_config.json").read_text()),
        )
        weights, scale = dict(saved_weights(folder)), config["lora_alpha"] / config["r"]
        for name, layer in adapted(model):
            a, b = (weights[f"{PREFIX}{name}.lora_{side}.weight"] for side in "AB")
            layer.set_lora(a, b * scale)

    def add_lora(self, request: LoRARequest) -> None:
        self.load_adapter(request.lora_path)
        self.model_runner.get_model().lora_manager.lora_index_to_id[0] = request.lora_int_id

    def remove_lora(self, number: int) -> None:
        slots = self.model_runner.get_model().lora_manager.lora_index_to_id
        slots[slots.index(number)] = None


def adapted(model: Any) -> list[tuple[str, LinearWithLoRA]]:
    """The layers that have room for an adapter."""
    return [(name, layer) for name, layer in model.named_modules() if isinstance(layer, LinearWithLoRA)]


class LLM:
    """One engine. `started` are all that were, in order."""

    worker: ClassVar[type[Worker]] = Worker
    started: ClassVar[list["LLM"]] = []

    def __init__(self, model: str, *, worker_extension_cls: str, **settings: Any):
        assert worker_extension_cls == f"{StudentWorker.__module__}.{StudentWorker.__name__}"
        self.settings, self.calls = settings, []
        self.model, self.chat = copy.deepcopy(load_model(model)), load_chat(model)
        if settings.get("enable_lora"):
            self._make_room(settings["max_lora_rank"])
        self.model_config = types.SimpleNamespace(
            max_model_len=settings.get("max_model_len", 128), dtype=torch.float32,
            get_vocab_size=lambda: self.model.config.vocab_size,
        )  # fmt: skip
        self._worker, self._version = self.worker(self.model), "default"
        self.llm_engine = types.SimpleNamespace(
            add_lora=lambda request: self._adapters("add_lora", request),
            remove_lora=lambda number: self._adapters("remove_lora", number),
            is_sleeping=lambda: self.calls.count("sleep") > self.calls.count("wake_up"),
            engine_core=types.SimpleNamespace(shutdown=lambda: self.calls.append("shutdown")),
        )
        self.started.append(self)

    def _make_room(self, rank: int) -> None:
        for path, layer in list(self.model.named_modules()):
            if isinstance(layer, nn.Linear) and path != "lm_head":
                self.model.set_submodule(path, LinearWithLoRA(layer, rank))
        self.model.lora_manager = types.SimpleNamespace(lora_index_to_id=[None])

    def _adapters(self, method: str, about: Any) -> None:
        self.calls.append(method)
        getattr(self._worker, method)(about)

    def collective_rpc(self, method: str, args: tuple = ()) -> list[Any]:
        self.calls.append(method)
        return [getattr(self._worker, method)(*args)]

    def reset_prefix_cache(self) -> bool:
        self.calls.append("reset_prefix_cache")
        return True

    def get_tokenizer(self) -> Any:
        return self.chat.tokenizer

    def get_weight_version(self) -> str:
        return self._version

    def update_weight_version(self, version: str) -> None:
        self._version = version

    def sleep(self, level: int) -> None:
        del level
        self.calls.append("sleep")

    def wake_up(self) -> None:
        self.calls.append("wake_up")

    def generate(
        self,
        prompts: list[dict],
        params: list[SamplingParams],
        *,
        lora_request: LoRARequest | None,
        use_tqdm: bool,
    ) -> list[Any]:
        del use_tqdm
        self.calls.append("generate")
        for _, layer in adapted(self.model):
            layer.is_used = lora_request is not None
        assert len({repr(dataclasses.replace(sampling, seed=0)) for sampling in params}) == 1
        shared, num_top = params[0], params[0].logprobs
        assert shared.detokenize == bool(shared.stop), "stop strings are found in text"
        decoding = Decoding(shared.temperature, shared.top_p, shared.top_k or None, shared.min_p)
        strings = self.chat.stop_strings(shared.stop) if shared.stop else None
        outputs = []
        for prompt, sampling in zip(prompts, params, strict=True):
            [[one]] = generate(
                self.model, [prompt["prompt_token_ids"]], seeds=[[sampling.seed]],
                max_new_tokens=shared.max_tokens, decoding=decoding, stop_ids=shared.stop_token_ids, strings=strings,
                excluded=tuple(shared.logit_bias or ()),
            )  # fmt: skip
            span = types.SimpleNamespace(version=self._version, start=0, end=len(one.token_ids))
            logprobs = num_top and self._logprobs(prompt["prompt_token_ids"], one.token_ids, num_top)
            completion = types.SimpleNamespace(
                token_ids=one.token_ids,
                finish_reason=one.finish_reason,
                stop_reason=shared.stop[0] if strings and strings.end(one.token_ids) else None,
                weight_versions=[span],
                logprobs=logprobs,
            )
            outputs.append(types.SimpleNamespace(outputs=[completion], lora_request=lora_request))
        return outputs

    @torch.inference_mode()
    def _logprobs(self, prompt: list[int], written: list[int], num_top: int) -> FlatLogprobs:
        assert num_top <= min(self.settings["max_logprobs"], self.model.config.vocab_size)
        assert self.settings["logprobs_mode"] == "raw_logprobs"
        logits = self.model(torch.tensor([[*prompt, *written]])).logits[0, len(prompt) - 1 : -1]
        logps = logits.log_softmax(-1)
        token = logps.gather(-1, torch.tensor(written)[:, None])
        rows = torch.cat([token, logps.topk(num_top).values], -1)
        return FlatLogprobs(rows.flatten().tolist(), len(written))


@contextmanager
def installed(**changes: Any) -> Iterator[type[LLM]]:
    """This in the place of vLLM, with some of the engine's members otherwise."""
    engine = type("LLM", (LLM,), {"started": [], **changes})
    modules = {name: types.ModuleType(name) for name in ("vllm", "vllm.lora", "vllm.lora.request")}
    modules["vllm"].__dict__.update(LLM=engine, SamplingParams=SamplingParams)
    modules["vllm.lora.request"].__dict__.update(LoRARequest=LoRARequest)
    before = {name: sys.modules.get(name) for name in modules}  # others that are imported meanwhile stay
    sys.modules.update(modules)
    sys.modules.pop(MODULE, None)
    try:
        yield engine
    finally:
        sys.modules.pop(MODULE, None)
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
