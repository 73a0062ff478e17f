"""plan: an estimate of the requests that the runs of params.yaml will send to their teacher."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from typing import Any

from omniopd.config import Params, RunConfig, resolve
from omniopd.data.conversation import plain_text
from omniopd.data.layout import Layout
from omniopd.data.prompts import Prompt
from omniopd.data.records import Trajectory
from omniopd.inputs.base import planned_chat, planned_model
from omniopd.methods import Fork, Method, OmniOPD
from omniopd.models.chat import Chat
from omniopd.models.loading import have_same_vocabulary, load_model, weights_digest
from omniopd.models.reading import common_len
from omniopd.models.threads import use_threads
from omniopd.rounds.rollout import rollouts, scored
from omniopd.sampling.responses import in_process
from omniopd.sampling.samplers import Student, batches
from omniopd.teachers import kind_of
from omniopd.teachers.briefing import briefing_of
from omniopd.teachers.estimate import Estimate, Sampled, TeacherProfile, estimate

NUM_PROMPTS = 16  # sampled, as an estimate of every round
AT_ONCE = 4  # prompts in a batch
ENOUGH_S = 45.0  # no further batch is sampled after that


@dataclass(frozen=True)
class Planned:
    """One row of the plan: a run of an arm or of an alternative to the arms, and the number of such runs.

    >>> Planned("omniopd-fork", 3, Estimate(10240, 3e5, 2e5, 81920)).num_runs
    3
    """

    name: str
    num_runs: int  # 0 for an alternative
    one: Estimate  # of one run


@dataclass(frozen=True)
class Plan:
    """The rows, and what they are based on: so many sampled responses, or 0 of the greatest length."""

    rows: list[Planned]
    num_sampled: int


def plan(
    params: Params,
    layout: Layout,
    prompts: Sequence[Prompt],
    *,
    arms: Sequence[str] = (),
    seed: int | None = None,
    num_prompts: int = NUM_PROMPTS,
    on_sampled: Callable[[int], None] = lambda count: None,  # noqa: ARG005
) -> Plan:
    """What each arm asks in one run about these prompts, and the number of its runs, sweeps included.

    The student writes responses to num_prompts of them, and each method chooses the positions to ask about. Where there
    is no student yet, or num_prompts is 0, every response is assumed to be as long as rollout.max_new_tokens, and
    audited at its end: an upper bound. on_sampled gets the number of responses so far.

    Raises:
        ConfigError: an arm that does not exist.
    """
    use_threads(params.compute.num_threads)
    seed = params.seeds[0] if seed is None else seed
    configs = {name: resolve(params, name, seed) for name in arms or params.every_arm}
    chat = planned_chat(params, seed, layout, "student")
    path = planned_model(params, seed, layout, "student") if num_prompts else None
    student = None if path is None else _student(path, chat)

    def has_students_vocabulary() -> bool:
        return have_same_vocabulary(chat.tokenizer, planned_chat(params, seed, layout, "teacher").tokenizer)

    profile = kind_of(params.teacher).profile(has_students_vocabulary=has_students_vocabulary)
    written: dict[Any, list[Trajectory]] = {}  # arms with the same rollouts share them
    samples = {}
    for name, config in configs.items():
        rollout = config.rollout
        how = (rollout.decoding, rollout.max_new_tokens)
        if how not in written and student is not None:
            written[how] = _responses(config, student, prompts[:num_prompts], on_sampled)
        elif how not in written:
            written[how] = [_longest(config, chat, prompt) for prompt in prompts[:NUM_PROMPTS]]
        samples[name] = _sampled(config, chat, prompts, written[how], profile)
    rows = [
        Planned(name, _num_runs(params, name), _one_run(config, config.method, samples[name], profile))
        for name, config in configs.items()
    ]
    first = next(iter(configs))
    rows += [
        Planned(name, 0, _one_run(configs[first], method, samples[first], profile))
        for name, method in _alternatives(params).items()
    ]
    num_sampled = 0 if student is None else len(samples[first])
    return Plan([row for row in rows if row.one.calls], num_sampled)


def as_json(rows: Sequence[Planned], params: Params, layout: Layout) -> list[dict[str, Any]]:
    """The rows of `omniopd plan --json`."""
    prices = kind_of(params.teacher).prices(layout.root)
    limits = {
        "requests_per_minute": params.teacher.requests_per_minute,
        "tokens_per_minute": params.teacher.tokens_per_minute,
    }
    return [
        {
            "arm": row.name,
            "runs": row.num_runs,
            "one_run": {
                **asdict(row.one),
                "cost_usd": row.one.cost_usd(prices, with_cache=False),
                "cost_usd_with_prefix_cache": row.one.cost_usd(prices, with_cache=True),
                "minutes_at_the_limits": row.one.minutes(**limits),
            },
        }
        for row in rows
    ]


def _num_runs(params: Params, name: str) -> int:
    """Runs of an arm in the whole pipeline, those of its sweep included."""
    seeds = params.seeds if name in params.arms else params.ablation_seeds
    num_swept = len(params.sweep.seeds) * len(params.sweep.lrs) if params.is_swept(name) else 0
    return len(seeds) + num_swept


def _alternatives(params: Params) -> dict[str, Method]:
    """The published form, and the fork posterior with the fewest tokens and with half the calls."""
    published, fork = params.methods.omniopd, params.methods.fork
    return {
        "published form": OmniOPD.model_validate(published.model_dump()),
        "fork, M 8, C 1": Fork.model_validate({**fork.model_dump(), "num_chunks": 8, "chunk_len": 1}),
        "fork, M 4, C 4": Fork.model_validate({**fork.model_dump(), "num_chunks": 4, "chunk_len": 4}),
    }


def _student(path: str, chat: Chat) -> Student:
    model = load_model(path)
    return Student(model, chat, weights_digest(model))


def _responses(
    config: RunConfig, student: Student, prompts: Sequence[Prompt], on_sampled: Callable[[int], None]
) -> list[Trajectory]:
    """The student's responses to the prompts, with their entropies; fewer where ENOUGH_S have passed."""
    responses: list[Trajectory] = []
    writer, end = in_process(student, batch_size=AT_ONCE), time.monotonic() + ENOUGH_S
    for group in batches(prompts, AT_ONCE):
        written = rollouts(
            writer,
            group,
            round_=0,
            num_samples=1,
            max_new_tokens=config.rollout.max_new_tokens,
            decoding=config.rollout.decoding,
            seed=config.seed,
        )
        responses += scored(student, written, batch_size=AT_ONCE)
        on_sampled(len(responses))
        if time.monotonic() > end:
            break
    return responses


def _longest(config: RunConfig, chat: Chat, prompt: Prompt) -> Trajectory:
    """A response as long as can be, of the prompt's words, that is least certain at its end."""
    [prompt_ids] = chat.encode([prompt.messages])
    length = config.rollout.max_new_tokens
    ids = list(islice(cycle(prompt_ids), length))
    return Trajectory(
        id=prompt.id, round=0, prompt_id=prompt.id, prompt=prompt.prompt, prompt_ids=prompt_ids,
        response=str(chat.tokenizer.decode(ids)), response_ids=ids, finish_reason="length",
        temperature=config.rollout.temperature, seed=0, student="",
        entropies=[(n + 1) / length for n in range(length)], logps=[-1.0] * length,
    )  # fmt: skip


def _sampled(
    config: RunConfig, chat: Chat, prompts: Sequence[Prompt], responses: Sequence[Trajectory],
    profile: TeacherProfile,
) -> list[Sampled]:  # fmt: skip
    """The responses with the tokens of their prompts as the arm's teacher reads them."""
    briefing = briefing_of(config.teacher)
    asked = [briefing.messages(prompt) for prompt, _ in zip(prompts, responses, strict=False)]
    # In the student's template: an API's is not known, and a local teacher's differs by a few tokens.
    prompt_ids = chat.encode(asked)
    counts = [
        profile.count(plain_text(messages), ids) for messages, ids in zip(asked, prompt_ids, strict=True)
    ]
    num_shared = common_len(prompt_ids) if briefing.context else 0
    return [
        Sampled(item, count, num_shared * count / len(ids))
        for item, count, ids in zip(responses, counts, prompt_ids, strict=True)
    ]


def _one_run(
    config: RunConfig, method: Method, sample: Sequence[Sampled], profile: TeacherProfile
) -> Estimate:
    rollout = config.rollout
    mean = estimate(sample, method, num_samples=rollout.num_samples, profile=profile)
    return mean * (config.train.num_rounds * rollout.num_prompts * rollout.num_samples)
