"""doctor: checks the machine and everything that params.yaml names, with a remedy for each problem.

Each function makes one check. Nothing is written, and only the MLflow server and the teacher of params.yaml are
contacted.
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
LEAST_FREE = 5 * 10**9  # bytes of disk; a checkpoint of 1.7 billion weights with their optimiser is 20 GB
NVIDIA = Path("/proc/driver/nvidia/version")


def examine(params_file: Path, *, ask_teacher: bool = True) -> Iterator[Finding]:
    """All checks in order; those of params.yaml's settings only if it can be read.

    ask_teacher: send an API one question, which it bills.
    """
    root = params_file.absolute().parent
    yield python_version()
    yield packages()
    yield from torch_and_memory()
    yield disk(root)
    yield commit(root)
    yield data_versions(root)
    yield from settings(params_file)
    try:
        params = load_params(params_file)
    except OmniOPDError:  # reported by the check of the settings
        return
    yield tracking(params)
    if params.evaluation.grader == "code" or params.benchmarks.suite:
        yield sandbox()
    yield from teacher(params, root, ask=ask_teacher)


def python_version() -> Finding:
    """Python, against the versions that this project supports."""
    version = sys.version.split()[0]
    required = importlib.metadata.metadata(PROJECT)["Requires-Python"]
    text = f"{version} at {sys.executable}"
    if version in SpecifierSet(required):
        return Finding("Python", "ok", text)
    return Finding("Python", "wrong", f"{text}; {required} is needed", "make setup PYTHON=python3.11")


def packages() -> Finding:
    """Each required package, against the versions that work together."""
    complaints, count = [], 0
    for requirement in map(Requirement, importlib.metadata.requires(PROJECT) or ()):
        is_extra = requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            if not is_extra:
                complaints.append(f"{requirement.name} is not installed")
            continue
        count += 1
        if not requirement.specifier.contains(version, prereleases=True):
            complaints.append(f"{requirement.name} {version}, where {requirement.specifier} fits")
    if complaints:
        return Finding(
            "packages", "wrong", "; ".join(complaints),
            "make setup, or outside a clone pip install with omniopd's wheel, installs versions that fit",
        )  # fmt: skip
    return Finding("packages", "ok", f"{count}, in versions that fit together")


def torch_and_memory() -> Iterator[Finding]:
    """torch with the GPUs that it finds, and the memory for training."""
    import torch  # seconds

    from omniopd.functional import has_kernels
    from omniopd.preflight.fit import GIB, room

    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if num_gpus:
        names = ", ".join(dict.fromkeys(torch.cuda.get_device_properties(i).name for i in range(num_gpus)))
        text = f"{torch.__version__}; {num_gpus} × {names}"
        if has_kernels():
            yield Finding("torch", "ok", text)
        else:
            yield Finding(
                "torch", "doubt", f"{text}; no C compiler or no Triton, so losses are slower than they could be",
                "install gcc, and Triton if torch did not install it",
            )  # fmt: skip
    elif NVIDIA.exists():
        yield Finding(
            "torch", "wrong", f"{torch.__version__} sees no GPU, but there is an NVIDIA driver",
            "install torch's build for CUDA: https://pytorch.org/get-started/locally; nvidia-smi shows which CUDA the "
            "driver supports",
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
    """Free space in the project's directory, and whether it is writable."""
    usage = shutil.disk_usage(root)
    text = f"{usage.free / 1e9:.0f} GB free of {usage.total / 1e9:.0f} at {root}"
    if not os.access(root, os.W_OK):
        return Finding("disk", "wrong", f"{root} cannot be written", "use a directory that you can write to")
    if usage.free < LEAST_FREE:
        return Finding(
            "disk", "doubt", text, "free some space for checkpoints, and their copies in DVC and MLflow"
        )
    return Finding("disk", "ok", text)


def commit(root: Path) -> Finding:
    """git, whose commit each run records."""
    if shutil.which("git") is None:
        return Finding("git", "wrong", "is not installed", "install git")
    command = ("git", "rev-parse", "--short", "HEAD")
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return Finding(
            "git", "doubt", f"{root} has no commit",
            "git init, and commit: a run records the commit of its code",
        )  # fmt: skip
    return Finding("git", "ok", f"at commit {done.stdout.strip()}")


def data_versions(root: Path) -> Finding:
    """DVC, and the remotes that it keeps outputs of runs in."""
    from omniopd.versions import remotes  # dvc takes seconds to import

    version, names = importlib.metadata.version("dvc"), remotes(root)
    if names is None:
        return Finding(
            "DVC", "doubt", f"{version}; {root} is no DVC project, or has no dvc.yaml",
            "dvc init, and the dvc.yaml of this project: DVC versions the outputs of runs",
        )  # fmt: skip
    if not names:
        return Finding("DVC", "ok", f"{version}; no remote: its cache is only on this machine")
    return Finding("DVC", "ok", f"{version}; remotes {', '.join(names)}")


def settings(params_file: Path) -> Iterator[Finding]:
    """The mistakes and warnings of `omniopd check`."""
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
    """Whether MLflow can be reached."""
    from omniopd.tracking.connection import reach  # mlflow takes seconds to import

    uri = params.tracking.uri
    try:
        return Finding("MLflow", "ok", f"{importlib.metadata.version('mlflow')}; {uri} {reach(uri)}")
    except OmniOPDError as error:
        return Finding(
            "MLflow", "doubt", str(error),
            "runs continue without it, and send their data when it answers; fix it, or tracking.uri",
        )  # fmt: skip


def sandbox() -> Finding:
    """The sandbox for programs that a model writes."""
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
        remedy = f"put it into the environment, or into {root / '.env'}"
        yield Finding("key", "wrong", f"{' and '.join(missing)}: not set", remedy)
        return
    yield Finding("key", "ok", "set" if config.base_url is None or config.api_key_env else "none is needed")
    if not ask or config.offline:
        yield Finding("teacher", "ok", f"{config.model}: was not asked")
        return
    try:
        yield Finding("teacher", "ok", f"{config.model} answers: {ask_question(config, root=root)}")
    except OmniOPDError as error:
        yield Finding("teacher", "wrong", str(error), "fix teacher.model, teacher.base_url or the key")
