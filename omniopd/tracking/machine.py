"""What a run does to its machine: processor, memory, disk, network and GPU, as MLflow's own monitor samples them."""

import logging
import threading
import weakref

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

STOP_S = 2.0  # that the end of a run waits for the last sample

log = logging.getLogger(__name__)


class _Monitor(SystemMetricsMonitor):
    """MLflow's, which stops for good at the first call that fails; whether it has can be asked."""

    is_running = True

    def monitor(self) -> None:
        try:
            super().monitor()
        except Exception:  # a thread's error would end on the screen
            log.warning("system metrics stopped", exc_info=True)
        finally:
            self.is_running = False


class Machine:
    """Samples the machine for one MLflow run, in a thread that neither holds up the process nor outlives the run."""

    def __init__(self, uri: str):
        self._uri = uri
        self._monitor: _Monitor | None = None

    def sample(self, run_id: str) -> None:
        """Go on sampling, from the step after MLflow's last; to be called whenever MLflow has answered."""
        if self._monitor is not None and self._monitor.is_running:
            return
        try:
            self._monitor = _Monitor(run_id, resume_logging=True, tracking_uri=self._uri)
        except (
            Exception
        ):  # a machine that cannot be read, in whatever way: samples are worth no more than a line
            log.warning("the machine cannot be sampled", exc_info=True)
            return
        self._monitor.start()
        # A run that raises forgets its tracker, and with it this.
        weakref.finalize(self, _end, self._monitor).atexit = False

    def close(self) -> None:
        """Stop, and send what was sampled, unless MLflow takes too long; may be called twice."""
        if self._monitor is not None:
            _end(self._monitor).join(STOP_S)
            self._monitor = None


def _end(monitor: _Monitor) -> threading.Thread:
    ending = threading.Thread(target=monitor.finish, daemon=True, name="SystemMetricsEnd")
    ending.start()
    return ending
