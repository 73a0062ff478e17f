"""Trajectories as the report's page holds them: tokens' texts, targets, failures, and what is left out."""

import math
from dataclasses import replace

import pytest
import stories
from examples import METHODS, annotated
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from omniopd.data.records import Reward
from omniopd.methods import SFT, Fork, Method, OmniOPD
from omniopd.models.chat import Chat
from omniopd.models.text import TextDecoder
from omniopd.report.page.readings import readings
from omniopd.report.page.story import AuditedTrajectory


def byte_decoder() -> TextDecoder:
    """A token a byte: characters beyond ASCII take several."""
    vocabulary = {token: i for i, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)
    return TextDecoder(Chat(fast))


def test_the_text_of_a_character_of_several_tokens_is_at_the_last_of_them():
    decoder = byte_decoder()
    ids = decoder.read_alone("a😀é.")

    assert decoder.pieces(None, ids) == ["a", "", "", "", "😀", "", "é", "."]


def test_part_of_a_character_is_shown_as_such_and_hides_no_token_after_it():
    decoder = byte_decoder()
    ids = decoder.read_alone("😀")[:2] + decoder.read_alone("abcd")

    texts = decoder.pieces(None, ids)

    assert texts == ["", "\ufffd", "a", "b", "c", "d"]
    assert "".join(texts) == decoder.text(ids)


def test_each_prompt_and_each_tokens_text_is_kept_once_and_the_response_is_made_of_them():
    items = stories.few()

    content = readings(items, OmniOPD(), stories.decoder())

    assert len(content["prompts"]) == len(set(content["prompts"])) == 4
    assert len(content["tokens"]) == len(set(content["tokens"]))
    for row, item in zip(content["rows"], items, strict=True):
        assert "".join(content["tokens"][place] for place in row["tokens"]) == item.trajectory.response
        assert content["prompts"][row["prompt"]] == item.trajectory.prompt
        assert "response" not in row
        assert len(row["entropies"]) == len(row["logps"]) == row["len"] == len(item.trajectory.response_ids)


def test_without_a_tokenizer_the_response_is_kept_whole():
    item = stories.few()[0]

    (row,) = readings([item], OmniOPD(), None)["rows"]

    assert row["response"] == item.trajectory.response
    assert not row.keys() & {"tokens", "entropies", "logps"}


def test_a_response_that_is_not_the_text_of_its_tokens_is_kept_whole():
    item = stories.few()[0]
    other = replace(item, trajectory=replace(item.trajectory, response="something else"))

    (row,) = readings([other], OmniOPD(), stories.decoder())["rows"]

    assert (row["response"], "tokens" in row) == ("something else", False)


def test_what_a_cut_left_of_a_character_hides_no_tokens():
    item = stories.few()[0]
    decoder = byte_decoder()
    ids = [*decoder.read_alone("ab"), *decoder.read_alone("😀")[:2]]
    cut = replace(
        item.trajectory, response="ab", response_ids=ids, finish_reason="length", entropies=[0.1] * 4,
        logps=[-0.1] * 4,
    )  # fmt: skip

    content = readings([AuditedTrajectory(cut)], OmniOPD(), decoder)

    (row,) = content["rows"]
    assert [content["tokens"][place] for place in row["tokens"]] == ["a", "b", "", "\ufffd"]


def test_a_target_is_the_methods_own_and_a_failure_has_none():
    item = stories.few()[1]
    method = OmniOPD(alpha=2.0)

    agreeing, other, failed = readings([item], method, None)["rows"][0]["audits"]

    assert (agreeing["what"], agreeing["value"]) == (
        "target",
        pytest.approx((2.9 + 2.0 * 0.5) / (3 + 2.0), abs=1e-4),
    )
    assert other["value"] == pytest.approx((0.3 + 1.0) / 5.0, abs=1e-4)
    assert (failed["failure"], "value" in failed, failed["replies"]) == ("timeout", False, [])
    assert agreeing["likeness"] == [1000, 1000, 900]


def test_a_target_of_zero_is_a_number_and_not_left_out():
    item = stories.few()[0]
    nothing = replace(item.verdicts[1], k_sem=0.0, similarities=[0.0, 0.0, 0.0])

    (row,) = readings([AuditedTrajectory(item.trajectory, [nothing])], OmniOPD(alpha=0.0), None)["rows"]

    assert row["audits"][0]["value"] == 0.0


def test_of_a_fork_the_posterior_of_the_written_token_and_the_replies_tokens_are_kept():
    item = stories.few()[0]
    first = item.trajectory.response_ids[0]
    other = first + 1
    verdict = replace(item.verdicts[0], chunk_len=1, num_replies=3, reply_ids=[[first], [other], [first]])

    content = readings(
        [AuditedTrajectory(item.trajectory, [verdict])], Fork(alpha=1.0, num_replies=3), stories.decoder()
    )

    (audit,) = content["rows"][0]["audits"]
    believed = math.exp(item.trajectory.logps[0])
    assert (audit["what"], audit["value"]) == ("posterior", pytest.approx((2 + believed) / 4, abs=1e-4))
    written = item.trajectory.response[0]
    assert [content["tokens"][places[0]] for places in audit["votes"]] == [
        written,
        stories.ALPHABET[other],
        written,
    ]


def test_a_place_without_a_vote_has_no_posterior():
    item = stories.few()[0]

    (row,) = readings([AuditedTrajectory(item.trajectory, item.verdicts[:1])], Fork(), None)["rows"]

    assert "value" not in row["audits"][0]


def test_a_method_without_verdicts_has_trajectories_and_rewards_alone():
    item = stories.few()[0]

    (row,) = readings([replace(item, verdicts=(), reward=Reward("r", None, 0.5))], SFT(), None)["rows"]

    assert row["audits"] == []
    assert row["reward"] == {"answer": None, "value": 0.5}


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_every_method_has_readings_and_those_with_verdicts_a_share(method: Method):
    items = [AuditedTrajectory(item.trajectory, item.verdicts) for item in annotated(method)]

    audits = [audit for row in readings(items, method, None)["rows"] for audit in row["audits"]]

    assert bool(audits) == ("verdicts" in method.needs)
    values = [audit["value"] for audit in audits if "value" in audit]
    assert bool(values) == bool(audits)
    assert all(0 <= value <= 1 for value in values)


def test_what_is_no_number_is_kept_as_none():
    item = stories.few()[0]
    broken = replace(item.trajectory, entropies=[math.nan, math.inf, *item.trajectory.entropies[2:]])

    (row,) = readings([AuditedTrajectory(broken)], OmniOPD(), stories.decoder())["rows"]

    assert row["entropies"][:2] == [None, None]
    assert row["entropies"][2] == round(1000 * broken.entropies[2])
