"""Rows in the form of evalplus/humanevalplus and evalplus/mbppplus, with problems of these tests' own."""

import json
from typing import Any

# As EvalPlus's tools/*/to_original_fmt.py writes it: before v0.2.1 with `allclose`, since then with `testing`.
COMPARISON = """
import numpy as np

def is_floats(x) -> bool:
    # check if it is float; List[float]; Tuple[float]
    if isinstance(x, float):
        return True
    if isinstance(x, (list, tuple)):
        return all(isinstance(i, float) for i in x)
    if isinstance(x, np.ndarray):
        return x.dtype == np.float64 or x.dtype == np.float32
    return False


def assertion(out, exp, atol):
    if atol == 0 and is_floats(exp):
        atol = 1e-6
    if out != exp and atol != 0:
        %s
    else:
        assert out == exp, f"out: {out}, exp: {exp}"

"""
COMPARISONS = {
    "allclose": COMPARISON % "assert np.allclose(out, exp, rtol=1e-07, atol=atol)",
    "testing": COMPARISON % "np.testing.assert_allclose(out, exp, atol=atol)",
}


def humaneval_row(
    number: int,
    prompt: str,
    name: str,
    inputs: Any,
    results: Any,
    *,
    solution: str = "",
    by: str = "allclose",
) -> dict[str, Any]:
    test = f"""{COMPARISONS[by]}
def check(candidate):
    inputs = {inputs}
    results = {results}
    for i, (inp, exp) in enumerate(zip(inputs, results)):
        assertion(candidate(*inp), exp, 0)
"""
    return {
        "task_id": f"HumanEval/{number}", "prompt": prompt, "canonical_solution": solution, "entry_point": name,
        "test": test,
    }  # fmt: skip


def mbpp_row(
    number: int, prompt: str, name: str, inputs: Any, results: Any, code: str = ""
) -> dict[str, Any]:
    test = f"""{COMPARISONS["allclose"]}
inputs = {inputs}
results = {results}
for i, (inp, exp) in enumerate(zip(inputs, results)):
    assertion({name}(*inp), exp, 0)
"""
    shown = [
        f"assert {name}({', '.join(map(repr, inp))}) == {exp!r}"
        for inp, exp in zip(inputs, results, strict=True)
    ]
    return {
        "task_id": number, "code": code, "prompt": prompt, "source_file": "problems.ipynb", "test_imports": [],
        "test_list": shown[:3], "test": test,
    }  # fmt: skip


def record_of(row: dict[str, Any], *names: str) -> str:
    return json.dumps({name: row[name] for name in names})
