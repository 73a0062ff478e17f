"""export: transformers and peft load the folder as the model that was trained, and nothing else is overwritten."""

import json
import os
from pathlib import Path

import pytest
import torch
from chatting import TURNS
from commands import files, run
from projects import Project
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from omniopd.data.layout import Layout
from omniopd.data.metrics import ACCURACY
from omniopd.data.store import read_json, write_json
from omniopd.errors import DataError, RunError
from omniopd.export import folders
from omniopd.export.checkpoints import chosen_round
from omniopd.export.folders import export_run
from omniopd.models.chat import Chat
from omniopd.rounds.run import open_run

IDS = torch.tensor([[1, 2, 3, 4, 5, 6, 7]])


def logits(model: PreTrainedModel) -> Tensor:
    with torch.inference_mode():
        return model(input_ids=IDS, use_cache=False).logits.float()


def loaded(folder: Path, **options) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, **options).eval()


def trained(project: Project, arm: str, round_: int) -> Tensor:
    """The logits of the run's own student in float32."""
    opened = open_run(project.run_dir(arm))
    return logits(opened.models.load_student(str(opened.files.checkpoint(round_))))


def dtypes(folder: Path) -> set[str]:
    with safe_open(folder / "model.safetensors", "pt") as weights:
        return {str(weights.get_tensor(name).dtype) for name in weights.keys()}  # noqa: SIM118


@pytest.fixture(scope="module")
def exported(finished_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's run."""
    return export_run(finished_project.run_dir(), tmp_path_factory.mktemp("exports") / "demo").model


@pytest.fixture(scope="module")
def merged(chatting: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter in its base."""
    out = tmp_path_factory.mktemp("exports") / "merged"
    return export_run(chatting.run_dir("adapted"), out, merge=True).model


# --- the model


def test_transformers_loads_the_weights_that_were_trained(exported: Path, finished_project: Project):
    checkpoint = finished_project.run_dir() / "checkpoints" / "round-0005"

    model, tokenizer = loaded(exported), AutoTokenizer.from_pretrained(exported)

    assert torch.equal(logits(model), logits(loaded(checkpoint)))
    assert not torch.equal(
        logits(model), logits(loaded(finished_project.root / "models" / "seed-0" / "student"))
    )
    assert tokenizer("4185+5874=")["input_ids"] == [4, 1, 8, 5, 10, 5, 8, 7, 4, 11]


def test_the_folder_holds_no_state_of_training_and_no_folder_of_this_machine(
    exported: Path, merged: Path, finished_project: Project, chatting: Project
):
    for folder in (exported, merged):
        assert set(files(folder)) >= {"README.md", "omniopd.yaml", "config.json", "generation_config.json"}
        assert not {"optimizer.safetensors", "trainer.json", "checkpoint.json"} & set(files(folder))
        content = b"".join(path.read_bytes() for path in folder.iterdir())
        for place in (finished_project.root, chatting.root, Path(os.environ["HOME"]), Path(os.getcwd())):
            assert str(place).encode() not in content
        assert b"acme-student" in content or folder == exported


def test_weights_have_the_dtype_of_the_original_model(chatting: Project, exported: Path, tmp_path: Path):
    folder = export_run(chatting.run_dir("whole"), tmp_path / "whole").model

    assert dtypes(exported) == {"torch.float32"}
    assert dtypes(folder) == {"torch.bfloat16"}
    assert read_json(folder / "config.json")["dtype"] == "bfloat16"
    checkpoint = chatting.run_dir("whole") / "checkpoints" / "round-0002"
    assert torch.equal(logits(loaded(folder)), logits(loaded(checkpoint, dtype=torch.bfloat16)))


def test_a_response_ends_where_the_chat_template_ends_a_turn(merged: Path):
    model, tokenizer = loaded(merged), AutoTokenizer.from_pretrained(merged)
    messages = [{"role": "user", "content": "2+2="}]
    inputs = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    prompt_len = inputs["input_ids"].shape[1]
    assert tokenizer.chat_template == TURNS
    assert (model.generation_config.temperature, model.generation_config.do_sample) == (0.9, True)

    for seed in range(8):
        torch.manual_seed(seed)
        output = model.generate(**inputs, max_new_tokens=3000)[0, prompt_len:].tolist()
        if output[-1] == tokenizer.bos_token_id:
            break

    assert output[-1] == tokenizer.bos_token_id, "the token that ends a turn"
    assert Chat(tokenizer).end_id == tokenizer.bos_token_id != tokenizer.eos_token_id
    assert tokenizer.bos_token_id not in output[:-1]


# --- an adapter


def test_an_adapter_is_loaded_by_peft_and_names_its_base(
    chatting: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from peft import AutoPeftModelForCausalLM

    folder = export_run(chatting.run_dir("adapted"), tmp_path / "adapter").model

    assert read_json(folder / "adapter_config.json")["base_model_name_or_path"] == "acme-student"
    assert not {"model.safetensors", "config.json"} & set(files(folder))
    monkeypatch.chdir(Path(open_run(chatting.run_dir("adapted")).model_path("student")).parent)
    model = AutoPeftModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    torch.testing.assert_close(logits(model), trained(chatting, "adapted", 2), atol=1e-5, rtol=1e-5)


def test_a_merged_adapter_is_a_model_of_its_own(chatting: Project, merged: Path):
    student = Path(open_run(chatting.run_dir("adapted")).model_path("student"))
    expected = trained(chatting, "adapted", 2)

    error = (logits(loaded(merged)) - expected).abs().max()
    learnt = (logits(loaded(student)) - expected).abs().max()

    assert dtypes(merged) == {"torch.bfloat16"}
    assert error < learnt / 10
    assert "adapter_config.json" not in files(merged)


# --- which checkpoint


def test_a_checkpoint_is_chosen_by_its_round_or_by_accuracy(finished_project: Project, tmp_path: Path):
    project = finished_project.copied_to(tmp_path / "project")
    _measure(project, {0: 0.9, 2: 0.5, 4: 0.5, 5: 0.25})
    opened = open_run(project.run_dir())

    assert chosen_round(opened, "last") == 5
    assert chosen_round(opened, 2) == 2
    assert chosen_round(opened, "best") == 4
    exported = export_run(project.run_dir(), tmp_path / "out", wanted=2)
    assert torch.equal(
        logits(loaded(exported.model)), logits(loaded(project.run_dir() / "checkpoints" / "round-0002"))
    )
    assert (exported.round, exported.num_rounds) == (2, 5)


def _measure(project: Project, accuracies: dict[int, float]) -> None:
    """Change the accuracies that a run recorded."""
    for round_, accuracy in accuracies.items():
        manifest = Layout(project.root).run("omniopd", 0).manifest(round_)
        content = read_json(manifest)
        write_json(manifest, content | {"metrics": content["metrics"] | {ACCURACY: accuracy}})


def test_of_an_unfinished_run_the_latest_checkpoint_is_taken(finished_project: Project, tmp_path: Path):
    project = finished_project.copied_to(tmp_path / "project")
    weights = project.run_dir() / "checkpoints" / "round-0005" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])

    assert chosen_round(open_run(project.run_dir()), "last") == 4
    with pytest.raises(RunError, match="round 5 is damaged.*dvc checkout"):
        chosen_round(open_run(project.run_dir()), 5)


def test_a_missing_checkpoint_is_named_with_those_that_are_kept(finished_project: Project, project: Project):
    from omniopd.config import load_params
    from omniopd.rounds.start import start_run

    with pytest.raises(RunError, match="no checkpoint of round 3; --round takes one of 2, 4, 5"):
        chosen_round(open_run(finished_project.run_dir()), 3)
    begun = start_run(load_params(project.params_file), "omniopd", 0, Layout(project.root))
    with pytest.raises(
        RunError, match="has no checkpoint; the first is written after 2 rounds: omniopd distill"
    ):
        chosen_round(open_run(begun), "last")


# --- what is overwritten


def test_an_export_is_written_again_but_nothing_else_is_overwritten(
    finished_project: Project, tmp_path: Path
):
    out = tmp_path / "out"
    for _ in range(2):
        export_run(finished_project.run_dir(), out, wanted=2)
    export_run(finished_project.run_dir(), out, wanted=4)

    (out / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="notes.txt, which no export wrote; move it away, or .* --out"):
        export_run(finished_project.run_dir(), out)
    (out / "notes.txt").unlink()
    (out / "README.md").write_text("# A better card")
    with pytest.raises(DataError, match="was changed after its export"):
        export_run(finished_project.run_dir(), out)
    assert (out / "README.md").read_text() == "# A better card"

    other = tmp_path / "other"
    other.mkdir()
    export_run(finished_project.run_dir(), other)  # it is empty
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    with pytest.raises(DataError, match="is not empty.*thesis.tex"):
        export_run(finished_project.run_dir(), tmp_path / "full")


def test_the_folder_of_the_data_is_looked_at_before_anything_is_written(
    finished_project: Project, tmp_path: Path
):
    (tmp_path / "out-data").mkdir()
    (tmp_path / "out-data" / "mine.txt").write_text("")

    with pytest.raises(DataError, match=r"out-data: is not empty"):
        export_run(finished_project.run_dir(), tmp_path / "out", with_data=True)

    assert not (tmp_path / "out").exists()


def test_an_export_that_stops_half_way_leaves_the_earlier_folder(
    finished_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = export_run(finished_project.run_dir(), tmp_path / "out", wanted=2).model
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(folders, "write_receipt", stop)
    with pytest.raises(KeyboardInterrupt):
        export_run(finished_project.run_dir(), out)

    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert files(tmp_path) == sorted(["out", *(f"out/{name}" for name in before)])


# --- the command


@pytest.mark.usefixtures("restored_environment")
def test_the_command_writes_below_exports_and_says_so(
    finished_project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    project = finished_project.copied_to(tmp_path / "project")
    monkeypatch.chdir(project.root)
    from omniopd.cli.app import app

    app(["export", "omniopd", "--round", "4", "--data"], standalone_mode=False)

    printed = capsys.readouterr()
    assert "exports/omniopd-0: " in printed.out
    assert "exports/omniopd-0-data: " in printed.out
    assert "round 4 of 5" in printed.err
    assert (
        json.loads((project.root / "exports" / "omniopd-0" / "config.json").read_text())["model_type"]
        == "qwen3"
    )


@pytest.mark.usefixtures("restored_environment")
@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--round", "late"], "--round late"),
        (["--private"], "--push"),
        (["--push", "name"], "owner/name"),
        (["--push", "a/b/c"], "owner/name"),
        (["--push", "me/bad name"], "owner/name"),
    ],
)
def test_a_wrong_option_ends_with_a_sentence_before_any_work(
    options: list[str], named: str, finished_project: Project, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)

    assert run(monkeypatch, "export", str(finished_project.run_dir()), *options) == 2

    assert named in capsys.readouterr().err
    assert files(tmp_path) == []
    assert not (finished_project.root / "exports").exists()
