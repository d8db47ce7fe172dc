"""The errors that users meet: their form, their exit codes, the complaint about a place in a file.

Shared by the command line, the server and the pod. It never prints.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class ExitCode(enum.IntEnum):
    """What a process says by its end; the Job's podFailurePolicy reads 75, 76 and 78."""

    DONE = 0
    FAILED = 1
    INVALID = 2
    FAILED_RUNS = 3
    HANDED_BACK = 75
    NODE_UNFIT = 76
    CONFIGURATION = 78
    INTERRUPTED = 130


SIGTERM_CODE = 143
"""The exit code of what SIGTERM ended, 128 + 15: at W&B that of a run which is handed back in good
order, and costs no attempt."""


class SweepctlError(Exception):
    """An expected error: `message` says what is wrong, with the value; `hint` what to type."""

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def line(self) -> str:
        """Message and hint in one line, for a log: `what is wrong (what to type)`."""
        return f"{self.message} ({self.hint})" if self.hint else self.message

    @property
    def reason(self) -> str:
        """Message and hint as the reason of something else: `what is wrong; what to type`."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(SweepctlError):
    """The command line asks for something that cannot be: nothing was done."""

    exit_code = ExitCode.INVALID


@dataclass(frozen=True, slots=True)
class Problem:
    """One complaint about one place in a file.

    `line` and `column` count from 1; `path` is the dotted place in the document;
    `source` is the text of the line, for the caret; a warning does not make the file invalid.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str | None = None
    source: str | None = None
    is_warning: bool = False

    def text(self) -> str:
        """Write the problem as compilers do: place, message, source line, caret with the fix."""
        kind = "warning: " if self.is_warning else ""
        where = f"{self.path}: " if self.path else ""
        lines = [f"{self.file}:{self.line}:{self.column}: {kind}{where}{self.message}"]
        margin = " " * len(str(self.line))
        if self.source is not None:
            shown, column = _window(self.source, self.column)
            lines.append(f"  {self.line} | {shown}".rstrip())
            lines.append(f"  {margin} | {' ' * (column - 1)}^ {self.hint or ''}".rstrip())
        elif self.hint:
            lines.append(f"  {margin} = {self.hint}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, object]:
        """Give the fields for `-o json`."""
        return {
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "path": self.path,
            "message": self.message,
            "hint": self.hint,
            "severity": "warning" if self.is_warning else "error",
        }


def error_count(problems: Iterable[Problem]) -> str:
    """Count the problems that make a file invalid: `1 error`, `3 errors`."""
    count = sum(not problem.is_warning for problem in problems)
    return f"{count} error{'' if count == 1 else 's'}"


class SpecError(SweepctlError):
    """A file is invalid; `problems` holds every complaint about it, in the order of its lines."""

    exit_code = ExitCode.INVALID

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.file, p.line, p.column)))
        super().__init__("\n".join(problem.text() for problem in self.problems))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Give the known word that `word` is most likely a misspelling of, if any is near."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def _window(line: str, column: int, width: int = 120) -> tuple[str, int]:
    """Cut a long source line to what surrounds `column`; give the piece and the column in it."""
    line = line.rstrip("\r\n").replace("\t", " ")
    start = 0 if column <= width - 20 else column - width // 2
    return line[start : start + width], column - start
