"""Every architecture of docs/models.md: read, scored, trained and saved as a plain forward pass has it, or refused."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from architectures import ARCHITECTURES, NUM_TOKENS, WINDOW, tiny
from projects import REPOSITORY
from quick import quick
from torch import Tensor
from transformers import PreTrainedModel

from omniopd.config import Lora, Train
from omniopd.data.decoding import Decoding
from omniopd.data.rows import Row, collate
from omniopd.errors import ModelError
from omniopd.methods import SFT
from omniopd.models.adapters import adapter_off
from omniopd.models.generation import generate
from omniopd.models.loading import weights_digest
from omniopd.models.reading import MIN_COMMON, reading_of
from omniopd.models.scoring import check_head, check_packing, check_rows, response_states, score
from omniopd.training.checkpoints import load_student, save_checkpoint
from omniopd.training.memory import count_parameters
from omniopd.training.trainer import Trainer

QUICK = (
    "qwen3", "llama", "gemma3_text", "gpt_oss", "deepseek_v3", "mistral", "gpt2", "mpt", "llama4_text", "qwen3_5_text",
    "bamba", "rwkv", "deepseek_v32",
)  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # gpt_bigcode
SETTINGS = Train(num_rounds=4, lr=1e-2, warmup_rounds=0, schedule="constant", batch_size=2)


def _drawn(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(3, NUM_TOKENS, (length,), generator=generator).tolist() for length in lengths]


LONG, OTHER, SHARED = _drawn(2 * WINDOW + 2, WINDOW + 3, MIN_COMMON + 6)
BATCHES = {
    "of one length": [LONG[: len(OTHER)], OTHER],
    "ragged": [LONG, OTHER, [7, 9, 11]],
    "nested": [LONG, LONG[:3], LONG[:9], OTHER, OTHER[:4], LONG[:-1], [7]],
    "sharing a long prefix": [SHARED + LONG, SHARED + OTHER, SHARED + LONG[:5], [*SHARED, 7]],
}
accepted = {name: name for name, of in ARCHITECTURES.items() if not of.refusal}
each_accepted = pytest.mark.parametrize(
    "name", quick(accepted, keep=[name for name in QUICK if name in accepted])
)
refused = {name: name for name, of in ARCHITECTURES.items() if of.refusal}


@torch.inference_mode()
def plain(model: PreTrainedModel, ids: list[int]) -> Tensor:
    """(L, V) log-probabilities of the token after each, without a cache, a batch or padding."""
    return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float().log_softmax(-1)


def expected_logps(model: PreTrainedModel, prompt: list[int], response: Sequence[int]) -> list[float]:
    logps = plain(model, [*prompt, *response])[len(prompt) - 1 : -1]
    return logps[torch.arange(len(response)), torch.tensor(response)].tolist()


@each_accepted
def test_samples_from_a_cache_have_the_probabilities_of_a_plain_forward_pass(name: str):
    model = tiny(name)
    reading = reading_of(model)
    assert reading.nests == (ARCHITECTURES[name].group != "states")
    for what, prompts in BATCHES.items():
        seeds = [[10 * i, 10 * i + 1] for i in range(len(prompts))]
        generations = generate(
            model, prompts, seeds=seeds, max_new_tokens=2 * WINDOW, decoding=Decoding(), stop_ids=[2], scored=True
        )  # fmt: skip
        for prompt, samples in zip(prompts, generations, strict=True):
            for sample in samples:
                expected = expected_logps(model, prompt, sample.token_ids)
                assert sample.logps == pytest.approx(expected, abs=1e-3), what


@each_accepted
def test_scores_equal_those_of_a_plain_forward_pass_also_where_packed(name: str):
    model = tiny(name)
    check_head(model)
    check_rows(model)
    rows = [Row(str(i), ids[:2], ids[2:]) for i, ids in enumerate([LONG, OTHER, LONG[:4], OTHER[:7]])]
    for row, (_, logps) in zip(rows, score(model, rows), strict=True):
        assert logps == pytest.approx(expected_logps(model, row.prompt_ids, row.response_ids), abs=1e-3)
    if not ARCHITECTURES[name].packs:
        with pytest.raises(ModelError, match=r"set train\.packing: false"):
            check_packing(model)
        return
    check_packing(model)
    with torch.inference_mode():
        apart, packed = (
            response_states(model, collate(rows, pad_id=0, packed=packed)).hidden for packed in (False, True)
        )
    assert torch.allclose(apart, packed, atol=1e-4 * float(apart.abs().max()))


@each_accepted
@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=4, targets="all-linear")], ids=["whole", "lora"])
def test_a_step_is_trained_saved_and_loaded_again(name: str, lora: Lora | None, tokenizer, tmp_path: Path):
    settings = SETTINGS.model_copy(update={"lora": lora})
    made = tiny(name)
    made.save_pretrained(tmp_path / "base")
    base, before = str(tmp_path / "base"), plain(made, LONG)
    trained = sum(weight.numel() for weight in made.parameters() if weight.requires_grad)
    assert count_parameters(made.config) == trained
    student = load_student(base, base, settings, seed=0)
    assert torch.allclose(plain(student, LONG), before, atol=1e-5)

    trainer = Trainer(student, settings)
    report = trainer.step([Row("a", LONG[:4], LONG[4:]), Row("b", OTHER[:3], OTHER[3:])], SFT())
    after = plain(student, LONG)
    assert report["grad_norm"] > 0
    assert not torch.allclose(after, before, atol=1e-3)

    save_checkpoint(tmp_path / "checkpoint", trainer, tokenizer, key="k", base=base)
    again = load_student(base, str(tmp_path / "checkpoint"), settings, seed=1)
    assert weights_digest(again) == weights_digest(student)
    assert torch.allclose(plain(again, LONG), after, atol=1e-5)
    if lora is not None:
        with adapter_off(again):
            assert torch.allclose(plain(again, LONG), before, atol=1e-5)


@pytest.mark.parametrize("name", quick(refused, keep=[name for name in QUICK if name in refused]))
def test_what_cannot_be_read_exactly_is_refused_with_its_name(name: str):
    model, of = tiny(name), ARCHITECTURES[name]

    def use() -> None:
        check_head(model)
        generate(model, [[7], [8, 9]], seeds=[[0], [0]], max_new_tokens=2, decoding=Decoding(), stop_ids=[2])

    with pytest.raises(ModelError) as error:
        use()
    line = str(error.value)
    assert of.refusal in line
    assert (name in line) or (type(model).__name__ in line)
    assert "\n" not in line


def test_the_docs_have_this_table():
    """Rows of docs/models.md name the architectures whose prefixes, windows and packing they describe."""
    text = (REPOSITORY / "docs" / "models.md").read_text(encoding="utf-8").partition("## The self-test")[0]
    described: dict[str, tuple[str, str]] = {}
    for names, reading, packs in re.findall(r"^\| ([a-z].*?) \| (.*?) \| (yes|no) \|$", text, re.M):
        for name in re.split(r", | and ", names.removesuffix(" with windows")):
            described[f"{name}-sliding" if name in described else name] = (reading, packs)
    described["falcon-alibi"] = described["falcon"]
    refusals = re.findall(r"^\| ([a-z0-9_, -]+) \| [^|]* \|$", text, re.M)
    refusals = {name for names in refusals for name in names.split(", ")} - {"architectures"}

    assert described.keys() == accepted.keys()
    assert refusals == refused.keys()
    for name, (reading, packs) in described.items():
        of = ARCHITECTURES[name]
        assert (packs == "yes") == of.packs, name
        assert ("by itself" in reading) == (of.group == "states"), name
        assert ("windows" in reading) == (of.group == "windows"), name
