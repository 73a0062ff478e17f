"""Programs that LiveCodeBench's own grader passes, and those that it does not."""

import builtins
import json
from collections.abc import Sequence
from typing import Any

from omniopd.grading.code.grader import CodeCase, grade_programs
from omniopd.grading.code.prelude import offered, prelude_of
from omniopd.grading.code.sandbox import Limits, run_program


def reasons(programs: Sequence[str], tests: Any, prompt: str = "Write it.") -> dict[str, str]:
    """Why each of the programs is wrong; all are graded in one call."""
    cases = [CodeCase(f"```python\n{program}\n```", prompt, json.dumps(tests)) for program in programs]
    grades = grade_programs(cases, limits=Limits(cpu_s=5, wall_s=20))
    return {program: grade.reason for program, grade in zip(programs, grades, strict=True)}


def reads(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"input_output": [{"input": one, "output": other, "testtype": "stdin"} for one, other in pairs]}


def calls(arguments: str, result: str, name: str = "f") -> dict[str, Any]:
    case = {"input": arguments, "output": result, "testtype": "functional"}
    return {"input_output": [case], "fn_name": name}


ADDS = "a, b = map(int, input().split())\nprint(a + b)\n"


def test_a_program_may_end_itself_once_it_has_written_its_output():
    right = [f"{ADDS}{end}" for end in (
        "exit()", "quit()", "exit(0)", "quit(1)", "import sys\nsys.exit(1)", "sys.exit('done')", "raise SystemExit",
        "raise SystemExit(7)", "def main():\n    exit()\nmain()\nprint('more')",
        "if a:\n    try:\n        exit()\n    finally:\n        pass\nprint('more')")]  # fmt: skip
    wrong = {
        f"exit()\n{ADDS}": "another output",
        f"exit = 5\n{ADDS}exit()": "TypeError",
        f"{ADDS}exit(undefined)": "NameError",
        f"{ADDS}1 / 0": "ZeroDivisionError",
        f"{ADDS}import os\nos._exit(3)": "exit code 3",
        "print(4)\nexit()": "another output",
    }
    assert reasons([*right, *wrong], reads(("1 2\n", "3\n"))) == dict.fromkeys(right, "") | wrong


def test_a_function_that_ends_the_program_has_returned_nothing():
    programs = {
        "def f(n): exit()": "SystemExit",
        "def f(n): quit(3)": "SystemExit",
        "import sys\nsys.exit(0)\ndef f(n): return n": "SystemExit",
        "exit()\ndef f(n): return n": "SystemExit",
        "def f(n):\n    try:\n        exit()\n    except SystemExit:\n        return n": "",
    }
    assert reasons(list(programs), calls("3", "3")) == programs


def test_programs_have_livecodebenchs_imports_without_importing_them():
    right = [
        "print(math.gcd(4, 6) + Counter('aab')['a'] - len(deque([1, 2])))",
        "d = defaultdict(int)\nd[1] += 2\nprint(d[1])",
        "h = [3, 2]\nheapq.heapify(h)\nprint(h[0])",
        "h = [3, 2]\nheapify(h)\nprint(heappop(h))",
        "print(bisect.bisect([1, 2], 2), end='') or stdout.write('\\n')",
        "@cache\ndef g(x): return min(inf, x)\nprint(g(2))",
        "@lru_cache(None)\ndef g(x: List[int] = None) -> Optional[int]: return 2\nprint(g())",
        "print(reduce(operator.mul, [1, 2]))",
        "print(len(list(itertools.permutations([1, 2]))))\nsys.exit()",
        "print(sum(1 for _ in combinations(range(2), 1)))",
        "print(json.loads('2'))",
        "for line in stdin: pass\nprint(2)",
        "from __future__ import annotations\ndef g(x: Nowhere): return gcd(4, 6)\nprint(g(1))",
        "print(datetime.date(2, 1, 1).year)",
        "print(ascii_lowercase.index('c') if 'a' in string.digits + 'a' else 0)",
        "print(round(statistics.mean([1, 3])), end='')",
        "gcd = 2\nprint(gcd)",
        "def gcd(a, b): return 2\nprint(gcd(9, 9))",
        "def f():\n    heapq = 2\n    return heapq\nprint(f())",
        "print(isinstance(Counter(), Counter) + 1)",
        "print(pow(2, 1, 9))",
    ]
    wrong = {"print(gcd_(4, 6))": "NameError", "print(np.gcd(4, 6))": "NameError", "print(os.getpid())": "NameError",
             "print(gcd(9, 6))": "another output", "sub = 3\nprint(sub)": "another output"}  # fmt: skip

    assert reasons([*right, *wrong], reads(("", "2\n"))) == dict.fromkeys(right, "") | wrong


def test_methods_have_these_names_too():
    prompt = "```python\nclass Solution:\n    def f(self, n: List[int]) -> Optional[int]:\n        \n```"
    body = "class Solution:\n    def f(self, n: List[int]) -> Optional[int]:\n        "
    right = [
        f"{body}return sum(accumulate(n, initial=0)) - nlargest(1, n)[0] - 0",
        f"{body}return max(Counter(n), default=inf)",
    ]

    assert reasons(right, calls("[1, 2]", "2"), prompt) == dict.fromkeys(right, "")


def test_a_name_that_a_program_is_lent_is_not_its_solution():
    program = "def g(a, b): return math.gcd(a, b) + gcd(0, 0)"

    assert reasons([program], calls("4\n6", "2", "gcd")) == {program: "no gcd"}


def test_other_benchmarks_import_nothing():
    assert set(reasons(["def f(): return gcd(4, 6)"], ["assert f() == 2"]).values()) == {"NameError"}


def test_names_are_lent_where_a_program_looks_them_up_and_binds_them_nowhere():
    program = """
from math import inf
def f(heapq, x: List):
    global deque
    deque = Counter
    return heapq.nlargest, gcd, deque, inf, print, z
"""

    assert prelude_of(program) == {
        "List": ("typing", "List"), "Counter": ("collections", "Counter"), "gcd": ("math", "gcd")
    }  # fmt: skip
    assert prelude_of("gcd(") == prelude_of("gcd\0") == prelude_of("gcd\n" * 10**6) == {}


def test_the_names_lent_are_those_that_livecodebench_imports_without_builtins():
    space: dict[str, Any] = {}
    modules = sorted({module for module, _ in offered().values()} - {"typing"})
    exec("\n".join(f"from {one} import *" for one in [*modules, "typing"]), space)
    exec("\n".join(f"import {one}" for one in modules), space)

    assert {name for name in space if not name.startswith("__")} - set(dir(builtins)) == set(offered())
    assert not set(dir(builtins)) & set(offered())


def test_programs_may_recurse_as_deep_as_in_livecodebench():
    plain = "def f(n): return 0 if n == 0 else 1 + f(n - 1)"
    right = [plain, f"import functools\n@functools.cache\n{plain}", f"@lru_cache(maxsize=None)\n{plain}",
             "class Solution:\n    @cache\n    def f(self, n): return 0 if n == 0 else 1 + self.f(n - 1)",
             f"import sys\nsys.setrecursionlimit(10**6)\n{plain}"]  # fmt: skip
    wrong = {
        "def f(n): return f(n + 1)": "RecursionError",
        "def f(n): return sorted([1, 2], key=lambda _: f(n + 1))": "the program ended",
    }
    assert reasons([*right, *wrong], calls("50000", "50000")) == dict.fromkeys(right, "") | wrong


def test_a_program_with_many_threads_has_room_for_them():
    program = """
import threading, time
threads = [threading.Thread(target=time.sleep, args=(0.2,)) for _ in range(50)]
for thread in threads: thread.start()
print(len(threads))
"""

    assert run_program(program).stdout == "50\n"


def test_output_may_be_as_long_as_the_expected_one():
    lines = "".join(f"{10**9 + i}\n" for i in range(200_000))
    programs = {
        "for i in range(200000): print(10**9 + i)": "",
        "for i in range(200001): print(10**9 + i)": "another output",
        "for i in range(10**7): print(10**9 + i)": "too much output",
    }
    assert len(lines) == 2_200_000
    assert reasons(list(programs), reads(("", lines))) == programs
    assert set(reasons(["print('x' * 2_200_000)"], reads(("", "x"))).values()) == {"too much output"}


def test_whole_numbers_have_any_number_of_digits():
    programs = {"print(10**5000)": "", "print(10**5000 + 1)": "another output", "print(int('1' + '0' * 5000))": "",
                "print(f'{10**5000}.0')": "", "print('1e5000')": ""}  # fmt: skip
    assert reasons(list(programs), reads(("", "1" + "0" * 5000))) == programs
