"""The docs: what they tell a reader to run does run, and the pages made from the code say all that there is."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from projects import REPOSITORY, Project, make_project, run_plain
from typer.main import get_command

from omniopd.cli.app import COMMANDS, STEPS, app
from omniopd.data.layout import Layout, RunLayout
from omniopd.data.records import Verdict
from omniopd.data.store import read_json, read_records
from omniopd.teachers import TeacherRequest

DOCS = REPOSITORY / "docs"


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(REPOSITORY / "scripts")
    return importlib.import_module("docs_pages")


def clone(folder: Path) -> Path:
    """The repository's files as git has them, changes included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    return folder


# In place of what the tutorial has: models that learn little, and rounds that take little time.
SHORT = {
    "models.demo.student.num_steps": 45, "models.demo.teacher.num_steps": 40, "models.demo.start.max_draws": 1,
    "rollout.num_prompts": 16, "rollout.max_new_tokens": 16, "compute.num_threads": 1, "prompts.num_train": 700,
    "prompts.num_validation": 20, "prompts.num_heldout": 40,
}  # fmt: skip
WHOLE = bool(os.environ.get("OMNIOPD_TEST_TUTORIAL"))


@pytest.mark.slow
@pytest.mark.timeout(3600 if WHOLE else 1500)
def test_the_tutorial_runs_word_for_word(warm: Path, tmp_path: Path):
    """With OMNIOPD_TEST_TUTORIAL set, at the length that a reader sees, when students must learn too."""
    blocks = re.findall(
        r"^```bash\n(.*?)^```$", (DOCS / "tutorial.md").read_text(encoding="utf-8"), re.M | re.S
    )
    root = clone(tmp_path / "omniopd")
    if not WHOLE:
        Project(root).edit_paths(SHORT)
        [written] = [i for i, block in enumerate(blocks) if "cat >params.yaml" in block]
        blocks[written] = blocks[written].replace("128, max_new_tokens: 48", "16, max_new_tokens: 16")
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment |= {
        "PATH": os.pathsep.join((str(warm), str(Path(sys.executable).parent), os.environ["PATH"])),
        "PYTHONPATH": str(root),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }  # fmt: skip

    done = subprocess.run(
        ["bash", "-euo", "pipefail"], input="\n".join(blocks), cwd=root, env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-2000:]
    for project, arms in (("first", ("omniopd-fork", "omniopd")), ("mine", ("omniopd-fork",))):
        for arm in arms:
            assert (root / project / "reports" / f"{arm}-0.html").stat().st_size > 50_000
        record = read_json(Layout(root / project).evaluation("omniopd-fork", 0))
        before, after = (record[when]["greedy"]["accuracy"] for when in ("before", "after"))
        assert not WHOLE or after > before + 0.1


def test_the_guide_to_teachers_makes_one_that_is_asked_word_for_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    guide = (DOCS / "adding-a-teacher.md").read_text(encoding="utf-8")
    lines = guide[guide.index("    # my_lab/rules.py") : guide.index("    teacher: {")].splitlines()
    monkeypatch.delitem(sys.modules, "my_lab", raising=False)  # of the guide to methods
    package = tmp_path / "my_lab"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "rules.py").write_text("\n".join(line[4:] for line in lines) + SOLUTION)
    monkeypatch.syspath_prepend(tmp_path)
    project = make_project(tmp_path / "project").edit(
        teacher__kind="my_lab.rules:Rules", teacher__model="rules", teacher__tokenizer="student"
    )
    project.make_base()

    run_plain(project.params_file)

    rules = importlib.import_module("my_lab.rules").Rules(
        "rules", name="rules", temperature=1.0, batch_size=1
    )
    request = TeacherRequest("0/0", "0", "4185+5874=", "5+4+0", num_replies=2, max_tokens=3, seed=1)
    assert rules.answer([request])[0].replies == ["=09", "=09"]
    verdicts = [
        verdict
        for round_ in range(5)
        for verdict in read_records(RunLayout(project.run_dir()).verdicts(round_), Verdict)
    ]
    assert {verdict.teacher for verdict in verdicts} == {"rules"}


SOLUTION = """

def solution(prompt):
    a, b = prompt.rstrip("=").split("+")
    steps, carry = [], 0
    for x, y in zip(reversed(a), reversed(b), strict=True):
        total = int(x) + int(y) + carry
        steps.append(f"{x}+{y}+{carry}={total:02d};")
        carry = total // 10
    return "".join(steps) + f">{int(a) + int(b):05d}"
"""


def test_the_page_of_commands_has_every_command_and_option(pages):
    text = pages.commands_page()

    for name, command in get_command(app).commands.items():
        assert re.search(rf"^## omniopd {name}$", text, re.M)
        for below in getattr(command, "commands", {}):
            assert f"### omniopd {name} {below}\n" in text
        for parameter in command.params:
            assert all(f"`{option}`" in text for option in parameter.opts)
    assert set(COMMANDS) | set(STEPS) == set(get_command(app).commands)


def test_the_page_of_params_has_every_setting_with_its_default_and_its_type(pages):
    text = pages.params_page((REPOSITORY / "params.yaml").read_text())

    assert "| `schedule` | `linear` |  | `constant`, `linear`, `cosine` |" in text
    assert "| `budget_usd` ° | `null` |  | number ≥ 0 or null |" in text
    assert "| `max_new_tokens` | `512` | `48` | integer > 0 |" in text
    assert "| `omniopd.num_replies` | `10` | `4` | integer > 0 |" in text
    assert "| `cut_share` ° | `0.5` |" in text
    assert "| `lora.rank` |  |  | integer > 0 |" in text
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert [name for name, *cells in rows if not (cells[2].strip() and cells[-1].strip())] == []


def test_every_page_is_in_the_navigation_of_the_site():
    config = (REPOSITORY / "mkdocs.yml").read_text()
    for page in DOCS.glob("*.md"):
        assert f" {page.name}\n" in config


def test_links_of_the_readme_lead_somewhere():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)", readme):
        if not link.startswith("https://"):
            assert (REPOSITORY / link).exists(), link


def test_files_that_the_pages_name_exist():
    folders = [REPOSITORY, *(REPOSITORY / name for name in ("omniopd", "flows", "tests"))]
    named = [
        (page.name, name)
        for page in (*DOCS.glob("*.md"), REPOSITORY / "README.md")
        for name in re.findall(r"`((?:\w+/)+\w+\.py)(?:::\w+)?`", page.read_text(encoding="utf-8"))
    ]

    assert len(named) > 30
    assert [item for item in named if not any((folder / item[1]).is_file() for folder in folders)] == []


def test_each_equation_of_the_method_names_its_function_and_its_test():
    rows = [
        line.strip("| ").split(" | ")[-2:]
        for line in (DOCS / "method.md").read_text(encoding="utf-8").splitlines()
        if re.search(r"`\w+/test_\w+\.py`: ", line)
    ]
    assert len(rows) > 12
    for functions, test in rows:
        for module, name in re.findall(r"`(\w+)\.(\w+)`", functions):
            room = importlib.import_module(f"omniopd.{module}")
            assert hasattr(room, name) or importlib.import_module(f"omniopd.{module}.{name}")
        file, words = re.fullmatch(r"`(\S+)`: ([^…|]+)…?[ |]*", test).groups()
        code = (REPOSITORY / "tests" / file).read_text(encoding="utf-8")
        assert f"def test_{words.strip().replace(' ', '_')}" in code, words


@pytest.mark.parametrize("page", ["adding-a-method", "adding-a-teacher"])
def test_members_that_a_guide_names_exist(page: str):
    rooms = [importlib.import_module(f"omniopd.{name}") for name in ("teachers", "methods", "data.records")]
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    for owner, member in re.findall(r"\b([A-Z]\w+)\.([a-z]\w+)\b", text):
        known = [getattr(room, owner) for room in rooms if hasattr(room, owner)]
        classes = [kind for kind in known if getattr(kind, "__module__", "").startswith("omniopd")]
        assert all(hasattr(kind, member) for kind in classes), f"{owner}.{member}"
