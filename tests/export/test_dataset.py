"""The data of a run: `datasets` loads each table by its name, as the run wrote it."""

from pathlib import Path

import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard
from projects import Project

from omniopd.data.records import Reward, Trajectory, Verdict
from omniopd.data.store import file_md5, read_records, write_records
from omniopd.export.folders import export_run
from omniopd.rounds.run import open_run


@pytest.fixture(scope="module")
def exported(finished_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exports") / "mine"
    folder = export_run(finished_project.run_dir(), out, with_data=True).data
    assert folder is not None
    return folder


@pytest.mark.parametrize("kind", [Trajectory, Verdict])
def test_datasets_loads_each_table(kind: type, exported: Path, finished_project: Project, tmp_path: Path):
    files, name = (
        open_run(finished_project.run_dir()).files,
        {Trajectory: "trajectories", Verdict: "verdicts"}[kind],
    )
    expected = [record for r in range(5) for record in read_records(getattr(files, name)(r), kind)]

    table = load_dataset(str(exported), name, split="train", cache_dir=str(tmp_path))

    assert [row["id"] for row in table] == [record.id for record in expected]
    assert table.column_names == list(vars(expected[0]))
    assert table[-1]["seed"] == expected[-1].seed


def test_the_files_are_those_of_the_run(exported: Path, finished_project: Project):
    copies = [path.relative_to(exported) for path in exported.rglob("*.parquet")]

    assert len(copies) == 10
    for path in copies:
        assert file_md5(exported / path) == file_md5(finished_project.run_dir() / path)


def test_the_card_lists_the_tables_as_configurations(exported: Path):
    card = DatasetCard.load(exported / "README.md")

    assert {config["config_name"]: config["data_files"] for config in card.data.get("configs")} == {
        "trajectories": "trajectories/*.parquet",
        "verdicts": "verdicts/*.parquet",
    }
    assert "| `trajectories` | 60 |" in card.text
    assert 'load_dataset("mine-data", "verdicts", split="train")' in card.text
    assert "the teacher `demo`" in card.text
    assert "may limit what its replies may be used for" in card.text


def test_an_earlier_checkpoint_has_the_rounds_that_trained_it(finished_project: Project, tmp_path: Path):
    folder = export_run(finished_project.run_dir(), tmp_path / "mine", wanted=2, with_data=True).data

    assert folder is not None
    names = ["round-0000.parquet", "round-0001.parquet"]
    assert sorted(path.name for path in (folder / "verdicts").iterdir()) == names


def test_rewards_are_a_table_where_a_method_has_them(finished_project: Project, tmp_path: Path):
    project = finished_project.copied_to(tmp_path / "project")
    files = open_run(project.run_dir()).files
    for round_ in range(5):
        rewards = [Reward(item.id, "1", 0.0) for item in read_records(files.trajectories(round_), Trajectory)]
        write_records(files.rewards(round_), rewards, Reward)

    folder = export_run(project.run_dir(), tmp_path / "mine", with_data=True).data

    rows = load_dataset(str(folder), "rewards", split="train", cache_dir=str(tmp_path / "cache"))
    assert (len(rows), set(rows["answer"])) == (60, {"1"})


def test_a_teacher_in_a_folder_is_published_by_its_name_alone(chatting: Project, tmp_path: Path):
    run = open_run(chatting.run_dir("whole"))
    written = read_records(run.files.trajectories(0), Trajectory)
    assert {item.writer for item in written} == {"../acme-student"}

    folder = export_run(chatting.run_dir("whole"), tmp_path / "mine", with_data=True).data

    assert folder is not None
    published = read_records(folder / "trajectories" / "round-0000.parquet", Trajectory)
    assert {item.writer for item in published} == {"acme-student"}
    assert [item.response_ids for item in published] == [item.response_ids for item in written]
    card = (folder / "README.md").read_text()
    assert "responses of the teacher `acme-student`" in card
    assert "../" not in card
