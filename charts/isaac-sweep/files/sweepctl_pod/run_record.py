"""The record of how a run was trained: a small file of the run, `sweepctl.json`.

Pure. It holds what the sweep's config does not: the argv that was executed, completed and in the
trainer's own grammar, so that the run can be repeated exactly. Each `${envvar:X}` is in it as it
was written, and no secret is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

RECORD_FILE = "sweepctl.json"


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
