"""Rollouts on vLLM against those of the model in this process, with the same weights, prompts and lengths.

The demo's student as benchmarks.step has it, with heads of 32 dimensions, which vLLM's build for the CPU asks for. It
ends a response early now and then: tokens that were written are counted. Each round of vLLM begins with the proof that
it holds the student's weights.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figure import Figure, in_turns
from benchmarks.step import NUM_PROMPTS, PARAMS, RESPONSE_LEN, digits_model
from omniopd.config import load_params
from omniopd.data.decoding import Decoding
from omniopd.data.prompts import Prompt
from omniopd.errors import ConfigError
from omniopd.models.chat import Chat
from omniopd.models.loading import weights_digest
from omniopd.models.threads import use_threads
from omniopd.rounds.rollout import rollouts
from omniopd.sampling.responses import writer_for
from omniopd.sampling.samplers import InProcessSampler, Sampler, Student, vllm_student
from omniopd.tasks import TASKS
from omniopd.training.pretrain import character_tokenizer, save_model

ROUNDS = 7
ENGINE = {"enforce_eager": True, "block_size": 32, "enable_chunked_prefill": False, "max_model_len": 128}


def figures(num: int = NUM_PROMPTS, rounds: int = ROUNDS) -> list[Figure]:
    """Tokens per second of vLLM against transformers, or only of transformers if vLLM is not installed."""
    params = load_params(PARAMS)
    use_threads(params.compute.num_threads)
    tokenizer = character_tokenizer(TASKS["addition"].alphabet)
    model = digits_model(tokenizer, params.models.demo.student.model_copy(update={"num_heads": 2}))
    student = Student(model, Chat(tokenizer), weights_digest(model))
    texts = [f"{i:04d}+{(7 * i) % 10_000:04d}=" for i in range(1000, 1000 + num)]
    prompts = [Prompt(text, text, "") for text in texts]

    def written_by(sampler: Sampler) -> int:
        trajectories = rollouts(
            writer_for(student, sampler), prompts, round_=0, num_samples=1, max_new_tokens=RESPONSE_LEN,
            decoding=Decoding(), seed=0,
        )  # fmt: skip
        return sum(len(item.response_ids) for item in trajectories)

    in_process = InProcessSampler(student, batch_size=num)
    works: dict[str, Callable[[], int]] = {"transformers": lambda: written_by(in_process)}
    try:
        with _vllm(student, num) as served:

            def on_vllm() -> int:
                with served.synced_to(student) as sampler:
                    return written_by(sampler)

            rates = in_turns({**works, "vllm": on_vllm}, rounds=rounds)
    except ConfigError as error:
        if not isinstance(error.__cause__, ImportError):
            raise
        rates = in_turns(works, rounds=rounds)
        return [
            Figure(
                "rollouts on transformers (vLLM is not installed here: `make bench-vllm`)",
                "tokens/s",
                rates["transformers"],
            )
        ]
    return [Figure("rollouts on vLLM", "tokens/s", rates["vllm"], "transformers", rates["transformers"])]


@contextmanager
def _vllm(student: Student, batch_size: int) -> Iterator:
    # Of its build for the CPU; it reads them when it is imported.
    os.environ |= {
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder), student.model, student.chat.tokenizer)
        served = vllm_student()(folder, batch_size=batch_size, precision="float32", settings=ENGINE)
        try:
            yield served
        finally:
            served.close()
