"""A campaign of silent faults in models, tokenizers and engines: each is noticed before the first update.

Random places are drawn from OMNIOPD_TEST_SEED. `-rP` prints how many faults of each kind there were, and how they were
noticed; docs/models.md lists those that cannot be.
"""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import commands
import fake_vllm
import pytest
from checked import ARMS, ROWS, save_tiny_model, template, write_rows
from projects import Project, digests, make_project, run_plain
from silent_engines import ADAPTERS, LORA, WEIGHTS, Damage, Damaged, bit_in_memory, moved
from silent_faults import Tally, flip_bit, random_file, restored
from silent_models import FAULTS, KWARGS, THINKS, TURNS

from omniopd.config import Params, load_params
from omniopd.data.layout import Layout
from omniopd.errors import ModelError, OmniOPDError, RunError
from omniopd.inputs import base as inputs
from omniopd.inputs.prepare import make_prompts
from omniopd.models.adapters import add_adapter
from omniopd.models.chat import Chat
from omniopd.models.loading import load_model, weights_digest
from omniopd.preflight.check import check
from omniopd.preflight.self_test import self_tests
from omniopd.rounds import state
from omniopd.rounds.run import open_run
from omniopd.rounds.start import start_run
from omniopd.sampling.samplers import Student, vllm_student

pytestmark = pytest.mark.slow

SEED = os.environ.get("OMNIOPD_TEST_SEED", "0")
ENOUGH = 200  # faults
ROLES = ("student", "teacher")
TALLY = Tally()


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(f"{SEED} {request.node.name}")


def make_models(params: Params, layout: Layout) -> bool:
    """The flow's step before a run: whether `base` made or recorded the models again."""
    return inputs.make_models(params, 0, layout, on_step=lambda *_: None)


# --- files of models and runs


def test_a_flipped_bit_in_a_model_that_base_made_is_noticed_and_the_model_made_again(
    project: Project, finished_project: Project, rng: random.Random
):
    params, layout, models = (
        load_params(project.params_file),
        Layout(project.root),
        project.root / "models/seed-0",
    )
    assert not make_models(params, layout)
    for _ in range(24):
        with restored(models), mock.patch.object(inputs, "base") as made:
            place = flip_bit(random_file(models, rng), rng)
            assert make_models(params, layout), place
            assert made.called
    flip_bit(models / "student/model.safetensors", rng)
    run_plain(project.params_file)
    assert digests(project.run_dir()) == digests(finished_project.run_dir())
    TALLY.add("a bit in a file of a model that base made", 25, "made again")


@pytest.fixture
def named(base_project: Project, tmp_path: Path) -> Project:
    """A project whose student and teacher are directories that the user named, with a run that has begun."""
    for role in ROLES:
        shutil.copytree(base_project.root / "models/seed-0" / role, tmp_path / "mine" / role)
    project = make_project(tmp_path / "project").edit(
        models__student=str(tmp_path / "mine/student"), teacher__model=str(tmp_path / "mine/teacher"),
        train__num_rounds=1,
    )  # fmt: skip
    params, layout = load_params(project.params_file), Layout(project.root)
    make_prompts(params, 0, layout)
    assert make_models(params, layout)
    start_run(params, "omniopd", 0, layout)
    return project


def test_a_flipped_bit_in_a_directory_that_the_user_named_never_continues_the_run(
    named: Project, rng: random.Random, capfd: pytest.CaptureFixture[str]
):
    params, layout, mine = load_params(named.params_file), Layout(named.root), named.root.parent / "mine"
    for _ in range(30):
        warnings: list[str] = []
        role = rng.choice(ROLES)
        with restored(mine):
            place = flip_bit(random_file(mine / role, rng), rng)
            try:
                assert make_models(params, layout), place
            except ModelError:  # its header is damaged
                continue
            start_run(params, "omniopd", 0, layout, warn=warnings.append)
        [warning] = warnings
        assert f"omniopd-0: the {role} changed since this run was started" in warning, place
        make_models(params, layout)
        start_run(params, "omniopd", 0, layout)
    capfd.readouterr()
    with (mine / "student/tokenizer_config.json").open("a") as file:
        file.write(" ")
    run_plain(named.params_file)
    assert "the student changed since this run was started, so it starts again" in capfd.readouterr().err
    TALLY.add(
        "a bit in a directory that the user named", 31, "a new run, the one before moved aside; or refused"
    )


def test_a_flipped_bit_in_a_checkpoint_or_a_handed_over_state_is_rebuilt(
    finished_project: Project, tmp_path: Path, rng: random.Random
):
    project = finished_project.copied_to(tmp_path / "project")
    run = open_run(project.run_dir())
    checkpoints = [n for n in range(6) if run.has_checkpoint(n)]
    for _ in range(14):
        round_ = rng.choice(checkpoints)
        folder = run.files.checkpoint(round_)
        with restored(folder):
            place = flip_bit(random_file(folder, rng), rng)
            assert not run.has_checkpoint(round_), place
    state.save(run, 3, state.trainer_at(run, 3), "state")
    folder = run.files.state(3)
    assert run.saved(3) == str(folder)
    for _ in range(8):
        with restored(folder):
            place = flip_bit(random_file(folder, rng), rng)
            assert run.saved(3) is None, place
    shutil.copytree(folder, run.files.state(1))  # of another round
    assert run.saved(1) is None
    shutil.rmtree(run.files.state(1))
    flip_bit(run.files.checkpoint(max(checkpoints)) / "model.safetensors", rng)
    run_plain(project.params_file)
    assert digests(project.run_dir()) == digests(finished_project.run_dir())
    TALLY.add(
        "a bit in a checkpoint, or in a state for another process", 24, "rebuilt from the rounds before"
    )


# --- engines


@pytest.fixture
def student_path(tmp_path: Path) -> str:
    save_tiny_model(tmp_path / "student")
    return str(tmp_path / "student")


@pytest.fixture
def damage(monkeypatch: pytest.MonkeyPatch) -> Callable[[Damage | None], None]:
    return lambda what: monkeypatch.setattr(Damaged, "damage", what and staticmethod(what))


@pytest.mark.parametrize("kind", WEIGHTS)
def test_an_engine_with_other_weights_writes_nothing(
    student_path: str, tokenizer, kind: str, rng: random.Random, damage: Callable[[Damage | None], None]
):
    number, fault = WEIGHTS[kind]
    first = load_model(student_path)
    with fake_vllm.installed(worker=Damaged):
        served = vllm_student()(student_path, batch_size=4, precision="float32", settings={})
        for seed in range(number):
            model = moved(first, seed)
            student = Student(model, Chat(tokenizer), weights_digest(model))
            damage(fault(rng))
            with pytest.raises(RunError, match="holds others"), served.synced_to(student):
                pytest.fail("it wrote")
            damage(None)
            with served.synced_to(student):
                pass
    TALLY.add(kind, number, "refused before it writes")


def test_an_engine_with_a_flipped_bit_stops_a_run_before_its_first_response(
    project: Project, rng: random.Random, damage: Callable[[Damage | None], None]
):
    project.edit(rollout__engine="vllm", train__num_rounds=1)
    damage(bit_in_memory(rng))
    with fake_vllm.installed(worker=Damaged), pytest.raises(RunError, match="holds others"):
        run_plain(project.params_file)
    assert not list(project.run_dir().rglob("round-*"))
    TALLY.add("a bit in the memory of an engine, in a run", 1, "refused before it writes")


@pytest.mark.parametrize("kind", ADAPTERS)
def test_an_engine_with_another_adapter_writes_nothing(
    student_path: str, tokenizer, kind: str, rng: random.Random, damage: Callable[[Damage | None], None]
):
    number, fault = ADAPTERS[kind]
    first = load_model(student_path, trained=False)
    add_adapter(first, LORA, seed=0)
    with fake_vllm.installed(worker=Damaged):
        for seed in range(number):
            served = vllm_student()(student_path, batch_size=4, precision="float32", settings={}, lora=LORA)
            for n, what in enumerate((None, fault(rng))):
                model = moved(first, 2 * seed + n, only=".lora_")
                student = Student(model, Chat(tokenizer), weights_digest(model))
                damage(what)
                if what is None:
                    with served.synced_to(student):
                        continue
                with pytest.raises(RunError, match="holds others"), served.synced_to(student):
                    pytest.fail("it wrote")
    TALLY.add(kind, number, "refused before it writes")


# --- directories of models


@pytest.fixture
def sound(tmp_path: Path, models: Path) -> Project:
    """A project of which check has nothing to say."""
    project = make_project(tmp_path)
    for role in ROLES:
        shutil.copytree(models / "fluent", tmp_path / role)
        template(TURNS)(tmp_path / role)
    write_rows(tmp_path / "prompts.jsonl", ROWS)
    return project.edit(
        arms=ARMS, prompts__source="prompts.jsonl", prompts__num_train=20, prompts__num_validation=4,
        prompts__num_heldout=6, rollout__max_new_tokens=16, models__student="./student", teacher__model="./teacher",
    )  # fmt: skip


def said(project: Project, *, in_test: bool) -> list[str]:
    """What check says, its self-test included: an error, or warnings."""
    try:
        params, warnings, _ = check(project.params_file)
        return [*warnings, *(self_tests(params, Layout(project.root))[1] if in_test else [])]
    except OmniOPDError as error:
        return [f"refused: {line}" for line in str(error).splitlines()]


def test_a_sound_project_has_no_warnings(sound: Project):
    assert said(sound, in_test=True) == []
    assert said(sound.edit(prompts__system="1+1=2;"), in_test=True) == []


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_in_the_directory_of_a_model_is_named_by_check(
    sound: Project,
    kind: str,
    rng: random.Random,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    """The first fault of a kind by the command, the others by what it calls."""
    fault, ways = FAULTS[kind], set()
    sound.edit_paths(fault.settings)
    for number in range(fault.number):
        folder = sound.root / fault.roles[number % len(fault.roles)]
        with restored(folder):
            fault.draw(rng)(folder)
            if number:
                lines = said(sound, in_test=fault.in_test)
            else:
                code = commands.run(monkeypatch, "check", "--params", str(sound.params_file))
                lines = capfd.readouterr().err.splitlines()
                assert code == (0 if lines[0].startswith("warning: ") else 2)
            named = [line for line in lines if fault.sentence in line]
            assert named, lines
            line = named[0]
            assert folder.name in line
            ways.add("refused" if line.startswith("refused: ") else "warned of" if number else "")
    how = " or ".join(sorted(ways - {""})) or "refused or warned of"
    TALLY.add(kind, fault.number, f"{how} by check" + (", in its self-test" if fault.in_test else ""))


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [("a missing tensor", "the files lack"), ("weights that overflow", "its logits hold NaN or infinity")],
)
def test_a_faulty_student_stops_a_run_before_its_first_update(
    sound: Project, kind: str, sentence: str, rng: random.Random
):
    FAULTS[kind].draw(rng)(sound.root / "student")
    with pytest.raises(ModelError, match=sentence):
        run_plain(sound.params_file)
    assert not list(sound.root.rglob("round-*"))
    TALLY.add(f"{kind}, in a run", 1, "refused")


def test_a_run_warns_before_it_starts(sound: Project, rng: random.Random, capfd: pytest.CaptureFixture[str]):
    FAULTS["a chat template that thinks"].draw(rng)(sound.root / "teacher")
    run_plain(sound.edit(train__num_rounds=1).params_file)
    assert "the teacher's chat template lets it think before it answers" in capfd.readouterr().err
    TALLY.add("a chat template that thinks, in a run", 1, "warned of before it starts")


def test_settings_of_a_chat_template_that_do_nothing_are_warned_of(sound: Project, rng: random.Random):
    for number in range(4):
        key = list(KWARGS.values())[number % 2]
        name = "".join(rng.sample("enable_thinking", 9))
        lines = said(sound.edit_paths({key: {name: False}}), in_test=False)
        assert any(f"no setting {name!r}" in line for line in lines)
        sound.edit_paths({key: {}})
    for role in ROLES:
        template(THINKS)(sound.root / role)
    for key in KWARGS.values():
        lines = said(sound.edit_paths({key: {"enable_thinking": False}}), in_test=False)
        assert any("lets it think before it answers" in line for line in lines)
        sound.edit_paths({key: {}})
    TALLY.add("settings of a chat template that do nothing, or on one side", 6, "warned of by check")


def test_the_campaign_has_enough_faults():
    """Last: a table of all that were injected."""
    print(f"seed {SEED}:\n{TALLY.table()}")
    if not {*FAULTS, *WEIGHTS, *ADAPTERS} <= {kind for kind, _, _ in TALLY.rows}:
        pytest.skip("not every kind was injected")
    assert TALLY.total >= ENOUGH
