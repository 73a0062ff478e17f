"""Responses of each kind that graders get wrong, with the verdict that a reader comes to."""

import json
from pathlib import Path
from typing import Any

import pytest
from grading_cases import rows_of, wrongly_graded

HEAD = 'def add(a, b):\n    """Add."""\n'
HUMANEVAL = HEAD, {"test": "def check(candidate):\n    assert candidate(1, 2) == 3\n", "entry_point": "add"}
MBPP = (
    "Write a function.",
    {"test_list": ["assert add(1, 2) == 3", "assert add(2, 2) == 4"], "test_setup_code": ""},
)
READS = "Solve it.", {"input_output": [{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]}
CALLS = (
    "Solve it.",
    {"input_output": [{"input": "1\n2", "output": "3", "testtype": "functional"}], "fn_name": "add"},
)
CRLF = "Solve it.", {"input_output": [{"input": "1 2\r\n3\r\n", "output": "3\r\n3\r\n", "testtype": "stdin"}]}

ADD, WRONG = "def add(a, b):\n    return a + b\n", "def add(a, b):\n    return a - b\n"
SOLVES = "a, b = map(int, input().split())\nprint(a + b)\n"
HELPER, USES = "def plus(x, y):\n    return x + y\n", "def add(a, b):\n    return plus(a, b)\n"


def fence(*codes: str, between: str = "Then\n") -> str:
    return between.join(f"```python\n{code.rstrip()}\n```\n" for code in codes)


KINDS: dict[str, tuple[tuple[str, Any], list[str], list[str]]] = {
    "a model without chat runs on": (HUMANEVAL, [
        "    return a + b\n\nprint(undefined_name)\n",
        "    return a + b\n\n\nassert add(1, 1) == 3\n",
        "    return a + b\n\nif __name__ == '__main__':\n    1 / 0\n",
        "    return a + b\n\nx = int(input())\nprint(add(x, 1))\n",
        "    return a + b\n\nwhile True:\n    pass\n",
        "    return a + b\n\nimport sys\nsys.exit(0)\n",
        "    return a + b\n\ndef sub(a, b):\n    \"\"\"Subtract.\"\"\"\n    return undefined\n\nsub(1, 2)\n",
        "    return a + b\n\n\ndef add(a, b):\n    return a - b\n",
        "    return plus(a, b)\n\ndef plus(x, y):\n    return x + y + ZERO\n\nZERO = 0\nprint(nothing)\n",
        "    return a + b\n\n# Test\nadd(1)\n",
        "    return a + b\n```\nThis adds.",
    ], [
        "    return a - b\n\nprint(undefined_name)\n",
        "    return plus(a, b)\n\nprint(undefined_name)\n",
        "    pass\n\ndef add(a, b):\n    return a + b\n",
        "    exit()\n    return a + b\n",
        "    raise SystemExit\n",
    ]),
    "markers": (MBPP, [
        f"[BEGIN]\n{ADD}[DONE]",
        f"{ADD}[DONE]\n\nYou are an expert.\n[BEGIN]\n{WRONG}[DONE]",
        f"Sure.\n[BEGIN]\n{ADD}[DONE]\nDone.",
        f"[BEGIN]\n{fence(ADD)}[DONE]",
        f"[PYTHON]\n{ADD}[/PYTHON]\nIt adds.",
        "[BEGIN] def add(a, b): return a + b [DONE]",
        f"[BEGIN]\n{ADD}[DONE]\n[BEGIN]\n{WRONG}[DONE]",
        f"[BEGIN]\r\n{ADD}[DONE]".replace("\n", "\r\n"),
        fence(f"[BEGIN]\n{ADD}[DONE]"),
        fence(f"{ADD}print('[BEGIN]', '[DONE]')"),
    ], [f"[BEGIN]\n{WRONG}[DONE]", f"[BEGIN]\n[DONE]\n{ADD}", "[BEGIN]\n[DONE]"]),
    "a driver that asks for input": (MBPP, [
        fence(f"{ADD}\nx = int(input('x? '))\nprint(add(x, 1))"),
        fence(f"import sys\n{ADD}\nfor line in sys.stdin:\n    print(line)\nx = sys.stdin.read().split()[0]"),
        fence(f"import sys\n{ADD}\nn = int(sys.stdin.readline())\nprint(add(n, n))"),
        fence(f"{ADD}\ndef main():\n    a, b = input().split()\n    print(add(a, b))\nmain()"),
        fence(f"import sys\n{ADD}\ntry:\n    x = input()\nexcept EOFError:\n    sys.exit(1)"),
        fence(f"{ADD}\nif __name__ == '__main__':\n    print(add(int(input()), 1))"),
    ], [
        fence(f"x = int(input('x? '))\n{ADD}"),
        fence(f"{WRONG}\nx = int(input('x? '))"),
        fence(f"import sys\nsys.exit(0)\n{ADD}"),
        fence(f"try:\n    input()\nexcept EOFError:\n    exit()\n{ADD}"),
        fence("def add(a, b):\n    return int(input()) + b"),
        fence(f"{ADD}\nraise ValueError"),
    ]),
    "several fences": (MBPP, [
        fence(HELPER, USES),
        fence(USES, HELPER),
        fence("import operator\ndef plus(x: int, y: int):\n    return operator.add(x, y)", USES),
        fence("ZERO = 0\ndef plus(x, y):\n    return x + y + ZERO\nprint(undefined)", USES),
        fence(ADD, "def test_add():\n    assert add(1, 2) == 3\ntest_add()"),
        fence(ADD, "print(add(1, 2))"),
        fence(WRONG, ADD),
        fence("def plus(x, y):\n    return x - y", HELPER, USES),
        fence(HELPER, "from functools import reduce", "def add(*all):\n    return reduce(plus, all)"),
        "```bash\npip install plus\n```\n" + fence(HELPER, USES) + "```\n3\n```\n",
        fence("from __future__ import annotations\nfrom typing import List\n" + ADD, "print('example')"),
    ], [
        fence(HELPER, "def add(a, b):\n    return minus(a, b)"),
        fence(ADD, WRONG),
        fence("def plus(x, y):\n    return x - y", USES),
        fence(HELPER, "print(plus(1, 2))"),
    ]),
    "a fence on the line of the code": (MBPP, [
        "```python def add(a,b): return a+b```",
        "```def add(a,b): return a+b```",
        "Here: ```python def add(a, b): return a + b``` adds.".replace(" adds.", ""),
        "```python\ndef add(a, b):\n    return a + b```",
        "```python\ndef add(a, b):\n    return a + b``` ",
        "```python def add(a, b):\n    return a + b\n```",
        "Here it is: ```python\ndef add(a, b):\n    return a + b\n```",
        "- ```python\n  def add(a, b):\n      return a + b\n  ```",
        "1. ```py\n   def add(a, b):\n       return a + b\n   ```\n",
        "```python title=\"add.py\"\ndef add(a, b):\n    return a + b\n```",
        "~~~python\ndef add(a, b):\n    return a + b\n~~~~",
        "````python\ndef add(a, b):\n    return a + b\n````",
        "```python\r\ndef add(a, b):\r\n    return a + b\r\n```\r\nIt adds.\r\n",
    ], [
        "```python def add(a,b): return a-b```",
        "```add(1, 2) == 3```",
        "Use ```python to open a fence.",
        "```python\n```",
    ]),
    "programs that read": (READS, [
        fence(SOLVES),
        fence(f"{SOLVES}exit()"),
        fence("def solve(a, b):\n    return a + b", "a, b = map(int, input().split())\nprint(solve(a, b))"),
        fence("def read():\n    return map(int, input().split())", "print(sum(read()))"),
        fence(f"def main():\n    {SOLVES.strip().replace(chr(10), chr(10) + '    ')}\nmain()", "print(main(3))"),
        fence("def slow(a, b):\n    while True: pass\nslow(1, 2)", SOLVES),
        f"{SOLVES}",
        f"Read both.\n{fence(SOLVES)}Input:\n```\n1 2\n```\nOutput:\n```\n3\n```\n",
        fence("print(sum(map(int, open(0).read().split())))"),
        fence("import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())))\nsys.stdout.flush()\nquit()"),
        fence("from __future__ import annotations\nprint(reduce(add, map(int, stdin.read().split())))"),
        fence("print('3.0')"), fence("print('3.000', end='\\r\\n')"), fence("print(' 3 ')"),
        fence("print(3)\nx = '\ud800'"),
    ], [
        fence("exit()\n" + SOLVES),
        fence("print(SOLVES)"),
        *[fence(f"print({text!r})") for text in (
            "sNaN", "NaN", "inf", "Infinity", "1e999999999", "1e-999999999", "3e", "3_", "0_3", "٣", "３", "3,", "+-3",
            "3\n3", "3 4", "0x3", "3e9999999999999", "-sNaN123", "³", "Ⅲ", "3\x1c3", "")],
        fence("print('9' * 10**6)"),
        fence(f"{SOLVES}raise Exception"),
    ]),
    "CRLF": (CRLF, [
        fence(f"{SOLVES}print(input())"),
        fence("import sys\nfor line in sys.stdin: print(sum(map(int, line.split())))"),
        fence(f"{SOLVES}print(input(), end='\\r\\n')"),
        fence("import sys\nfirst, second, _ = sys.stdin.buffer.read().split(b'\\n')\nprint(3)\nprint(second.decode())\n"
              "assert second == b'3'"),
    ], [fence(f"{SOLVES}print(input(), end='x')"), fence("print('3\\r3')")]),
    "functions that are called": (CALLS, [
        fence(ADD),
        fence("class Solution:\n    def add(self, a: int, b: int) -> Optional[int]:\n        return sum([a, b])"),
        fence(HELPER, "class Solution:\n    def add(self, a, b):\n        return plus(a, b)"),
        fence("class Solution:\n    def add(self, a, b):\n        return a + b", "assert Solution().add(1, 2) == 4"),
        fence("class Solution:\n    def add(self, a, b):\n        return a + b", "def test():\n    pass"),
        fence(f"{ADD}print(add(1, 2))"),
    ], [
        fence(f"{ADD}exit()\n"),
        fence("class Solution:\n    def add(self, a, b):\n        print(a + b)\n        exit()"),
        fence("from operator import sub as add"),
        fence("x = add(1, 2)"),
        fence("def add(a, b):\n    sys.exit(3)"),
        fence("def add(a, b):\n    return str(a + b)"),
        fence("def add(a, b):\n    return [a + b]"),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_response_has_its_verdict(kind: str):
    (prompt, tests), right, wrong = KINDS[kind]
    reference = json.dumps({"prompt": prompt, "tests": json.dumps(tests)})
    rows = [{"kind": f"code: {kind}", "input": one, "reference": reference, "expected": one in right}
            for one in [*right, *wrong]]  # fmt: skip

    assert wrongly_graded(rows) == []


def test_a_file_of_cases_is_graded_row_by_row(tmp_path: Path):
    reference = json.dumps({"prompt": MBPP[0], "tests": json.dumps(MBPP[1])})
    rows = [{"kind": kind, "input": fence(ADD), "reference": reference, "expected": expected}
            for kind, expected in (("code: one", True), ("code: other", False), ("math: sum", True))]  # fmt: skip
    file = tmp_path / "cases.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    (line,) = wrongly_graded(rows_of(file))
    assert line.startswith("code: other: right ()")
