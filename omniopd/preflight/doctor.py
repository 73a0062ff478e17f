"""doctor: whether this machine, and what params.yaml names, are fit for a run; and what to do where they are not.

Each function looks at one thing and returns what it found. Nothing is written, and nothing is asked of the network but
the MLflow server and the teacher that params.yaml names.
"""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from omniopd.config import Params, load_params
from omniopd.errors import OmniOPDError
from omniopd.report.doctor import Finding
from omniopd.teachers import kind_of

PROJECT = "omniopd"
LEAST_FREE = (
    5 * 10**9
)  # bytes of disk; a checkpoint of a model of 1.7 billion weights, with its optimiser, is 20 GB
NVIDIA = Path("/proc/driver/nvidia/version")


def examine(params_file: Path, *, ask_teacher: bool = True) -> Iterator[Finding]:
    """Each thing in its turn; those that params.yaml decides where it can be read.

    ask_teacher: an API is asked one question, which it bills.
    """
    root = params_file.absolute().parent
    yield python_version()
    yield packages()
    yield from torch_and_memory()
    yield disk(root)
    yield commit(root)
    yield data_versions(root)
    try:
        params = load_params(params_file)
    except OmniOPDError as error:
        for line in str(error).splitlines():
            yield Finding("params.yaml", "wrong", line)
        return
    yield from settings(params_file)
    yield tracking(params)
    if params.evaluation.grader == "code" or params.benchmarks.suite:
        yield sandbox()
    yield from teacher(params, root, ask=ask_teacher)


def python_version() -> Finding:
    """Python, against what this project asks for."""
    found = f"{sys.version.split()[0]} at {sys.executable}"
    needs = importlib.metadata.metadata(PROJECT)["Requires-Python"]
    if sys.version.split()[0] in SpecifierSet(needs):
        return Finding("Python", "ok", found)
    return Finding("Python", "wrong", f"{found}; {needs} is needed", "make setup PYTHON=python3.11")


def packages() -> Finding:
    """Each package that this project names, against the versions that fit with each other."""
    required = [Requirement(line) for line in importlib.metadata.requires(PROJECT) or ()]
    complaints, count = [], 0
    for requirement in required:
        extra = requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            if not extra:
                complaints.append(f"{requirement.name} is not installed")
            continue
        count += 1
        if not requirement.specifier.contains(version, prereleases=True):
            complaints.append(f"{requirement.name} {version}, where {requirement.specifier} fits")
    if complaints:
        return Finding("packages", "wrong", "; ".join(complaints), "make setup installs the set that fits")
    return Finding("packages", "ok", f"{count}, in versions that fit together")


def torch_and_memory() -> Iterator[Finding]:
    """torch and the GPUs that it finds, and the memory that training has."""
    import torch  # seconds

    from omniopd.functional import has_kernels
    from omniopd.preflight.fit import GIB, room

    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if num_gpus:
        names = ", ".join(dict.fromkeys(torch.cuda.get_device_properties(i).name for i in range(num_gpus)))
        found = f"{torch.__version__}; {num_gpus} × {names}"
        if has_kernels():
            yield Finding("torch", "ok", found)
        else:
            yield Finding(
                "torch", "doubt", f"{found}; no C compiler or no Triton, so losses are slower than they could be",
                "install gcc, and Triton where torch did not bring it",
            )  # fmt: skip
    elif NVIDIA.exists():
        yield Finding(
            "torch", "wrong", f"{torch.__version__} sees no GPU, and an NVIDIA driver is here",
            "install torch's build for CUDA: https://pytorch.org/get-started/locally; nvidia-smi says which CUDA the "
            "driver takes",
        )  # fmt: skip
    else:
        yield Finding(
            "torch", "ok", f"{torch.__version__}; no GPU: {torch.get_num_threads()} threads of the CPU"
        )
    where = room()
    yield Finding(
        "memory", "ok", f"{where.free / GIB:.1f} GiB free of {where.total / GIB:.1f} on {where.name}"
    )


def disk(root: Path) -> Finding:
    """Room where runs are kept, and whether it can be written."""
    usage = shutil.disk_usage(root)
    found = f"{usage.free / 1e9:.0f} GB free of {usage.total / 1e9:.0f} at {root}"
    if not os.access(root, os.W_OK):
        return Finding("disk", "wrong", f"{root} cannot be written", "take a folder of your own")
    if usage.free < LEAST_FREE:
        return Finding("disk", "doubt", found, "make room: runs keep checkpoints, and DVC and MLflow theirs")
    return Finding("disk", "ok", found)


def commit(root: Path) -> Finding:
    """git, with whose commit each run is recorded."""
    if shutil.which("git") is None:
        return Finding("git", "wrong", "is not installed", "install git")
    command = ("git", "rev-parse", "--short", "HEAD")
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return Finding(
            "git", "doubt", f"{root} has no commit",
            "git init, and commit: a run is recorded with the commit that made it",
        )  # fmt: skip
    return Finding("git", "ok", f"at commit {done.stdout.strip()}")


def data_versions(root: Path) -> Finding:
    """DVC, and where else than here it keeps what runs made."""
    from omniopd.versions import remotes  # dvc takes seconds to import

    version, found = importlib.metadata.version("dvc"), remotes(root)
    if found is None:
        return Finding(
            "DVC", "doubt", f"{version}; {root} is no DVC project, or has no dvc.yaml",
            "dvc init, and the dvc.yaml of this project: DVC versions what runs made",
        )  # fmt: skip
    if not found:
        return Finding("DVC", "ok", f"{version}; no remote: what it keeps is on this machine alone")
    return Finding("DVC", "ok", f"{version}; remotes {', '.join(found)}")


def settings(params_file: Path) -> Iterator[Finding]:
    """What `omniopd check` finds in params.yaml, and in the prompts and models that it names."""
    from omniopd.preflight.check import check

    try:
        _, warnings, _ = check(params_file)
    except OmniOPDError as error:
        for line in str(error).splitlines():
            yield Finding("params.yaml", "wrong", line)
        return
    for line in warnings:
        yield Finding("params.yaml", "doubt", line)
    if not warnings:
        yield Finding("params.yaml", "ok", f"{params_file}, its prompts and models")


def tracking(params: Params) -> Finding:
    """Whether MLflow can be told of runs."""
    from omniopd.tracking.connection import reach  # mlflow takes seconds to import

    uri = params.tracking.uri
    try:
        return Finding("MLflow", "ok", f"{importlib.metadata.version('mlflow')}; {uri} {reach(uri)}")
    except OmniOPDError as error:
        return Finding(
            "MLflow", "doubt", str(error),
            "runs go on without it, and send what they have when it answers; fix it, or tracking.uri",
        )  # fmt: skip


def sandbox() -> Finding:
    """How programs of a model are held, where some will be run."""
    from omniopd.grading.code.sandbox.modes import mode_of_this_machine

    try:
        mode = mode_of_this_machine()
    except OmniOPDError as error:
        return Finding("sandbox", "wrong", str(error))
    weak = mode.name in ("seccomp", "limits")
    return Finding("sandbox", "doubt" if weak else "ok", f"{mode.name}: {mode.description}")


def teacher(params: Params, root: Path, *, ask: bool) -> Iterator[Finding]:
    """The key of a teacher behind an API, and whether it answers."""
    config = params.teacher
    if not kind_of(config).is_api:
        yield Finding("teacher", "ok", f"{config.model}, in this process: no key is needed")
        return
    from omniopd.teachers.api import ask_question, missing_keys  # litellm takes seconds to import

    try:
        missing = missing_keys(config, root=root)
    except OmniOPDError as error:
        yield Finding("key", "wrong", str(error))
        return
    if missing:
        yield Finding(
            "key",
            "wrong",
            f"{' and '.join(missing)}: not set",
            f"put it into the environment, or into {root / '.env'}",
        )
        return
    yield Finding("key", "ok", "set" if config.base_url is None or config.api_key_env else "none is needed")
    if not ask or config.offline:
        yield Finding("teacher", "ok", f"{config.model}: was not asked")
        return
    try:
        yield Finding("teacher", "ok", f"{config.model} answers: {ask_question(config, root=root)}")
    except OmniOPDError as error:
        yield Finding("teacher", "wrong", str(error), "fix teacher.model, teacher.base_url or the key")
