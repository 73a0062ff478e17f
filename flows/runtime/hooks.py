"""Prefect's hooks for a run that was cancelled or crashed: its MLflow run, still shown as running, is ended."""

import logging
import os
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State

from omniopd.config import variant_of
from omniopd.data.layout import Layout
from omniopd.data.lock import holder, only_writer
from omniopd.errors import OmniOPDError
from omniopd.tracking.track import end_abandoned

log = logging.getLogger(__name__)


def end_in_mlflow(flow: Flow[Any, Any], flow_run: FlowRun, state: State) -> None:
    """End the MLflow run of a distill flow that is over, unless its process did so or another continues the run."""
    del flow
    given = flow_run.parameters
    layout = Layout(Path(given["params_file"]).parent)
    files = layout.run(given["arm"], given["seed"], variant_of(given["overrides"] or {}))
    if not files.config.is_file() or holder(files.lock).startswith(f"process {os.getpid()} on "):
        return
    try:
        with only_writer(files.lock, of=str(files.root)):
            end_abandoned(files.root, "KILLED" if state.is_cancelled() else "FAILED")
    except OmniOPDError as error:
        log.warning("MLflow was not told that the run ended: %s", error)
