"""A teacher that knows more than the student: what it reads, and that the student never does."""

import json
from pathlib import Path

import pytest
import torch
from fakes import ASKED
from projects import Project, make_project, run_plain

from omniopd.config import load_params
from omniopd.data.conversation import Message
from omniopd.data.decoding import Decoding
from omniopd.data.layout import Layout, RunLayout
from omniopd.data.prompts import Prompt, read_prompts
from omniopd.data.records import Trajectory, Verdict
from omniopd.data.rows import Row, collate
from omniopd.data.store import read_records
from omniopd.errors import DataError
from omniopd.evaluation.sharpness import Forks, entropy_at, sampled_rows
from omniopd.grading.accuracy import answered
from omniopd.inputs.prepare import prepare, task_prompts
from omniopd.inputs.stages import stage_settings
from omniopd.methods import OPD
from omniopd.models.loading import load_model
from omniopd.preflight.plan import plan
from omniopd.rounds import steps, teacher_probe
from omniopd.rounds.rollout import rollouts
from omniopd.rounds.run import open_run
from omniopd.rounds.start import start_run
from omniopd.sampling.responses import in_process
from omniopd.sampling.samplers import Student
from omniopd.teachers.briefing import Briefing, briefing_of
from omniopd.teachers.kinds import Kind
from omniopd.training.step import Step

ASK, REPLY = Message("user", "2+2="), Message("assistant", "4")
SECRET = "31415926535"
CONTEXT = [{"role": "system", "content": SECRET}, ASK.as_row(), REPLY.as_row()]
HINT = "{prompt} It is {answer}, since {solution}."
METHODS = {
    "sft": {"method": "sft"},
    "omniopd": {"method": "omniopd", "settings": {"num_chunks": 2, "num_replies": 2, "chunk_len": 2}},
    "fork": {"method": "fork", "settings": {"num_chunks": 2}},
}

# --- what it reads


def test_the_context_stands_before_the_prompt_and_the_hint_in_place_of_the_question():
    briefing = Briefing((ASK, REPLY), "{prompt} ({meta.solution})")
    prompt = Prompt("p", "3+5=", columns={"meta.solution": r"\frac{3}{5}"})
    assert briefing.messages(prompt) == (ASK, REPLY, Message("user", r"3+5= (\frac{3}{5})"))


def test_without_a_briefing_the_teacher_reads_what_the_student_does():
    prompt = Prompt("p", "3+5=", history=(Message("system", "Be brief."), ASK, REPLY))
    assert Briefing().messages(prompt) == prompt.messages


def test_there_is_one_system_message_and_it_is_first():
    of_teacher, of_prompt = Message("system", "Be exact."), Message("system", "Be brief.")
    prompt, question = Prompt("p", "3+5=", history=(of_prompt, ASK, REPLY)), Message("user", "3+5=")
    assert Briefing((of_teacher,)).messages(prompt) == (of_teacher, ASK, REPLY, question)
    assert Briefing((ASK, REPLY)).messages(prompt) == (of_prompt, ASK, REPLY, ASK, REPLY, question)


# --- the columns of a hint


def test_the_columns_of_a_hint_are_kept_with_the_prompts_that_are_made_again_for_another_hint(given: Project):
    plain = stage_settings(load_params(given.params_file), given.root)["prepare"]
    given.edit(teacher__hint="{prompt} {meta.how}")
    prepare(load_params(given.params_file), 0, Layout(given.root))

    prompts = read_prompts(Layout(given.root).prompts(0, "train"))
    assert {prompt.columns["meta.how"] for prompt in prompts} == {f"count {prompt.id}" for prompt in prompts}
    assert stage_settings(load_params(given.params_file), given.root)["prepare"] == plain | {
        "hint_columns": ["meta.how"]
    }


def test_an_arm_may_have_a_hint_of_its_own(given: Project):
    given.edit(
        arms={
            "omniopd": {"method": "omniopd"},
            "taught": {"method": "sft", "teacher": {"hint": "{prompt} {answer}"}},
        }
    )
    params = load_params(given.params_file)
    assert params.hint_columns == ["answer"]


def test_a_row_without_the_column_of_the_hint_is_refused_with_what_it_has(given: Project):
    given.edit(teacher__hint="{prompt} {meta.why}")
    with pytest.raises(
        DataError, match=r"prompts\.jsonl:1: field 'meta\.why' is None, and teacher\.hint shows it"
    ):
        prepare(load_params(given.params_file), 0, Layout(given.root))


@pytest.fixture
def given(tmp_path: Path) -> Project:
    project = make_project(tmp_path).edit(
        prompts__source="prompts.jsonl",
        prompts__num_train=20,
        prompts__num_validation=3,
        prompts__num_heldout=3,
    )
    rows = [
        {"id": f"{i}", "prompt": f"{i}+1=", "answer": str(i + 1), "meta": {"how": f"count {i}"}}
        for i in range(30)
    ]
    (project.root / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return project


# --- through whole runs


@pytest.mark.parametrize("arm", METHODS)
def test_every_method_asks_the_teacher_with_the_briefing_which_the_student_never_reads(
    project: Project, arm: str
):
    project.edit(
        arms={arm: METHODS[arm]}, train__num_rounds=2, teacher__kind="fakes:RecordingTeacher",
        teacher__tokenizer="student", teacher__context=CONTEXT, teacher__hint=HINT,
    )  # fmt: skip
    project.make_base()
    ASKED.clear()
    run_dir = run_plain(project.params_file, arm).parent.parent
    assert run_dir == project.run_dir(arm)
    run = open_run(run_dir)

    prompts = {prompt.id: prompt for prompt in run.prompts("train")}
    questions = {prompt.prompt: prompt for prompt in prompts.values()}
    assert len(ASKED) >= 2 * 12
    for request in ASKED:
        assert [message.as_row() for message in request.history] == CONTEXT
        question, _, rest = request.prompt.partition(" It is ")
        prompt = questions[question]
        assert rest == f"{prompt.answer}, since {prompt.columns['solution']}."

    files = RunLayout(run_dir)
    for round_ in range(2):
        for trajectory in read_records(files.trajectories(round_), Trajectory):
            prompt = prompts[trajectory.prompt_id]
            assert trajectory.messages == prompt.messages == (Message("user", trajectory.prompt),)
            assert trajectory.prompt_ids == run.models.chat.encode([prompt.prompt])[0]
            assert SECRET not in repr(trajectory)
        if arm != "sft":
            assert read_records(files.verdicts(round_), Verdict)


def test_stop_strings_and_sampling_reach_the_student_the_teacher_and_validation(
    project: Project, monkeypatch: pytest.MonkeyPatch
):
    project.edit(
        arms={"fork": METHODS["fork"]}, train__num_rounds=1, teacher__kind="fakes:RecordingTeacher",
        teacher__tokenizer="student", rollout__stop=["+", "9"], rollout__top_k=7,
    )  # fmt: skip
    project.make_base()
    ASKED.clear()
    decodings = []
    monkeypatch.setattr(
        steps,
        "rollouts",
        lambda *args, **asked: decodings.append(asked["decoding"]) or rollouts(*args, **asked),
    )
    monkeypatch.setattr(
        steps,
        "answered",
        lambda *args, **asked: decodings.append(asked["decoding"]) or answered(*args, **asked),
    )
    run = open_run(run_plain(project.params_file, "fork").parent.parent)

    stop = ("+", "9")
    assert set(decodings) == {Decoding(1.0, top_k=7, stop=stop), Decoding(0.0, stop=stop)}
    assert {request.stop for request in ASKED} == {stop}
    trajectories = read_records(run.files.trajectories(0), Trajectory)
    assert any(
        item.finish_reason == "stop" and item.response_ids[-1] != run.models.chat.end_id
        for item in trajectories
    )
    assert not any(set("+9") & set(item.response) for item in trajectories)


def test_a_probe_asks_with_the_context(project: Project, monkeypatch: pytest.MonkeyPatch):
    project.edit(teacher__context=CONTEXT, teacher__hint=HINT)
    project.make_base()
    params, layout = load_params(project.params_file), Layout(project.root)
    run = open_run(start_run(params, "omniopd", 0, layout))
    probed = []

    class Probing(Kind):
        is_api = True

        def probe(self, prompts, *, tokens_of, root):
            del tokens_of, root
            probed.extend(prompts)

    monkeypatch.setattr(teacher_probe, "kind_of", Probing)
    teacher_probe.probe_teacher(run)

    assert probed == [run.briefing.messages(prompt) for prompt in run.prompts("train")]
    assert all([message.as_row() for message in prompt[:-1]] == CONTEXT for prompt in probed)


def test_the_plan_counts_the_context_which_a_cache_reads_once(project: Project):
    project.edit(arms={"fork": METHODS["fork"]}, compute__num_threads=1)
    project.make_base()
    layout, prompts = Layout(project.root), task_prompts(load_params(project.params_file), 0)[0]["train"]
    alone = plan(load_params(project.params_file), layout, prompts).rows[0]
    project.edit(teacher__context=CONTEXT)
    briefed = plan(load_params(project.params_file), layout, prompts).rows[0]

    added = sum(len(message["content"]) for message in CONTEXT) + 4  # and two empty lines between messages
    assert briefed.one.calls == alone.one.calls
    assert briefed.one.prompt_tokens == pytest.approx(alone.one.prompt_tokens + added * alone.one.calls)
    # Of each response the first prefix is new but for the context, and the others begin with the one before.
    assert briefed.one.prompt_tokens - briefed.one.cached_tokens < alone.one.prompt_tokens


def test_the_teachers_entropy_is_measured_after_its_prompt(project: Project):
    project.edit(teacher__context=CONTEXT[1:], teacher__hint="{prompt}{solution};")
    project.make_base()
    params, layout = load_params(project.params_file), Layout(project.root)
    run = open_run(start_run(params, "omniopd", 0, layout))
    teacher, prompts = load_model(run.model_path("teacher")), run.prompts("heldout")
    by_text = {prompt.prompt: prompt for prompt in prompts}
    writer = in_process(Student(load_model(run.model_path("student")), run.models.chat, "w"), batch_size=4)
    rows = sampled_rows(writer, prompts, run.config, teacher_chat=run.models.teacher_chat)
    forks = [Forks(row, [0]) for row in rows]

    entropies = []
    for row in rows:
        prompt = by_text[run.models.decoder.text(row.prompt_ids)]
        [ids] = run.models.teacher_chat.encode([run.briefing.messages(prompt)])
        with torch.no_grad():
            logp = teacher(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        entropies.append(-float((logp.exp() * logp).sum()))
    assert entropy_at(teacher, forks, batch_size=4) == pytest.approx(
        sum(entropies) / len(entropies), rel=1e-4
    )


def test_the_white_box_teacher_reads_its_own_prompt_before_the_students_response(project: Project):
    project.edit(
        arms={"opd": {"method": "opd"}}, train__num_rounds=1, train__validate_every=1,
        teacher__context=[{"role": "user", "content": "1+1="}, {"role": "assistant", "content": "2"}],
        teacher__hint="{prompt}{solution};",
    )  # fmt: skip
    project.make_base()
    run = open_run(run_plain(project.params_file, "opd").parent.parent)
    trajectories = read_records(run.files.trajectories(0), Trajectory)
    student, teacher = load_model(run.model_path("student")), load_model(run.model_path("teacher"))
    briefing = briefing_of(run.config.teacher)
    by_id = {prompt.id: prompt for prompt in run.prompts("train")}

    expected = 0.0
    with torch.no_grad():
        for item in trajectories:
            prompt = by_id[item.prompt_id]
            assert briefing.messages(prompt)[-1].content == f"{prompt.prompt}{prompt.columns['solution']};"
            [teacher_ids] = run.models.teacher_chat.encode([briefing.messages(prompt)])
            logps = []
            for model, prompt_ids in ((student, item.prompt_ids), (teacher, teacher_ids)):
                logits = model(input_ids=torch.tensor([[*prompt_ids, *item.response_ids]])).logits[0]
                logps.append(logits[len(prompt_ids) - 1 : -1].log_softmax(-1))
            expected += float((logps[0].exp() * (logps[0] - logps[1])).sum())
    recorded = json.loads((run.files.root / "metrics.jsonl").read_text().splitlines()[0])
    assert recorded["loss/reverse_kl"] == pytest.approx(expected / len(trajectories), rel=1e-4)


@pytest.mark.parametrize("packed", [False, True])
def test_a_batch_of_the_teacher_has_the_same_responses_behind_other_prompts(packed: bool, model):
    rows = [
        Row("a", [1, 2], [3, 4, 5], teacher_prompt_ids=[6, 7, 8, 1, 2]),
        Row("b", [1], [9, 3], teacher_prompt_ids=[1]),
    ]
    batch = collate(rows, pad_id=0, packed=packed)
    assert batch.of_teacher is not None
    assert batch.of_teacher.token_ids.tolist() == batch.token_ids.tolist() == [3, 4, 5, 9, 3]
    assert batch.of_teacher.lengths == batch.lengths

    same = [Row(row.id, row.prompt_ids, row.response_ids, teacher_prompt_ids=row.prompt_ids) for row in rows]
    assert collate(same, pad_id=0, packed=packed).of_teacher is None
    # A teacher that is the student agrees with it after the same prompt only.
    step, method = Step(model, None, model), OPD()  # pyright: ignore[reportCallIssue]
    assert step(collate(same, pad_id=0, packed=packed), method, 1.0, 1.0)[0].item() == pytest.approx(
        0, abs=1e-6
    )
    assert step(batch, method, 1.0, 1.0)[0].item() > 1e-3
