"""plan: an estimate of the requests that the runs of params.yaml will send to their teacher."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from omniopd.config import Params, RunConfig, resolve
from omniopd.data.conversation import plain_text
from omniopd.data.layout import Layout
from omniopd.data.prompts import read_prompts
from omniopd.errors import ConfigError, DataError
from omniopd.inputs.base import model_in_use
from omniopd.methods import Fork, Method, OmniOPD
from omniopd.models.loading import (
    have_same_vocabulary,
    load_chat,
    load_model,
    load_tokenizer,
    weights_digest,
)
from omniopd.models.reading import common_len
from omniopd.models.threads import use_threads
from omniopd.rounds.rollout import rollouts, scored
from omniopd.sampling.responses import in_process
from omniopd.sampling.samplers import Student
from omniopd.teachers import kind_of
from omniopd.teachers.briefing import briefing_of
from omniopd.teachers.estimate import Estimate, Sampled, TeacherProfile, estimate

NUM_PROMPTS = 64  # sampled, as an estimate of every round


@dataclass(frozen=True)
class Planned:
    """One row of the plan: a run of an arm or of an alternative to the arms, and the number of such runs.

    >>> Planned("omniopd-fork", 3, Estimate(10240, 3e5, 2e5, 81920)).num_runs
    3
    """

    name: str
    num_runs: int  # 0 for an alternative
    one: Estimate  # of one run


def plan(
    params: Params, layout: Layout, *, arms: Sequence[str] = (), seed: int | None = None
) -> list[Planned]:
    """What each arm asks in one run, and the number of its runs, sweeps included.

    The student of `base` writes NUM_PROMPTS responses, and each method chooses the positions to ask about.

    Raises:
        ConfigError: an arm that does not exist.
        DataError: `prepare` or `base` has not run.
    """
    use_threads(params.compute.num_threads)
    seed = params.seeds[0] if seed is None else seed
    if not (path := layout.prompts(seed, "train")).is_file():
        raise DataError(
            f"{path}: no such file; run `omniopd prepare --seed {seed}`, then `omniopd base --seed {seed}`"
        )
    configs = {name: resolve(params, name, seed) for name in arms or params.every_arm}
    student_path = model_in_use(layout, seed, "student", is_local=True)
    model = load_model(student_path)
    chat = load_chat(student_path, params.models.chat_template_kwargs)
    student = Student(model, chat, weights_digest(model))

    def has_students_vocabulary() -> bool:
        path = model_in_use(layout, seed, "teacher", is_local=True)
        return have_same_vocabulary(chat.tokenizer, load_tokenizer(path))

    profile = kind_of(params.teacher).profile(has_students_vocabulary=has_students_vocabulary)
    samples = {name: _sample(config, student, layout, profile) for name, config in configs.items()}
    rows = [
        Planned(name, _num_runs(params, name), _one_run(config, config.method, samples[name], profile))
        for name, config in configs.items()
    ]
    first = next(iter(configs))
    rows += [
        Planned(name, 0, _one_run(configs[first], method, samples[first], profile))
        for name, method in _alternatives(params).items()
    ]
    return [row for row in rows if row.one.calls]


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


def _sample(config: RunConfig, student: Student, layout: Layout, profile: TeacherProfile) -> list[Sampled]:
    prompts = read_prompts(layout.prompts(config.seed, "train"))[:NUM_PROMPTS]
    if not prompts:
        raise ConfigError("prompts.num_train: there are no prompts to sample; give some")
    responses = rollouts(
        in_process(student, batch_size=config.rollout.batch_size),
        prompts,
        round_=0,
        num_samples=1,
        max_new_tokens=config.rollout.max_new_tokens,
        decoding=config.rollout.decoding,
        seed=config.seed,
    )
    responses = scored(student, responses, batch_size=config.rollout.batch_size)
    briefing, by_id = briefing_of(config.teacher), {prompt.id: prompt for prompt in prompts}
    asked = [briefing.messages(by_id[item.prompt_id]) for item in responses]
    # In the student's template: an API's is not known, and a local teacher's differs by a few tokens.
    prompt_ids = student.chat.encode(asked)
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
