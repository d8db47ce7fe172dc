"""The upload of a run's record (run_record.py) while it trains, by agent and wrapper."""

from __future__ import annotations

import socket

from sweepctl_pod.run.training import Training
from sweepctl_pod.run_record import RECORD_FILE, RunRecord
from sweepctl_pod.waiting import BackgroundCall, InterruptedBySignalError, Retrying
from sweepctl_pod.wandb.client import WandbClient
from sweepctl_pod.wandb.outputs import upload_file

_SECOND_TRY_S = 5.0


class RecordUpload:
    """One upload. The run goes on whatever goes wrong with it."""

    def __init__(self, client: WandbClient, training: Training, attempt: int) -> None:
        """Start it."""
        host = training.host or socket.gethostname()
        record = RunRecord(tuple(training.shown_argv), training.grammar.value, host, attempt)
        path = (training.sweep.entity, training.sweep.project, training.run.id)
        content = record.text().encode()
        self._wake_up = training.pod.wake_up
        self._work = lambda: upload_file(client, path, RECORD_FILE, content)
        self._call = BackgroundCall(self._work, self._wake_up)

    def finish(self, retrying: Retrying) -> str | None:
        """Try once more if it failed, unless told to leave; give what is still wrong."""
        try:
            retrying.wait(self._call, _SECOND_TRY_S)
            if self._failure() is not None:
                self._call = BackgroundCall(self._work, self._wake_up)
                retrying.wait(self._call, _SECOND_TRY_S)
        except InterruptedBySignalError:
            return None
        return self._failure()

    def _failure(self) -> str | None:
        if not self._call.is_done():
            return "no answer yet"
        try:
            self._call.result()
        except Exception as error:
            return str(error) or type(error).__name__
        return None
