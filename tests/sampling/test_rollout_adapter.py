"""An adapter on its way to vLLM, whose part is played by fake_vllm: given alone, each round, and shown to be held."""

import copy
from pathlib import Path

import fake_vllm
import pytest
import torch
from projects import Project, run_plain
from transformers import PreTrainedModel

from omniopd.config import Lora
from omniopd.config.load import load_params
from omniopd.data.decoding import Decoding
from omniopd.data.prompts import Prompt
from omniopd.data.records import Trajectory
from omniopd.data.store import read_records
from omniopd.errors import ConfigError, RunError
from omniopd.models.adapters import WEIGHTS, add_adapter
from omniopd.models.chat import Chat
from omniopd.models.loading import load_model, weights_digest
from omniopd.rounds.rollout import rollouts
from omniopd.sampling import weight_sync
from omniopd.sampling.responses import in_process, writer_for
from omniopd.sampling.samplers import Student, vllm_student
from omniopd.training.checkpoints import load_student
from omniopd.training.pretrain import save_model

LORA = Lora(rank=2, alpha=5.0, targets="all-linear")
PROMPTS = [Prompt(f"p{i}", f"{i}+1=", None) for i in range(5)]
ASKED = {"round_": 0, "num_samples": 2, "max_new_tokens": 6, "decoding": Decoding(), "seed": 3}


@pytest.fixture
def path(model, tokenizer, tmp_path) -> str:
    save_model(tmp_path / "student", model, tokenizer)
    return str(tmp_path / "student")


@pytest.fixture
def students(path: str, tokenizer) -> list[Student]:
    """One base with its first adapter, which changes nothing, and with what two updates make of that."""
    models = [load_model(path, trained=False)]
    add_adapter(models[0], LORA, seed=0)
    for seed in range(2):
        models.append(moved(models[-1], seed))
    return [Student(model, Chat(tokenizer), weights_digest(model)) for model in models]


def moved(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    other, rng = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in other.named_parameters():
            if ".lora_" in name:
                weight.add_(torch.randn(weight.shape, generator=rng) * 0.5)
    return other


def engine_for(path: str, **settings):
    return vllm_student()(path, batch_size=10, precision="float32", settings=settings, lora=LORA)


def test_an_engine_is_given_each_rounds_adapter_alone_and_writes_with_it(path, students):
    synced_files: list[set[str]] = []

    class Looking(fake_vllm.Worker):
        def add_lora(self, request) -> None:
            synced_files.append({file.name for file in Path(request.lora_path).iterdir()})
            assert Path(request.lora_path).is_relative_to(weight_sync.SHARED_MEMORY)
            super().add_lora(request)

    written = []
    with fake_vllm.installed(worker=Looking) as engine:
        served = engine_for(path)
        for student in (*students, students[2]):
            with served.synced_to(student) as sampler:
                sampled = rollouts(writer_for(student, sampler), PROMPTS, **ASKED)
            expected = rollouts(in_process(student, batch_size=2), PROMPTS, **ASKED)
            assert sampled == expected
            written.append([item.response_ids for item in sampled])
    [started] = engine.started
    taken = ["add_lora", "reset_prefix_cache", "loaded_sums", "generate"]
    assert started.calls == [
        "end_with", *taken, "remove_lora", *taken, "remove_lora", *taken, "loaded_sums", "generate"
    ]  # fmt: skip
    assert synced_files == [{WEIGHTS, "adapter_config.json"}] * 3
    assert started.model.lora_manager.lora_index_to_id == [3]
    assert started.settings["max_lora_rank"] == 8
    assert written[0] != written[1] != written[2]


class KeepsItsFirst(fake_vllm.Worker):
    """Answers to each new adapter's number, with the weights of the first."""

    def load_adapter(self, folder: str) -> None:
        if not any(
            layer.lora_a_stacked[0].any() for _, layer in fake_vllm.adapted(self.model_runner.get_model())
        ):
            super().load_adapter(folder)


class ForgetsOneLayer(fake_vllm.Worker):
    def load_adapter(self, folder: str) -> None:
        super().load_adapter(folder)
        layer = dict(fake_vllm.adapted(self.model_runner.get_model()))["model.layers.0.mlp.down_proj"]
        layer.lora_b_stacked[0].zero_()


class KnowsNoScale(fake_vllm.Worker):
    def load_adapter(self, folder: str) -> None:
        super().load_adapter(folder)
        for _, layer in fake_vllm.adapted(self.model_runner.get_model()):
            layer.lora_b_stacked[0].div_(LORA.alpha / LORA.rank)


class LosesIt(fake_vllm.Worker):
    def add_lora(self, request) -> None:
        super().add_lora(request)
        self.remove_lora(request.lora_int_id)


@pytest.mark.parametrize(
    ("worker", "named"),
    [
        (KeepsItsFirst, r"model.layers.0.mlp.down_proj.lora_A.weight and 13 more"),
        (ForgetsOneLayer, r"model.layers.0.mlp.down_proj.lora_B.weight"),
        (KnowsNoScale, r"model.layers.0.mlp.down_proj.lora_B.weight and 6 more"),
        (LosesIt, r"model.layers.0.mlp.down_proj.lora_A.weight and 13 more"),
    ],
)
def test_an_engine_that_holds_another_adapter_stops_the_round(path, students, worker, named: str):
    with fake_vllm.installed(worker=worker):
        served = engine_for(path)
        with pytest.raises(RunError, match=rf"holds others \({named}\); "):  # noqa: PT012
            for student in students[:2]:
                with served.synced_to(student):
                    pass


def test_an_adapter_over_another_base_stops_the_round(path, students):
    with torch.no_grad():
        students[1].model.model.norm.weight[3] += 1e-6
    with fake_vllm.installed():
        served = engine_for(path)
        with (
            pytest.raises(RunError, match=r"holds others \(model.norm.weight\); "),
            served.synced_to(students[1]),
        ):
            pytest.fail("it wrote")


def test_a_response_of_another_adapter_stops_the_round(path, students):
    def of_the_first(self, prompts, params, *, lora_request, use_tqdm):
        outputs = fake_vllm.LLM.generate(self, prompts, params, lora_request=lora_request, use_tqdm=use_tqdm)
        outputs[3].lora_request = fake_vllm.LoRARequest(students[0].digest, 1, "")
        return outputs

    with fake_vllm.installed(generate=of_the_first):
        served = engine_for(path)
        with (
            pytest.raises(
                RunError, match=rf"'p1' with weights {students[1].digest}\+{students[0].digest}, and"
            ),
            served.synced_to(students[1]) as sampler,
        ):
            rollouts(writer_for(students[1], sampler), PROMPTS, **ASKED)


@pytest.mark.parametrize("settings", [{}, {"dtype": "float"}])
def test_adapters_in_float32_are_refused_on_a_gpu(path, monkeypatch, settings: dict):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with fake_vllm.installed() as engine, pytest.raises(ConfigError, match="set train.precision: bfloat16"):
        engine_for(path, **settings)
    assert not engine.started


@pytest.mark.slow
@pytest.mark.parametrize(("overlap", "weights"), [(0, [0, 1, 2]), (1, [0, 0, 1])])
def test_a_run_with_an_adapter_on_vllm_learns_from_what_it_has(
    project: Project, overlap: int, weights: list[int]
):
    project.edit(
        rollout__engine="vllm", rollout__overlap=overlap, train__num_rounds=3, train__checkpoint_every=1,
        train__lr=1e-2, train__lora={"rank": 2, "alpha": 4.0, "targets": "all-linear"},
    )  # fmt: skip
    with fake_vllm.installed() as engine:
        run_dir = run_plain(project.params_file).parent.parent
    [started] = engine.started
    num_given = len({*weights, 0, 2, 3})  # validation takes the engine too, every second round and at the end
    calls = [started.calls.count(name) for name in ("add_lora", "remove_lora", "load_student")]
    assert calls == [num_given, num_given - 1, 0]
    base, settings = str(project.root / "models/seed-0/student"), load_params(project.params_file).train
    paths = [base, *(str(run_dir / f"checkpoints/round-{n:04d}") for n in (1, 2))]
    digests = [weights_digest(load_student(base, path, settings, seed=0)) for path in paths]
    assert len(set(digests)) == 3
    for round_, before in enumerate(weights):
        trajectories = read_records(run_dir / f"trajectories/round-{round_:04d}.parquet", Trajectory)
        assert {item.student for item in trajectories} == {digests[before]}
