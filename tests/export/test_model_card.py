"""The card of an exported model says what a run was, and nothing of the machine or its secrets."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from projects import Project

from omniopd.config import load_params, resolve
from omniopd.data.layout import Layout
from omniopd.data.store import read_json, write_json
from omniopd.export.folders import export_run
from omniopd.export.licences import Licence, licence_files, licence_of
from omniopd.export.model_card import model_card
from omniopd.export.origin import Origin, origin_of
from omniopd.export.results import evaluations
from omniopd.export.selection import Selection
from omniopd.report.intervals import mean_interval
from omniopd.rounds.run import open_run

ORIGIN = Origin("2026-01-31 12:00", {"omniopd.version": "0.1.0", "mlflow.source.git.commit": "3f2c9a"})


def card_of(project: Project, arm: str = "omniopd", *, origin: Origin = ORIGIN, **changes: Any) -> ModelCard:
    run = open_run(project.run_dir(arm))
    chosen = Selection(**{"run": run, "round": run.config.train.num_rounds, "title": "me/mine", **changes})
    return ModelCard(model_card(chosen, origin=origin, records=evaluations(run), dtype="float32"))


@pytest.fixture
def copied(finished_project: Project, tmp_path: Path) -> Project:
    return finished_project.copied_to(tmp_path / "project")


def test_the_card_states_models_method_data_cost_and_code(finished_project: Project):
    card = card_of(finished_project)

    assert card.data.get("license") == "unknown"
    assert card.data.get("library_name") == "transformers"
    assert set(card.data.get("tags")) >= {"omniopd", "on-policy-distillation"}
    rounds = [read_json(path)["metrics"] for path in (finished_project.run_dir() / "manifests").iterdir()]
    written = round(sum(metrics.get("teacher_tokens", 0) for metrics in rounds))
    for fact in (
        "| base model | `models/seed-0/student` |", "| teacher | `demo` (transformers) |",
        "| method | `omniopd`, arm `omniopd`, seed 0 |", "| prompts | `addition`, 40 to train on |",
        "| checkpoint | after round 5 of 5, of 12 responses each |", "| learning rate | 0.0002 |",
        f"| teacher tokens | {written} written,", "| cost of the teacher | $0.00 |",
        "| trained | 2026-01-31 12:00 UTC |", "| code | omniopd 0.1.0, commit 3f2c9a |",
    ):  # fmt: skip
        assert fact in card.text
    assert "omniopd reproduce omniopd-0" in card.text


def test_a_checkpoint_has_the_cost_of_its_own_rounds(finished_project: Project):
    of_all, of_two = (card_of(finished_project, round=round_).text for round_ in (5, 2))

    line = next(line for line in of_all.splitlines() if line.startswith("| teacher tokens"))
    assert line not in of_two
    assert "after round 2 of 5" in of_two


def test_the_code_of_the_card_runs(finished_project: Project, tmp_path: Path, monkeypatch, capsys):
    export_run(finished_project.run_dir(), tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    code = (tmp_path / "mine" / "README.md").read_text().partition("```python\n")[2].partition("```")[0]

    exec(compile(code, "README.md", "exec"), {})

    assert set(capsys.readouterr().out.strip()) <= set("0123456789+=;>")


def test_settings_that_were_set_are_listed_and_defaults_are_not(finished_project: Project):
    settings = card_of(finished_project).text.partition("## Settings")[2].partition("\n`omniopd.yaml`")[0]

    assert "num_chunks: 2" in settings
    assert "lr: 0.0002" in settings
    for default in ("alpha", "schedule", "temperature", "tracking", "alarms", "seeds"):
        assert f"{default}:" not in settings


def test_the_params_file_beside_the_weights_gives_the_same_run(finished_project: Project, tmp_path: Path):
    folder = export_run(finished_project.run_dir(), tmp_path / "mine").model

    config = resolve(load_params(folder / "omniopd.yaml"), "omniopd", 0)

    assert config.determining() == open_run(finished_project.run_dir()).config.determining()


# --- what must not be published


def test_addresses_paths_and_secrets_stay_here(
    copied: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ACME_API_KEY", "acme-0123456789-secret")
    path = copied.run_dir() / "config.json"
    content = read_json(path)
    content["settings"]["teacher"] |= {
        "kind": "api", "model": "hosted_vllm/acme", "base_url": "http://10.1.2.3:8000/v1", "cache": "/srv/t.sqlite",
        "context": [{"role": "system", "content": "Say acme-0123456789-secret."}],
        "engine": {"download_dir": "/srv/private/hub"},
    }  # fmt: skip
    content["settings"]["tracking"]["uri"] = "postgresql://user:password@db/mlflow"
    content["settings"]["prompts"]["source"] = "/srv/private/prompts.jsonl"
    write_json(path, content)

    folder = export_run(copied.run_dir(), tmp_path / "mine").model

    for text in ((folder / name).read_text() for name in ("README.md", "omniopd.yaml")):
        for private in ("10.1.2.3", "/srv", "password", "acme-0123456789-secret", str(tmp_path)):
            assert private not in text
        assert "hosted_vllm/acme" in text
        assert "prompts.jsonl" in text
    card = (folder / "README.md").read_text()
    assert "set `teacher.base_url` to yours" in card
    assert "does not hold `prompts.jsonl`" in card


# --- models of the hub


def test_names_of_the_hub_are_links_in_the_front_matter(copied: Project):
    models = copied.root / "models" / "seed-0" / "models.json"
    chat = open_run(copied.run_dir()).models.chat
    write_json(models, read_json(models) | {"student": {"name": "acme/tiny", "digest": "acme/tiny"}})
    content = read_json(copied.run_dir() / "config.json")
    content["settings"]["prompts"] |= {"source": "acme/sums", "subset": "main"}
    write_json(copied.run_dir() / "config.json", content)
    open_run(copied.run_dir()).models.chat = chat

    card = card_of(copied)

    assert card.data.get("base_model") == "acme/tiny"
    assert card.data.get("datasets") == ["acme/sums"]
    assert "`acme/sums (main, train)`" in card.text
    assert "This folder does not hold" not in card.text


def test_an_adapter_says_so_unless_it_is_merged(chatting: Project):
    alone = card_of(chatting, "adapted")
    merged = card_of(chatting, "adapted", merged=True)

    assert (alone.data.get("library_name"), merged.data.get("library_name")) == ("peft", "transformers")
    assert "It needs its base, `acme-student`" in alone.text
    assert "It needs its base" not in merged.text
    assert "| weights | LoRA of rank 2, float32 |" in alone.text
    assert "| weights | LoRA of rank 2, merged, float32 |" in merged.text
    assert "lora" in alone.data.get("tags")
    assert "| base model | acme-student | apache-2.0 |" in alone.text
    assert alone.data.get("license") == "apache-2.0"


# --- results


def record(run_key: str, seed: int, before: float, after: float) -> dict[str, Any]:
    """What `omniopd evaluate` writes, with a benchmark."""

    def measured(accuracy: float) -> dict[str, Any]:
        share = {"accuracy": accuracy, "interval": [accuracy - 0.03, accuracy + 0.03], "num_prompts": 1000}
        benchmark = {"mean": accuracy / 2, "interval": [0.1, 0.2]}
        return {"greedy": share, "sampled": share, "fork_entropy": {}, "benchmarks": {"gsm8k": benchmark}}

    return {
        "arm": "omniopd", "seed": seed, "key": run_key, "lr": 0.0002, "steps": 5, "before": measured(before),
        "after": measured(after), "trained_tokens": 1, "student_tokens": 1, "teacher_tokens": 884, "cost_usd": 0.0,
        "seconds": {}, "notes": [],
        "curves": {"validation/greedy": [{"round": 0, "teacher_tokens": 0, "value": before}]},
    }  # fmt: skip


def another_seed(project: Project, seed: int, **settings: Any) -> None:
    """A run of another seed, evaluated; its settings are those of seed 0 but for these."""
    shutil.copytree(project.run_dir(), project.run_dir(seed=seed))
    path = project.run_dir(seed=seed) / "config.json"
    content = read_json(path)
    content["settings"]["train"] |= settings
    write_json(path, content | {"key": f"{seed}", "settings": content["settings"] | {"seed": seed}})
    evaluation = record(f"{seed}", seed, 0.40 + seed / 100, 0.60 + seed / 100)
    write_json(Layout(project.root).evaluation("omniopd", seed), evaluation)


def test_an_evaluated_run_has_its_accuracies_with_intervals(copied: Project):
    key = open_run(copied.run_dir()).key
    write_json(Layout(copied.root).evaluation("omniopd", 0), record(key, 0, 0.4, 0.6))

    card = card_of(copied)

    assert "| 1,000 held-out prompts, greedy | 0.400 (0.370–0.430) | 0.600 (0.570–0.630) |" in card.text
    assert "| gsm8k, Pass@1 | 0.200 (0.100–0.200) | 0.300 (0.100–0.200) |" in card.text
    assert "mean of" not in card.text
    scores = {each.dataset_name: each.metric_value for each in card.data.eval_results}
    assert scores == {"held-out prompts": 0.6, "gsm8k": 0.3}


def test_other_seeds_with_the_same_settings_give_an_interval_over_seeds(copied: Project):
    key = open_run(copied.run_dir()).key
    write_json(Layout(copied.root).evaluation("omniopd", 0), record(key, 0, 0.4, 0.6))
    another_seed(copied, 1)
    another_seed(copied, 2)
    another_seed(copied, 3, lr=0.5)

    card = card_of(copied)

    half = f"{mean_interval([0.60, 0.61, 0.62]).half:.3f}"
    assert f"| held-out prompts, greedy: mean of 3 seeds | 0.410 ± {half} | 0.610 ± {half} |" in card.text


def test_results_of_other_weights_are_left_out_and_the_card_says_why(copied: Project):
    key = open_run(copied.run_dir()).key
    path = Layout(copied.root).evaluation("omniopd", 0)
    write_json(path, record(key, 0, 0.4, 0.6))

    assert "not on this checkpoint" in card_of(copied, round=4).text
    assert "held-out prompts, greedy" not in card_of(copied, round=4).text
    write_json(path, record("of another run", 0, 0.4, 0.6))
    assert "was not evaluated on held-out prompts" in card_of(copied).text


# --- where it comes from


def test_the_commit_is_the_one_that_mlflow_recorded(copied: Project, tmp_path: Path, monkeypatch):
    from omniopd.tracking.lookup import Lookup, TrackedRun

    warnings: list[str] = []
    path = copied.run_dir() / "config.json"
    content = read_json(path)
    content["settings"]["tracking"] |= {"enabled": True, "uri": f"sqlite:///{tmp_path}/none.db"}
    write_json(path, content)
    run = open_run(copied.run_dir())

    assert origin_of(run, warnings.append).begun == ""
    assert [str(tmp_path) in line and "commit of this folder" in line for line in warnings] == [True]

    tags = {"omniopd.key": run.key, "mlflow.source.git.commit": "3f2c"}
    others = [
        TrackedRun("1", "7", "omniopd-0", "FINISHED", "2025-01-01 00:00", {"omniopd.key": "no"}, [], {})
    ]
    found = TrackedRun("2", "7", "omniopd-0", "FINISHED", "2026-01-31 12:00", tags, [], {})
    monkeypatch.setattr(Lookup, "__init__", lambda *_: None)
    monkeypatch.setattr(Lookup, "runs", lambda _: [*others, found])
    origin = origin_of(run, pytest.fail)
    assert (origin.begun, origin.code) == ("2026-01-31 12:00", "omniopd of an unknown version, commit 3f2c")


# --- licences


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, Licence("unknown")),
        ({"README.md": "---\nlicense: apache-2.0\n---\n# A"}, Licence("apache-2.0")),
        ({"README.md": "---\nlicense: [mit, apache-2.0]\n---\n# A"}, Licence("mit")),
        (
            {"README.md": "---\nlicense: other\nlicense_name: acme\nlicense_link: LICENSE\n---\n"},
            Licence("other", "acme", "LICENSE"),
        ),
        ({"README.md": "---\n: [\n---\n# damaged", "LICENSE": "MIT License\n\nCopyright"}, Licence("mit")),
        (
            {"README.md": "# no front matter", "LICENSE.md": "Apache License\n  Version 2.0"},
            Licence("apache-2.0"),
        ),
        (
            {"LICENSE.txt": "\nACME MODEL LICENSE AGREEMENT\nbe nice"},
            Licence("other", "acme-model-license-agreement", "LICENSE.txt"),
        ),
        ({"NOTICE": "Copyright Acme"}, Licence("unknown")),
    ],
)
def test_a_licence_is_read_from_the_files_of_a_model(
    files: dict[str, str], expected: Licence, tmp_path: Path
):
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    assert licence_of(str(tmp_path)) == expected
    assert {path.name for path in licence_files(str(tmp_path))} == files.keys() - {"README.md"}


def test_a_model_of_the_hub_that_is_not_here_has_an_unknown_licence():
    assert licence_of("acme/not-in-the-cache") == Licence("unknown")


def test_licence_files_go_with_the_weights(chatting: Project, tmp_path: Path):
    folder = export_run(chatting.run_dir("adapted"), tmp_path / "mine").model

    assert "Apache License" in (folder / "LICENSE").read_text()
