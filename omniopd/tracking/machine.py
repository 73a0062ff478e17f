"""A run's use of its machine: processor, memory, disk, network and GPU, sampled by MLflow's own monitor."""

import logging
import threading
import weakref

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

STOP_S = 2.0  # for the last sample, at the end of a run

log = logging.getLogger(__name__)


class _Monitor(SystemMetricsMonitor):
    """MLflow's, which stops for good at the first call that fails; whether it has can be asked."""

    is_running = True

    def monitor(self) -> None:
        try:
            super().monitor()
        except Exception:  # a thread's error would be printed
            log.warning("system metrics stopped", exc_info=True)
        finally:
            self.is_running = False


class Machine:
    """Samples the machine for one MLflow run, in a thread that neither blocks the process nor outlives the run."""

    def __init__(self, uri: str):
        self._uri = uri
        self._monitor: _Monitor | None = None

    def sample(self, run_id: str) -> None:
        """Start sampling, or resume it after the last step that MLflow has; call this whenever MLflow has answered."""
        if self._monitor is not None and self._monitor.is_running:
            return
        try:
            self._monitor = _Monitor(run_id, resume_logging=True, tracking_uri=self._uri)
        except Exception:  # whatever it is of the machine that cannot be read: samples are optional
            log.warning("the machine cannot be sampled", exc_info=True)
            return
        self._monitor.start()
        # A run that raises drops its tracker, and with it this object.
        weakref.finalize(self, _end, self._monitor).atexit = False

    def close(self) -> None:
        """Stop, and send the samples, unless MLflow takes too long; may be called twice."""
        if self._monitor is not None:
            _end(self._monitor).join(STOP_S)
            self._monitor = None


def _end(monitor: _Monitor) -> threading.Thread:
    ending = threading.Thread(target=monitor.finish, daemon=True, name="SystemMetricsEnd")
    ending.start()
    return ending
