"""Generation against transformers and against a loop without cache, batch or padding."""

import copy
import re
from collections import Counter
from collections.abc import Sequence
from itertools import count

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from omniopd.data.decoding import GREEDY, Decoding
from omniopd.errors import ModelError
from omniopd.models import reading
from omniopd.models.chat import Chat, StopStrings, excluded_ids
from omniopd.models.generation import Generation, generate
from omniopd.models.precision import TOLERANCE, is_rounding
from omniopd.models.reading import MIN_COMMON, nested, reading_of

PROMPTS = [[1, 10, 2, 11], [4, 11], [3, 10, 3, 10, 7, 11]]
NESTED = [[1, 10, 2, 11, 3], [1, 10], [4, 11], [1, 10, 2, 11], [4], [4, 1]]


def test_greedy_generation_equals_that_of_transformers_also_with_ragged_prompts(model, tokenizer):
    prompts = [[1, 10, 2, 11], [4, 11], [3, 10, 3, 10, 7, 11]]
    generations = generate(
        model, prompts, seeds=[[0]] * 3, max_new_tokens=9, decoding=GREEDY, stop_ids=Chat(tokenizer).stop_ids
    )
    for prompt, (sample,) in zip(prompts, generations, strict=True):
        out = model.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
                             do_sample=False, max_new_tokens=9)  # fmt: skip
        assert out[0, len(prompt) :].tolist() == sample.token_ids


def test_samples_follow_the_model_and_belong_to_their_seeds(model, tokenizer):
    prompt, count = [1, 10, 2, 11], 4000
    run = {"max_new_tokens": 1, "decoding": Decoding(), "stop_ids": Chat(tokenizer).stop_ids}
    (samples,) = generate(model, [prompt], seeds=[list(range(count))], **run)
    with torch.no_grad():
        p = model(input_ids=torch.tensor([prompt])).logits[0, -1].softmax(-1)
    shares = torch.bincount(torch.tensor([s.token_ids[0] for s in samples]), minlength=len(p)) / count
    assert (shares - p).abs().sum() / 2 < 0.03
    alone = [generate(model, [prompt], seeds=[[seed]], **run)[0][0] for seed in range(20)]
    assert alone == samples[:20]


def test_truncated_samples_follow_the_tokens_that_are_left(model, tokenizer):
    prompt, count = [1, 10, 2, 11], 4000
    decoding = Decoding(temperature=1.5, top_k=4, top_p=0.9)
    (samples,) = generate(
        model, [prompt], seeds=[list(range(count))], max_new_tokens=1, decoding=decoding,
        stop_ids=Chat(tokenizer).stop_ids,
    )  # fmt: skip
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt])).logits[0, -1] / 1.5
    likeliest = logits.topk(4)
    p = likeliest.values.softmax(-1)
    num_left = int((p.cumsum(-1) - p < 0.9).sum())
    expected = dict(
        zip(likeliest.indices.tolist(), likeliest.values[:num_left].softmax(-1).tolist(), strict=False)
    )
    shares = {token: n / count for token, n in Counter(s.token_ids[0] for s in samples).items()}
    assert shares == pytest.approx(expected, abs=0.03)


def test_a_stop_string_ends_a_sample_where_it_is_complete(model, tokenizer):
    chat = Chat(tokenizer)
    run = {
        "seeds": [list(range(200))],
        "max_new_tokens": 12,
        "decoding": Decoding(3.0),
        "stop_ids": chat.stop_ids,
    }
    (free,) = generate(model, PROMPTS[:1], **run)
    (ended,) = generate(model, PROMPTS[:1], **run, strings=chat.stop_strings([";", "=1"]))

    texts = [tokenizer.decode(sample.token_ids, skip_special_tokens=True) for sample in ended]
    assert sum(text.endswith((";", "=1")) for text in texts) > 50
    for sample, whole, text in zip(ended, free, texts, strict=True):
        assert sample.token_ids == whole.token_ids[: len(sample.token_ids)]
        assert not re.search(r";.|=1.", text)
        has_ended = text.endswith((";", "=1"))
        assert has_ended or sample == whole
        assert (sample.finish_reason == "stop") == (has_ended or whole.finish_reason == "stop")


def test_only_the_last_tokens_are_searched_for_a_stop_string(model, tokenizer):
    read: list[int] = []

    class Counted(StopStrings):
        def end(self, token_ids: Sequence[int]) -> bool:
            read.append(len(token_ids))
            return super().end(token_ids)

    strings = Counted(Chat(tokenizer).token_text, (";;;",))
    generate(
        model, PROMPTS[:1], seeds=[[1, 2]], max_new_tokens=40, decoding=Decoding(9.0), stop_ids=[0],
        strings=strings,
    )  # fmt: skip
    assert max(read) == strings.num_tokens < 40


@pytest.mark.parametrize("temperature", [1e-9, 1e-310])
def test_at_a_very_low_temperature_the_likeliest_token_is_sampled(model, tokenizer, temperature: float):
    run = {"max_new_tokens": 6, "stop_ids": Chat(tokenizer).stop_ids}
    ((greedy,),) = generate(model, PROMPTS[:1], seeds=[[0]], **run, decoding=Decoding(0.0))
    (samples,) = generate(model, PROMPTS[:1], seeds=[[1, 2, 3]], **run, decoding=Decoding(temperature))
    assert samples == [greedy] * 3


def _one_by_one(model, prompt: list[int], seed: int, max_new_tokens: int, end_id: int) -> Generation:
    """One sample, the whole sequence read anew for each token: the oracle."""
    generator = torch.Generator().manual_seed(seed)
    written: list[int] = []
    for _ in range(max_new_tokens):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *written]])).logits[0, -1]
        cumulative = logits.double().softmax(-1).cumsum(-1)
        uniform = torch.rand(1, generator=generator, dtype=torch.float64).item()
        written.append(int((cumulative <= uniform * cumulative[-1]).sum()))
        if written[-1] == end_id:
            return Generation(written, "stop")
    return Generation(written, "length")


@pytest.mark.parametrize("num_samples", [1, 3, 40])
@pytest.mark.parametrize("prompts", [PROMPTS, PROMPTS[:1], [PROMPTS[0], PROMPTS[0]], NESTED])
def test_samples_equal_those_written_one_by_one_whatever_their_neighbours(
    model, tokenizer, prompts: list[list[int]], num_samples: int
):
    end_id = Chat(tokenizer).end_id
    seeds = [[100 * i + n for n in range(num_samples)] for i in range(len(prompts))]
    generations = generate(
        model, prompts, seeds=seeds, max_new_tokens=12, decoding=Decoding(), stop_ids=[end_id]
    )
    for prompt, prompt_seeds, samples in zip(prompts, seeds, generations, strict=True):
        assert samples == [_one_by_one(model, prompt, seed, 12, end_id) for seed in prompt_seeds]
    if num_samples == 40:
        reasons = {sample.finish_reason for samples in generations for sample in samples}
        assert reasons == {"stop", "length"}, "both ends of a sample were tried"


def test_what_samples_have_in_common_is_read_once_and_nothing_is_read_for_a_finished_one(
    model, tokenizer, monkeypatch: pytest.MonkeyPatch
):
    rows_read = []
    reading_of(model)  # which reads a few tokens
    forward = model.forward

    def counted(*args, **kwargs):
        rows_read.append(len(kwargs["input_ids"]))
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", counted)
    (samples,) = generate(
        model, PROMPTS[:1], seeds=[list(range(60))], max_new_tokens=6, decoding=Decoding(),
        stop_ids=Chat(tokenizer).stop_ids,
    )  # fmt: skip
    expected = [len({tuple(s.token_ids[:n]) for s in samples if len(s.token_ids) > n}) for n in range(6)]
    assert rows_read == expected
    assert rows_read[:2] == [1, len({sample.token_ids[0] for sample in samples} - {Chat(tokenizer).end_id})]


def test_a_prompt_that_another_begins_with_is_read_with_it(model, tokenizer, monkeypatch: pytest.MonkeyPatch):
    read = []
    reading_of(model)
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda **kwargs: read.append(kwargs["input_ids"]) or forward(**kwargs)
    )

    generate(
        model, NESTED, seeds=[[0]] * 6, max_new_tokens=1, decoding=Decoding(), stop_ids=Chat(tokenizer).stop_ids
    )  # fmt: skip

    [ids] = read
    assert sorted(row[-5:] for row in ids.tolist()) == sorted(
        [[1, 10, 2, 11, 3], [15, 15, 15, 4, 11], [15, 15, 15, 4, 1]]
    )


def test_prompts_are_nested_in_one_that_continues_them():
    rows, row_of_prompt = nested(NESTED)

    assert sorted(rows) == [[1, 10, 2, 11, 3], [4, 1], [4, 11]]
    for prompt, row in zip(NESTED, row_of_prompt, strict=True):
        assert rows[row][: len(prompt)] == prompt
    assert nested([]) == ([], [])
    assert nested([[3], [3]]) == ([[3]], [0, 0])


def test_prompts_and_seeds_that_do_not_match_are_refused(model):
    with pytest.raises(ValueError, match="same number of seeds"):
        generate(model, PROMPTS, seeds=[[0], [1]], max_new_tokens=1, decoding=Decoding(), stop_ids=[15])


@pytest.mark.parametrize(
    "decoding", [Decoding(), GREEDY, Decoding(temperature=2.0, top_k=4)], ids=["sampled", "greedy", "top_k"]
)
def test_ids_that_are_no_token_are_never_sampled_and_probabilities_stay_the_models(
    model, tokenizer, decoding: Decoding
):
    padded = copy.deepcopy(model)
    padded.resize_token_embeddings(len(tokenizer) + 30, mean_resizing=False)
    excluded = excluded_ids(tokenizer, len(tokenizer) + 30)
    assert excluded == tuple(range(len(tokenizer), len(tokenizer) + 30))
    with torch.no_grad():
        padded.get_input_embeddings().weight[len(tokenizer) :] = padded.get_input_embeddings().weight[3]
    run = {
        "seeds": [list(range(40))],
        "max_new_tokens": 6,
        "decoding": decoding,
        "stop_ids": [15],
        "scored": True,
    }
    (free,), (samples,) = (generate(padded, PROMPTS[:1], **run, excluded=some) for some in ((), excluded))

    if decoding != GREEDY:
        assert any(id in excluded for sample in free for id in sample.token_ids), "they are likely without"
    for sample in samples:
        assert not set(sample.token_ids) & set(excluded)
        with torch.no_grad():
            logits = padded(input_ids=torch.tensor([[*PROMPTS[0], *sample.token_ids]])).logits[0]
        logps = logits.log_softmax(-1)[len(PROMPTS[0]) - 1 : -1]
        expected = logps[torch.arange(len(sample.token_ids)), sample.token_ids].tolist()
        assert sample.logps == pytest.approx(expected, abs=1e-4)


def test_a_model_whose_cache_misleads_it_is_refused_by_its_type(model):
    other = copy.deepcopy(model)
    for name in [name for name in vars(other) if name.startswith("_omniopd")]:
        delattr(other, name)
    other.model.register_forward_pre_hook(
        lambda module, inputs, named: (inputs, named | {"past_key_values": None}),  # noqa: ARG005
        with_kwargs=True,
    )
    with pytest.raises(ModelError, match="qwen3 does not generate from a cache what it computes without"):
        generate(other, PROMPTS, seeds=[[0]] * 3, max_new_tokens=2, decoding=GREEDY, stop_ids=[15])


def test_a_model_that_amplifies_rounding_is_read_but_not_where_its_cache_misleads(model):
    """As a student whose training collapsed: the order of its sums changes its logits by more than TOLERANCE."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_key_value_heads": 1}
    deep = Qwen3ForCausalLM(Qwen3Config(vocab_size=32, num_hidden_layers=16, head_dim=16, **sizes)).eval()
    with torch.inference_mode():
        for layer in deep.model.layers:
            layer.self_attn.q_norm.weight *= 100  # sharp attention
        doubtful = 3 * TOLERANCE[torch.float32]
        assert is_rounding(doubtful, deep, lambda: reading._expected(deep))
        assert not is_rounding(doubtful, model, lambda: reading._expected(model))
        assert not is_rounding(0.02, deep, lambda: pytest.fail("too large for any rounding"))

    deep.model.register_forward_pre_hook(
        lambda module, inputs, named: (inputs, named | {"past_key_values": None}),  # noqa: ARG005
        with_kwargs=True,
    )
    with pytest.raises(ModelError, match="does not generate from a cache"):
        reading_of(deep)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("decoding", [Decoding(), GREEDY, Decoding(top_k=2), Decoding(top_p=0.5)], ids=str)
def test_logits_that_are_no_numbers_are_refused_at_any_step(model, decoding: Decoding, value: float):
    """One logit of one of several samples, in the first or the last step, also beside ids that are never chosen."""
    run = {"max_new_tokens": 5, "decoding": decoding, "stop_ids": [17], "excluded": [13]}
    for step in (0, 4):
        other, calls = copy.deepcopy(model), count()
        reading_of(other)

        def broken(module, inputs, out, *, calls=calls, step=step):  # noqa: ARG001
            if next(calls) == step:
                out.logits[-1, -1, 7] = value

        other.register_forward_hook(broken)
        with pytest.raises(ModelError, match="its logits hold NaN or infinity; take another copy"):
            generate(other, PROMPTS, seeds=[[0, 1]] * 3, **run)
    generate(model, PROMPTS, seeds=[[0, 1]] * 3, **run)


def test_a_common_prefix_of_many_tokens_is_read_once(model, tokenizer, monkeypatch: pytest.MonkeyPatch):
    reading_of(model)
    read = []
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda **kwargs: read.append(kwargs["input_ids"].shape) or forward(**kwargs)
    )
    common = PROMPTS[0] * (MIN_COMMON // 4)
    prompts = [common + PROMPTS[1], common + PROMPTS[2], common + PROMPTS[2][:2]]
    run = {
        "seeds": [[0, 1]] * 3,
        "max_new_tokens": 1,
        "decoding": Decoding(),
        "stop_ids": Chat(tokenizer).stop_ids,
    }
    generate(model, prompts, **run)
    generate(model, [prompt[4:] for prompt in prompts], **run)

    assert read == [(1, MIN_COMMON), (2, len(PROMPTS[2])), (2, MIN_COMMON - 4 + len(PROMPTS[2]))]
