"""check: settings of the chat template, control tokens in texts, and what benchmarks put before their items."""

from datetime import datetime

import pytest
from checked import ROWS, refusal, template, warnings_of, write_rows
from projects import Project

from omniopd.errors import ConfigError, ModelError

PLAIN = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN


def about(project: Project, word: str) -> list[str]:
    return [line for line in warnings_of(project) if word in line]


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_a_setting_that_the_template_does_not_have_is_warned_of(local_project: Project, role: str):
    template(PLAIN + "{{ ';' if enable_thinking else '' }}")(local_project.root / role)
    key = {"student": "models__chat_template_kwargs", "teacher": "teacher__chat_template_kwargs"}[role]

    assert not about(local_project.edit(**{key: {"enable_thinking": False}}), "no setting")
    [line] = about(local_project.edit(**{key: {"enable_thinkin": False}}), "no setting")
    assert "'enable_thinkin'" in line
    assert f"{local_project.root}/{role}" in line


def test_a_template_that_writes_the_date_is_warned_of_unless_a_setting_fixes_it(local_project: Project):
    dated = "{% set date_string = date_string if date_string is defined else strftime_now('%d %b %Y') %}"
    template(dated + "{{ date_string }}" + PLAIN)(local_project.root / "student")

    [line] = about(local_project, "current date")
    assert "models.student" in line
    fixed = {"date_string": f"1 Jan {datetime.now().year}"}
    assert not about(local_project.edit(models__chat_template_kwargs=fixed), "current date")


def test_prompts_and_stop_strings_with_the_text_of_a_control_token_are_warned_of(local_project: Project):
    assert not about(local_project.edit(rollout__stop=[";;"]), "control token")
    [line] = about(local_project.edit(rollout__stop=[";;", "1<end>"]), "control token")
    assert "stop string '1<end>'" in line
    local_project.edit(rollout__stop=[])
    [line] = about(
        local_project.edit(benchmarks__suite=["gsm8k"], benchmarks__stop=["<end>"]), "control token"
    )
    assert "'<end>'" in line
    local_project.edit(benchmarks__stop=[])
    marked = [{**row, "prompt": f"1<end>+{i}="} for i, row in enumerate(ROWS)]
    write_rows(local_project.root / "prompts.jsonl", marked)
    [line] = about(local_project, "control token")
    assert "and 29 others contains '<end>'" in line


def test_worked_examples_of_no_benchmark_are_refused(local_project: Project):
    local_project.edit(benchmarks__examples={"gms8k": [{"prompt": "1+1=", "response": "2"}]})
    [line] = refusal(local_project, ConfigError)
    assert "benchmarks.examples.gms8k: no such benchmark" in line
    assert "gsm8k" in line


def test_a_template_that_does_not_take_the_messages_of_the_benchmarks_is_refused(local_project: Project):
    template(NO_SYSTEM)(local_project.root / "student")
    about(local_project.edit(benchmarks__suite=["gsm8k"]), "")
    [line] = refusal(local_project.edit(benchmarks__system="Be brief."), ModelError)
    assert "examples of benchmarks: student: its chat template does not take messages of system, user" in line
