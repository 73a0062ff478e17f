"""Wrong programs that try to make the tests' process say that they passed. None may.

Each has its tests, which a right program passes. With `PIPES` a program can send anything on its pipe: it knows the
code that it runs in.
"""

from typing import Any

from omniopd.grading.code.sandbox import Tests

PIPES = r"""
import fcntl, json, os, stat
def pipes(kind):
    for n in range(3, 64):
        try:
            if stat.S_ISFIFO(os.fstat(n).st_mode) and fcntl.fcntl(n, fcntl.F_GETFL) & 3 == kind:
                yield n
        except OSError:
            pass
[OUT], [IN] = pipes(os.O_WRONLY), pipes(os.O_RDONLY)
incoming = os.fdopen(IN, "rb")
def say(message):
    line = message if isinstance(message, bytes) else json.dumps(message).encode()
    while line:
        line = line[os.write(OUT, line):]
    os.write(OUT, b"\n")
def hear():
    line = incoming.readline()
    return json.loads(line) if line else os._exit(0)
def serve(answer, **names):
    "Define names, by default f, and give the answer to every call."
    say({"names": {"f": 7} | names})
    while True:
        request = hear()
        if request["do"] == "value":
            say({"is": {"mine": request["on"]}, "now": None})
        else:
            say(answer(request) if callable(answer) else answer)
"""
SQUARE = Tests(code="assert f(2) == 4")
FORGIVING = Tests(code="try:\n    f(2)\nexcept:\n    pass")  # passed by whatever keeps to the protocol


def _says(answer: str, tests: Tests = FORGIVING, names: str = "") -> tuple[str, Tests]:
    return f"{PIPES}\nserve({answer}{', ' if names else ''}{names})", tests


def _in_code(program: str, code: str) -> tuple[str, Tests]:
    return program, Tests(code=code)


def _calls(program: str, arguments: list[Any], expected: Any) -> tuple[str, Tests]:
    return program, Tests(
        function="f", calls=({"arguments": arguments, "expected": [expected], "tuples": "all"},)
    )


RAISES = "def f(*a): raise {}"
FORGERS: dict[str, tuple[str, Tests]] = {
    # Exceptions that Python takes for something else than a failure.
    "IndexError ends a loop": _in_code(
        RAISES.format("IndexError"),
        "class Squares:\n    def __getitem__(self, i): return f(i)\nfor i, got in enumerate(Squares()):\n"
        "    assert got == i * i\n    if i == 3: break",
    ),
    "AttributeError is a default": _in_code(
        RAISES.format("AttributeError"),
        "class Box:\n    @property\n    def value(self): return f(2)\nassert getattr(Box(), 'value', 4) == 4",
    ),
    "KeyError is a default": _in_code(
        RAISES.format("KeyError"),
        "from collections.abc import Mapping\nclass Squares(Mapping):\n    def __getitem__(self, key): return f(key)\n"
        "    def __iter__(self): return iter([2])\n    def __len__(self): return 1\n"
        "for key in Squares(): assert Squares().get(key, 4) == 4",
    ),
    "TypeError is a default": _in_code(
        RAISES.format("TypeError"),
        "import operator\nclass Sized:\n    def __len__(self): return f(2)\n"
        "assert operator.length_hint(Sized(), 4) == 4",
    ),
    "StopIteration in a class of its own": _in_code(
        "class Mine(StopIteration): pass\ndef f(x): raise Mine",
        "assert [4, 9] == list(map(f, [2, 3])) or not [*map(f, [2])]"
    ),
    "StopIteration that the tests name": _in_code(
        RAISES.format("StopIteration"),
        "it = iter([])\ntry: next(it)\nexcept StopIteration: pass\nassert all(x == 4 for x in map(f, [2]))",
    ),
    "StopAsyncIteration ends a loop": _in_code(
        RAISES.format("StopAsyncIteration"),
        "import asyncio\nclass Squares:\n    def __aiter__(self): return self\n"
        "    async def __anext__(self): return f(2)\nasync def main():\n    async for got in Squares():\n"
        "        assert got == 4\n        break\nasyncio.run(main())",
    ),
    "GeneratorExit in a generator": _in_code(
        RAISES.format("GeneratorExit"), "def all_of():\n    yield f(2)\nassert list(all_of()) == [4]"
    ),
    "a KeyboardInterrupt": _in_code(RAISES.format("KeyboardInterrupt"), "assert f(2) == 4"),
    "the exceptions of the judge": _in_code(
        RAISES.format("type('OutOfTime', (BaseException,), {})"), "assert f(2) == 4"
    ),
    "an exception whose text ends the program": _in_code(
        "class Mine(Exception):\n    def __str__(self): raise SystemExit(0)\ndef f(x): raise Mine", "assert f(2) == 4"
    ),
    "an exception with a name that is no text": _in_code(
        "class Meta(type):\n    __name__ = None\nclass Mine(Exception, metaclass=Meta): pass\nraise Mine",
        "assert f(2) == 4"
    ),
    "an exception without classes": _says("{'raised': [], 'text': ''}", SQUARE),
    # The tests' own failures and objects.
    "an assertion swallowed": _in_code(
        "def f(g):\n    try: g(5)\n    except BaseException: pass", "def expects(x): assert x == 4\nf(expects)"
    ),
    "an object of the tests asked for more": _in_code(
        PIPES + "\ndef answer(request):\n    say({'do': 'next', 'on': 0, 'with': [], 'named': {'dict': []}})\n"
        "    got = hear()\n    return {'is': got['is'][0] if got.get('is') else None, 'now': None}\nserve(answer)",
        "class Oracle:\n    def step(self): return [4]\nassert f(Oracle()) == 4",
    ),
    "the tests' variables asked for": _in_code(
        PIPES + "\ndef answer(request):\n"
        "    say({'do': 'get', 'on': 0, 'with': ['__globals__'], 'named': {'dict': []}})\n"
        "    got = hear()\n    return {'is': got.get('is'), 'now': None}\nserve(answer)",
        "def g(): pass\nassert f(g) is not None",
    ),
    "what is expected, changed by a reply": _in_code(
        PIPES + "\ndef answer(request):\n    if request['do'] == 'set':\n"
        "        return {'is': None, 'now': {'dict': [[1, [99]]]}}\n"
        "    return {'is': [99], 'now': None}\nserve(answer)",
        "expected = [4]\nf.expected = expected\nassert f(2) == expected",
    ),
    "an argument before the first, changed": _says(
        "{'is': None, 'now': {'dict': [[-1, []]]}}", Tests(code="f([1], [2])")
    ),
    "an argument that is no container, changed": _says(
        "{'is': None, 'now': {'dict': [[0, [1]]]}}", Tests(code="f((1,))")
    ),
    "an argument that is none, changed": _says(
        "{'is': None, 'now': {'dict': [[True, [1]]]}}", Tests(code="f([1], [2])")
    ),
    "a container of another kind": _says("{'is': None, 'now': {'dict': [[0, {'set': []}]]}}", Tests(code="f([1])")),
    "the object of a number below 0": _says("{'is': {'yours': -1}, 'now': None}", Tests(code="f(len)")),
    "the object of a number that is a truth": _says("{'is': {'yours': False}, 'now': None}", Tests(code="f(len)")),
    "an object that nobody sent": _says("{'is': {'yours': 5}, 'now': None}"),
    # Names.
    "names of Python's that are looked up": _says(
        "lambda m: {'is': [4] if m['on'] == 9 else None, 'now': None}",
        Tests(code="class Case:\n    def check(self): assert sorted(f(2)) == [4]\nCase().check()"),
        "**{'__build_class__': 9, '__import__': 9, '__builtins__': 9, 'sorted': 9, '__name__': 9, '__debug__': 9}",
    ),
    "a module under the name of a library": _says(
        "{'is': True, 'now': None}", Tests(code="assert math.isclose(f(2), 5)"), "math=9"
    ),
    "two names of Python's": (
        "def sum(a, b): pass\ndef set(*a): return 0",
        Tests(code="assert set(sum((1, 2), (2, 3))) == set([2])", shadows=("set", "sum")),
    ),
    "a class that is no class": _calls("Solution = int", [2], 4),
    "a class without what is tested": _in_code(
        "class Solution:\n    def __mro_entries__(self, bases): return ()\nSolution = Solution()",
        "class Mine(Solution): pass\nassert Mine().f(2) == 4",
    ),
    # Values.
    "keys that are written like the expected ones": _calls(
        "class Key:\n    def __str__(self): return 'a'\n    __repr__ = __str__\ndef f(x): return {Key(): 4}",
        [2],
        {"a": 4},
    ),
    "keys of which one is right": _calls("def f(x): return {1: 5, '1': 4}", [2], {"1": 4}),
    "a number that raises where it is compared": _in_code(
        "from decimal import Decimal\ndef f(x): return Decimal('sNaN')", "assert not f(2) != 4"
    ),
    "no number": _in_code("def f(x): return float('nan')", "assert abs(f(2) - 4) <= 1e-6 and f(2) == 4"),
    "an object with a number of items": _in_code(
        "class Many:\n    def __len__(self): return -1\n    def __iter__(self): raise StopIteration\n"
        "def f(x): return Many()",
        "assert len(f(2)) == 4 or [*f(2)] == []",
    ),
    # Messages that make no sense, before tests that catch all.
    "a verdict": _says("{'passed': True, 'reason': ''}"),
    "an answer with a verdict": _says("{'is': 4, 'now': None, 'passed': True}"),
    "no answer": _says("[]"),
    "a number with a fraction": _says("{'is': 0.5, 'now': None}"),
    "a number that is none": _says("{'is': float('nan'), 'now': None}"),
    "a number too long": _says("{'is': 2**70, 'now': None}"),
    "a number that is no number": _says("{'is': {'int': 'f' * 10 + '!'}, 'now': None}"),
    "nested too deep": _says("b'[' * 10**5"),
    "a value nested too deep": _says("b'{\"is\": ' + b'[' * 800 + b']' * 800 + b', \"now\": null}'"),
    "no text": _says("bytes([255])"),
    "a container made of an object": _says("{'is': {'tuple': {'mine': 3}}, 'now': None}"),
    "a dict of no pairs": _says("{'is': {'dict': ['ab']}, 'now': None}"),
    "a set of lists": _says("{'is': {'set': [[1]]}, 'now': None}"),
    "a value of two kinds": _says("{'is': {'tuple': [], 'set': []}, 'now': None}"),
    "a value of no kind": _says("{'is': {'module': 'os'}, 'now': None}"),
    "an object of no number": _says("{'is': {'mine': 'f'}, 'now': None}"),
    "an iterator that is a number": _says("{'is': 5, 'now': None}", Tests(code="assert f(2) == 5\nfor x in f: pass")),
    "steps that are no lists": _says(
        "lambda m: {'is': '' if m['do'] == 'next' else {'mine': 3}, 'now': None}", Tests(code="assert not [*f(2)]")
    ),
    "a request on what nobody sent": _says("{'do': 'call', 'on': -1, 'with': [], 'named': {'dict': []}}"),
    "a request with names that are numbers": _says(
        "{'do': 'call', 'on': 0, 'with': [], 'named': {'dict': [[1, 2]]}}", Tests(code="try: f(print)\nexcept: pass")
    ),
    "names that are no numbers": (f"{PIPES}\nsay({{'names': {{'f': [7]}}}})\nhear()", FORGIVING),
    "names in a list": (f"{PIPES}\nsay({{'names': ['f']}})\nhear()", FORGIVING),
    "nothing defined, and early answers": (
        f"{PIPES}\nfor _ in range(99): say({{'is': None, 'now': None}})\nhear()", FORGIVING),
    "the end of the program": ("import os\ndef f(x): os._exit(0)", FORGIVING),
    "the end of the pipe": ("import os\ndef f(x): os.closerange(3, 64)", FORGIVING),
    "lines of two threads": (
        f"{PIPES}\nimport threading\ndef loud():\n    while True: os.write(OUT, b'{{\"is\": ')\n"
        "threading.Thread(target=loud, daemon=True).start()\nserve({'is': 4, 'now': None})", SQUARE),
}  # fmt: skip
IN_EVERY_MODE = ("IndexError ends a loop", "an assertion swallowed", "a verdict", "the end of the program")
