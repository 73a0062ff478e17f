"""Real tokenizers with their chat templates: prompts, end tokens, and replies read back wherever a response is cut."""

from pathlib import Path

import pytest
import torch
from real_texts import QUESTION, TEXTS, TOKENIZERS, cuts, load, respelt, solutions

from omniopd.data.conversation import conversation
from omniopd.data.decoding import GREEDY
from omniopd.models.chat import Chat
from omniopd.models.generation import generate
from omniopd.models.loading import load_model
from omniopd.models.text import Context, TextDecoder

# The others take up to 15 s to load.
QUICK = ("llama2", "deepseek_v3", "smollm2-135m-instruct")
MARKED = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in TOKENIZERS]
# How a user's message is rendered, and the tokens at which generation stops; gpt-oss and Llama 2 have no template here.
RENDERED = {
    "qwen3": ("<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n", ["<|im_end|>"]),
    "llama3_1": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ["<|eot_id|>"],
    ),
    "gemma3": (
        "<bos><start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n", ["<end_of_turn>"],
    ),
    "gptoss": ("{}", ["<|return|>"]),
    "deepseek_v3": (
        "<｜begin▁of▁sentence｜><｜User｜>{}<｜Assistant｜>", ["<｜end▁of▁sentence｜>"],
    ),
    "llama2": ("{}", ["</s>"]),
    "smollm2-135m-instruct": (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
        ["<|im_end|>"],
    ),
}  # fmt: skip
ENOUGH = 0.995  # of the positions


@pytest.fixture(scope="module", params=MARKED)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def chat(name: str, real_models: Path) -> Chat:
    return load(real_models, name)


def test_a_prompt_is_rendered_by_its_template_and_generation_stops_at_its_end_of_turn(name: str, chat: Chat):
    rendered, ends = RENDERED[name]
    assert chat.render(QUESTION) == rendered.format(QUESTION)
    assert [chat.tokenizer.convert_ids_to_tokens(id) for id in chat.stop_ids] == ends
    [ids] = chat.encode([QUESTION])  # one start token, of the template or of the tokenizer
    if name in ("llama3_1", "gemma3", "deepseek_v3", "llama2"):
        assert ids.count(chat.tokenizer.convert_tokens_to_ids(str(chat.tokenizer.bos_token))) == 1
    assert chat.tokenizer.decode(ids, clean_up_tokenization_spaces=False).endswith(chat.render(QUESTION))


def test_solutions_are_read_back_wherever_they_are_cut(chat: Chat, shared_data: Path):
    counted = cuts(chat, solutions(shared_data, 5))
    assert counted.wrong == []
    assert counted.right >= ENOUGH * counted.num


@pytest.mark.parametrize("kind", TEXTS)
def test_hard_texts_are_read_back_wherever_they_are_cut_between_two_characters(
    name: str, chat: Chat, kind: str
):
    counted = cuts(chat, TEXTS[kind])
    assert counted.wrong == []
    # Without a template, a reply may join the question's last character: a boundary or two at its first tokens.
    assert counted.joined <= (2 * len(TEXTS[kind]) if name in ("gptoss", "llama2") else 1)


@pytest.mark.slow
def test_at_least_995_of_1000_positions_are_read_right_and_none_wrong(chat: Chat, shared_data: Path):
    counted = cuts(
        chat, [*solutions(shared_data, 400), *(text for texts in TEXTS.values() for text in texts)]
    )
    assert counted.wrong == []
    assert counted.right >= ENOUGH * counted.num


def test_replies_after_words_that_the_tokenizer_would_write_in_other_tokens_have_their_own_text(chat: Chat):
    decoder, end = TextDecoder(chat), chat.render(QUESTION)[-5:]
    num_read = num = 0
    for seed, text in enumerate(text for texts in TEXTS.values() for text in texts):
        [prompt_ids], ids = chat.encode([QUESTION]), respelt(chat, text, seed)
        assert decoder.text(ids, prompt_ids[-1]) == text
        contexts = [Context(conversation(QUESTION), prompt_ids, ids[:t]) for t in range(len(ids))]
        contexts = [context for context in contexts if decoder.prefix(context) is not None]
        rests = [text[len(decoder.prefix(context) or "") :] for context in contexts]
        read = decoder.read_after(contexts, rests)
        for context, reply in zip(contexts, read, strict=True):
            if reply is not None:
                whole = [*prompt_ids, *context.response_ids, *reply]
                assert chat.tokenizer.decode(whole, clean_up_tokenization_spaces=False).endswith(end + text)
        num, num_read = num + len(read), num_read + sum(reply is not None for reply in read)
    assert num_read >= 0.8 * num


@pytest.mark.slow
def test_the_model_that_was_made_of_a_gguf_file_answers(real_models: Path):
    path = real_models / "smollm2-135m-instruct"
    chat, model = load(real_models, path.name), load_model(str(path))
    prompts = chat.encode(["What is the capital of France? Answer in one sentence."])
    [[sample]] = generate(
        model, prompts, seeds=[[0]], max_new_tokens=16, decoding=GREEDY, stop_ids=chat.stop_ids
    )
    assert TextDecoder(chat).text(sample.token_ids, prompts[0][-1]) == "The capital of France is Paris."
    assert model.dtype == torch.float32
    # Its tokenizer puts no digit into a token with what is beside it, as SmolLM2 was trained.
    tokens = chat.tokenizer.tokenize("bread:\n\n1. Mix  20 g")
    assert tokens == ["bread", ":", "ĊĊ", "1", ".", "ĠMix", "ĠĠ", "2", "0", "Ġg"]
