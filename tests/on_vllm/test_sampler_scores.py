"""The scores that vLLM itself has as it writes, beside those of the trainer's forward pass."""

from pathlib import Path

import pytest
from examples_student import ENGINE, PROMPTS, STUDENT
from projects import make_project, run_plain

from omniopd.config import DemoModel
from omniopd.data.decoding import Decoding
from omniopd.data.records import Trajectory
from omniopd.data.store import read_records
from omniopd.functional import peak_entropy
from omniopd.models.chat import Chat
from omniopd.models.loading import load_model, weights_digest
from omniopd.rounds import steps as rounds
from omniopd.rounds.rollout import rollouts, scored
from omniopd.sampling.responses import writer_for
from omniopd.sampling.samplers import Student, vllm_student
from omniopd.training.pretrain import character_tokenizer, save_model, train_demo_model

pytestmark = pytest.mark.filterwarnings("ignore")  # vLLM's own, of which it has many

ROUNDING = 1e-4  # nats, between two engines in float32
CHARACTERS = "0123456789+=;>abcdefghijklmnopqrstuvwxyz"  # more than the tokens that an entropy is made of


@pytest.fixture(scope="module")
def student(tmp_path_factory) -> tuple[str, Student]:
    tokenizer = character_tokenizer(CHARACTERS)
    examples = [(f"{i}+{j}=", str(i + j)) for i in range(8) for j in range(8)]
    model = train_demo_model(examples, tokenizer, DemoModel(**STUDENT), seed=0, on_step=lambda *_: None)
    path = str(tmp_path_factory.mktemp("student"))
    save_model(Path(path), model, tokenizer)
    return path, Student(model, Chat(tokenizer), weights_digest(model))


def test_log_probabilities_are_the_trainers_and_entropies_lower_bounds_of_its(student, capsys):
    path, trained_student = student
    served = vllm_student()(path, batch_size=64, precision="float32", settings=ENGINE, scores=True)
    try:
        with served.synced_to(trained_student) as sampler:
            sampled = rollouts(
                writer_for(trained_student, sampler), PROMPTS,
                round_=0, num_samples=8, max_new_tokens=16, decoding=Decoding(0.7), seed=1,
            )  # fmt: skip
    finally:
        served.close()
    apart, short, same = [], [], 0
    for item, exact in zip(sampled, scored(trained_student, sampled, batch_size=80), strict=True):
        assert item.logps == pytest.approx(exact.logps, abs=ROUNDING)
        apart += [abs(a - b) for a, b in zip(item.logps, exact.logps, strict=True)]
        short += [b - a for a, b in zip(item.entropies, exact.entropies, strict=True)]
        chosen, expected = (peak_entropy(one.entropies, num_chunks=2, chunk_len=2) for one in (item, exact))
        same += chosen == expected
    assert min(short) > -ROUNDING
    assert max(short) > 10 * ROUNDING, "there is a tail to be left out"
    with capsys.disabled():
        print(
            f"\nlog-probabilities within {max(apart):.1e} nats; entropies short by {sum(short) / len(short):.3f} nats "
            f"in the mean, {max(short):.3f} at most; the same anchors in {same} of {len(sampled)} responses"
        )


def test_a_run_on_them_takes_no_forward_pass_for_scores(tmp_path: Path, monkeypatch):
    project = make_project(tmp_path / "project").edit(
        models__demo__student=STUDENT, rollout__engine="vllm", rollout__engine_settings=ENGINE,
        rollout__selection_entropy="engine", train__num_rounds=2, train__checkpoint_every=1,
    )  # fmt: skip
    project.make_base()
    monkeypatch.setattr(rounds, "scored", lambda *_, **__: pytest.fail("the trainer scored"))
    run_plain(project.params_file)
    monkeypatch.undo()
    written = read_records(project.run_dir() / "trajectories/round-0001.parquet", Trajectory)
    model = load_model(str(project.run_dir() / "checkpoints/round-0001"))
    tokenizer = character_tokenizer("0123456789+=;>")
    for item, exact in zip(
        written, scored(Student(model, Chat(tokenizer), "w"), written, batch_size=12), strict=True
    ):
        assert item.logps == pytest.approx(exact.logps, abs=ROUNDING)
        assert item.entropies == pytest.approx(exact.entropies, abs=ROUNDING), (
            "20 tokens are the whole vocabulary"
        )
