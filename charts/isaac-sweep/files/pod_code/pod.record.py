"""The record of how a run was trained: a small file of the run, `sweepctl.json`.

It holds what its sweep's config cannot tell: the argv that was executed, completed and in the
trainer's own grammar, so that the run can be repeated exactly. Each `${envvar:X}` stands in it as
it was written, and no secret does.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass

from sweepctl.pod.calls import Bell, Call
from sweepctl.pod.run import SweepTask, Training
from sweepctl.wandb_http import WandbClient

RECORD_FILE = "sweepctl.json"

_SECOND_TRY_S = 5.0


@dataclass(frozen=True, slots=True)
class RunRecord:
    """How one attempt of a run was started."""

    argv: tuple[str, ...]
    grammar: str
    host: str
    attempt: int

    def text(self) -> str:
        """Write the file."""
        form = {
            "argv": list(self.argv),
            "grammar": self.grammar,
            "host": self.host,
            "attempt": self.attempt,
        }
        return json.dumps(form, indent=2) + "\n"


def read_record(text: str) -> RunRecord | None:
    """Read the file of a run; None when it is none of ours."""
    try:
        form = json.loads(text)
    except ValueError:
        return None
    argv = form.get("argv") if isinstance(form, dict) else None
    if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
        return None
    attempt = form.get("attempt")
    return RunRecord(
        tuple(argv),
        str(form.get("grammar") or ""),
        str(form.get("host") or ""),
        attempt if isinstance(attempt, int) else 1,
    )


class RecordUpload:
    """The upload of a run's record beside its training. Nothing that goes wrong harms the run."""

    def __init__(
        self, client: WandbClient, sweep: SweepTask, training: Training, attempt: int, bell: Bell
    ) -> None:
        """Begin it."""
        host = training.host or socket.gethostname()
        record = RunRecord(tuple(training.shown_argv), training.grammar.value, host, attempt)
        place = (sweep.entity, sweep.project, training.run.id)
        content = record.text().encode()
        self._bell = bell
        self._work = lambda: client.upload_file(*place, RECORD_FILE, content)
        self._call = Call(self._work, bell)

    def finish(self, *, is_leaving: bool) -> str | None:
        """Try once more what has failed, unless there is no time; say what is wrong then."""
        if is_leaving:
            return None
        self._call.wait(_SECOND_TRY_S)
        if self._failure() is None:
            return None
        self._call = Call(self._work, self._bell)
        self._call.wait(_SECOND_TRY_S)
        return self._failure()

    def _failure(self) -> str | None:
        if not self._call.is_done():
            return "no answer yet"
        try:
            self._call.result()
        except Exception as error:
            return str(error) or type(error).__name__
        return None
