"""Which answers are right, and how sure one can be of their share."""

import pytest

from omniopd.config import Evaluation
from omniopd.data.decoding import Decoding
from omniopd.data.prompts import Prompt
from omniopd.errors import DataError
from omniopd.grading import answer_of
from omniopd.grading.accuracy import accuracy_of, answered, wilson_interval
from omniopd.models.chat import Chat
from omniopd.models.generation import Generation
from omniopd.sampling.responses import Writer
from omniopd.sampling.samplers import Sample
from omniopd.training.pretrain import character_tokenizer

TOKENIZER = character_tokenizer("0123456789+=;>")
END = TOKENIZER.eos_token_id


@pytest.mark.parametrize(
    ("num_correct", "num_prompts", "interval"),
    [
        # Wilson's score interval at z = 1.96; the first two are Newcombe (1998), table I, method 3.
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (20, 20, (0.8389, 1.0)),
    ],
)
def test_the_interval_is_wilsons(num_correct: int, num_prompts: int, interval: tuple[float, float]):
    assert wilson_interval(num_correct, num_prompts) == pytest.approx(interval, abs=5e-5)


def test_the_answer_is_the_first_group_of_the_last_match():
    assert answer_of("5+4;>10059", r">(.*)$") == "10059"
    assert answer_of(">1;>2", r">(\d)") == "2"
    assert answer_of("no mark", r">(.*)$") is None


def test_a_pattern_is_not_searched_in_a_thought_unless_it_names_the_tag():
    assert answer_of("<think>5+4;>1</think>", r">(\d)") is None
    assert answer_of("<think>5+4;>1</think>;>2", r">(\d)") == "2"
    assert answer_of("<think>;>1</think>2", r"</think>(\d)") == "2"


class Scripted:
    """A sampler that writes one text, whatever it is asked."""

    def __init__(self, text: str, finish_reason: str):
        ids = TOKENIZER.encode(text)
        self._generation = Generation([*ids, END] if finish_reason == "stop" else ids, finish_reason)

    def sample(self, prompts, *, seeds, **_) -> list[list[Sample]]:
        return [
            [Sample(self._generation, "w") for _ in prompt_seeds]
            for _, prompt_seeds in zip(prompts, seeds, strict=True)
        ]


def _measure(text: str, finish_reason: str, answer: str | None = "46") -> float:
    """The accuracy of a model that writes `text`."""
    settings = Evaluation(grader="pattern", answer_pattern=r">(.*)$", batch_size=1)
    writer, prompts = (
        Writer(Scripted(text, finish_reason), Chat(TOKENIZER), "w"),
        [Prompt("p", "1+2=", answer)],
    )
    results = answered(writer, prompts, decoding=Decoding(0.0), max_new_tokens=9, settings=settings, seed=0)
    return accuracy_of(results)


@pytest.mark.parametrize(
    ("text", "finish_reason", "is_right"),
    [
        (";>46", "stop", True),
        (";>460", "stop", False),
        (";>046", "stop", False),
        ("46", "stop", False),
        (";>46", "length", False),
    ],
)
def test_an_answer_is_right_to_the_character_and_only_when_the_response_has_ended(
    text: str, finish_reason: str, is_right: bool
):
    assert _measure(text, finish_reason) == float(is_right)


def test_a_prompt_without_an_answer_cannot_be_measured():
    with pytest.raises(DataError, match="'p' has no answer"):
        _measure(";>46", "stop", answer=None)
