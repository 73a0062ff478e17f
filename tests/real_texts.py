"""Texts that are hard to cut, and how well real tokenizers read them back at every position.

`PYTHONPATH=tests python tests/real_texts.py [SOLUTIONS]` prints the table of docs/models.md.
"""

import json
import os
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omniopd.data.conversation import conversation
from omniopd.models.chat import Chat
from omniopd.models.loading import load_chat
from omniopd.models.text import Context, TextDecoder

TOKENIZERS = ("qwen3", "llama3_1", "gemma3", "gptoss", "deepseek_v3", "llama2", "smollm2-135m-instruct")
QUESTION = "Natalia sold 48 clips in April, and half as many in May. How many did she sell altogether?"
TEXTS = {
    "CJK": [
        "纳塔莉亚四月卖出 48 个发夹，五月卖出一半，即 48 ÷ 2 = 24 个。\n"
        "所以她一共卖出 48 + 24 = 72 个发夹。答案是：七十二。",
        "ナタリアは4月に48個のクリップを売り、5月にはその半分の24個を売りました。\n合計は「七十二」個です。",
        "나탈리아는 4월에 클립 48개를, 5월에 그 절반인 24개를 팔았습니다. 따라서 합계는 72개입니다.",
        "𠮷野家で「㍿」と龘を見た。", " 學而時習之，不亦說乎？", "",
    ],
    "emoji": [
        "Great job! 🎉 The answer is 72 📎 — well done 👍🏽.",
        "The family 👨‍👩‍👧‍👦 waved a flag 🇩🇪 and 🏳️‍🌈; 👩🏾‍🔬 counted 4️⃣8️⃣ + 24 = 7️⃣2️⃣ ❤️‍🔥.", "😀", " 😀😀 a😀b",
    ],
    "LaTeX": [
        "We have $48 \\div 2 = 24$ in May, so \\[\n  48 + \\frac{48}{2} = 48 + 24 = \\boxed{72}.\n\\]",
        "\\begin{align*}\n\\sum_{i=1}^{n} i &= \\frac{n(n+1)}{2} \\\\\n\\int_0^1 x^2\\,dx &= \\tfrac13\n\\end{align*}",
        "Let $\\alpha_{k} \\leq \\lVert x \\rVert_2^{2}$;  then $\\forall\\epsilon>0\\;\\exists\\delta$.",
    ],
    "code": [
        "```python\ndef total(clips):\n    if not clips:\n        return 0  # none\n\n    return sum(clips)\n\n\n"
        "print(total([48, 24]))\n```\n",
        "func main() {\n\tfor i := 0; i < 10; i++ {\n\t\tfmt.Println(i)\t// tab\n\t}\n}\n",
        "a = 1\r\nif a:\r\n    b = 2\r\n\r\nprint(a,  b)\r\n", "\tx\n\n\n   y\n \n", "  two spaces first",
    ],
    "thoughts": [
        "<think>\nHalf of 48 is 24.\n</think>\n\nThe sum is 72.", "<think>48</think> 72 <think> 24 </think>72",
        "A 'quote', don't; it 's 3 , 4 ! n't ?  I 'm .",
    ],
}  # fmt: skip


@dataclass
class Cuts:
    """Positions of responses, by what became of the text that follows."""

    right: int = 0  # read as the student's own tokens
    within: int = 0  # a boundary: the prefix ends within a character
    joined: int = 0  # a boundary: the tokens would join prefix and text
    wrong: list[str] = field(default_factory=list)  # what was read otherwise

    @property
    def num(self) -> int:
        return self.right + self.within + self.joined + len(self.wrong)

    def __iadd__(self, other: "Cuts") -> "Cuts":
        self.right += other.right
        self.within += other.within
        self.joined += other.joined
        self.wrong += other.wrong
        return self


def load(real_models: Path, name: str) -> Chat:
    return load_chat(str(real_models / name))


def solutions(shared_data: Path, count: int) -> list[str]:
    """The first solutions of GSM8K's test set."""
    lines = (shared_data / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["answer"] for line in lines[:count]]


def written(chat: Chat, prompt_ids: list[int], text: str) -> list[int]:
    """The response tokens of a student that writes the text as its tokenizer would."""
    [whole] = chat.encode_rendered([chat.render(QUESTION) + text])
    if whole[: len(prompt_ids)] == prompt_ids:
        return whole[len(prompt_ids) :]
    return TextDecoder(chat).read_alone(text, prompt_ids[-1])  # it joins the prompt's last token


def cuts(chat: Chat, texts: Iterable[str]) -> Cuts:
    """Each text cut at each of its tokens: the rest is the teacher's reply, to be read after what precedes it."""
    decoder, counted = TextDecoder(chat), Cuts()
    [prompt_ids] = chat.encode([QUESTION])
    for text in texts:
        ids = written(chat, prompt_ids, text)
        if (whole := decoder.text(ids, prompt_ids[-1])) != text:
            counted.wrong.append(f"{text!r} became {whole!r}")
        if (whole := "".join(decoder.pieces(prompt_ids[-1], ids))) != text:
            counted.wrong.append(f"the pieces of {text!r} make {whole!r}")
        counted += _read(decoder, prompt_ids, ids, text)
    return counted


def _read(decoder: TextDecoder, prompt_ids: list[int], ids: Sequence[int], text: str) -> Cuts:
    counted = Cuts()
    contexts = [Context(conversation(QUESTION), prompt_ids, list(ids[:t])) for t in range(len(ids))]
    prefixes = [decoder.prefix(context) for context in contexts]
    rests = [text[len(prefix or "") :] for prefix in prefixes]
    for t, (prefix, rest, read) in enumerate(
        zip(prefixes, rests, decoder.read_after(contexts, rests), strict=True)
    ):
        if prefix is None:
            counted.within += 1
        elif not text.startswith(prefix):
            counted.wrong.append(f"{text!r} does not begin with {prefix!r}")
        elif read is None:
            counted.joined += 1
        elif read == ids[t:]:
            counted.right += 1
        else:
            counted.wrong.append(f"{rest!r} after {prefix!r} became {read}, not {ids[t:]}")
    return counted


def respelt(chat: Chat, text: str, seed: int) -> list[int]:
    """Tokens of the text after QUESTION that the tokenizer itself would not write, as a student at temperature 1."""
    [prompt_ids] = chat.encode([QUESTION])
    decoder, rng, ids = TextDecoder(chat), random.Random(seed), []
    words = text.split(" ")
    for i, word in enumerate(words):
        piece = (" " if i else "") + word
        at = rng.randrange(1, len(piece)) if len(piece) > 1 and rng.random() < 0.3 else len(piece)
        for part in (piece[:at], piece[at:]):
            ids += decoder.read_alone(part, (ids or prompt_ids)[-1])
    return ids


def main(real_models: Path, shared_data: Path, count: int) -> None:
    kinds = {"GSM8K": solutions(shared_data, count), **TEXTS}
    print("| tokenizer |", " | ".join(kinds), "| all | within a character | joined | wrong |")
    print("|---|" + "---:|" * (len(kinds) + 4))
    for name in TOKENIZERS:
        chat, total = load(real_models, name), Cuts()
        shares = []
        for texts in kinds.values():
            counted = cuts(chat, texts)
            shares.append(_share(counted))
            total += counted
        ends = (_share(total), total.within, total.joined, len(total.wrong))
        print(f"| {name} |", " | ".join([*shares, *map(str, ends)]), "|")


def _share(counted: Cuts) -> str:
    return f"{100 * counted.right / counted.num:.2f} % of {counted.num:,}"


if __name__ == "__main__":
    folder = Path(__file__).parent.parent
    main(
        Path(os.environ.get("OMNIOPD_REAL_MODELS") or folder / "models" / "real"),
        Path(os.environ.get("OMNIOPD_SHARED_DATA") or folder.parent / "shared" / "data"),
        int(sys.argv[1]) if len(sys.argv) > 1 else 100,
    )
