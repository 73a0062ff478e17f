"""What the whole suite shares: tiny projects in temporary folders, and shapes checked by beartype.

Fixtures import torch and transformers themselves: pytest-xdist reads this file before it starts its workers.
"""

import os
from collections.abc import Iterator
from pathlib import Path

# Before any library is imported: nothing here may reach a network, a terminal or the user's own state.
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    TOKENIZERS_PARALLELISM="false",
    OMP_NUM_THREADS="1",  # two suites of threads on the same cores wait for each other
    MLFLOW_DISABLE_TELEMETRY="true",
    DO_NOT_TRACK="1",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
)

if not Path("/dev/nvidiactl").exists():
    os.environ["TRITON_INTERPRET"] = "1"  # kernels run in its interpreter; read where they are defined

collect_ignore = [] if os.environ.get("OMNIOPD_TEST_VLLM") else ["on_vllm"]  # see `make test-vllm`

from jaxtyping import install_import_hook

# Kernels are read from their source by Triton, and shall find it as it was written.
FUNCTIONAL = Path(__file__).parent.parent / "omniopd" / "functional"
install_import_hook(
    [f"omniopd.functional.{path.stem}" for path in FUNCTIONAL.glob("[a-z]*.py") if path.stem != "kernels"],
    "beartype.beartype",
)

import pytest
from checkout import Guard
from projects import REPOSITORY, Project, made_once, make_project, run_plain
from warm import warm_commands


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # once: not in the processes of pytest-xdist
        config.pluginmanager.register(Guard(REPOSITORY))


@pytest.fixture(scope="session", autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A temporary folder to work in: a relative path, as in params.yaml, shall not mean the checkout."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    yield
    os.chdir(before)


@pytest.fixture(scope="session")
def base_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A tiny project with its prompts and models made; not to be written to."""

    def make(folder: Path) -> None:
        make_project(folder).make_base()

    return Project(made_once(tmp_path_factory, "base", make))


@pytest.fixture(scope="session")
def finished_project(base_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The tiny project with a finished run of the arm omniopd; not to be written to."""

    def make(folder: Path) -> None:
        run_plain(base_project.copied_to(folder).params_file)

    return Project(made_once(tmp_path_factory, "finished", make))


@pytest.fixture
def project(base_project: Project, tmp_path: Path) -> Project:
    """A copy of the tiny project, to run in."""
    return base_project.copied_to(tmp_path / "project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes comes first, or one process would end with it while the others wait."""
    first = ("flows", "pipeline", "test_docs.py")
    items.sort(key=lambda item: item.path.relative_to(Path(__file__).parent).parts[0] not in first)


@pytest.fixture
def restored_environment() -> Iterator[None]:
    """Variables that a command sets for the libraries, or reads from a .env, do not outlive the test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def warm() -> Iterator[Path]:
    """The folder of commands that start at once, for PATH; see warm.py."""
    with warm_commands() as folder:
        yield folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, which are not part of the repository."""
    folder = Path(os.environ.get("OMNIOPD_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; name their folder in OMNIOPD_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def real_models() -> Path:
    """The folder of real tokenizers and models that `make models` fills."""
    folder = Path(os.environ.get("OMNIOPD_REAL_MODELS") or REPOSITORY / "models" / "real")
    if not folder.is_dir():
        pytest.skip(
            f"no real models in {folder}; run make models, or name their folder in OMNIOPD_REAL_MODELS"
        )
    return folder


@pytest.fixture(scope="session")
def tokenizer():
    """A token a character of the demo's task."""
    from omniopd.training.pretrain import character_tokenizer

    return character_tokenizer("0123456789+=;>")


@pytest.fixture(scope="session")
def model(tokenizer):
    """A model of two thousand parameters, hardly trained: unsure of everything. Not to be changed."""
    from examples import tiny_model

    return tiny_model(tokenizer)
