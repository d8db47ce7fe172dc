"""Where a report goes: files by their ending, each replaced as a whole, or stdout.

`Outputs` knows what each ending is written as, refuses what cannot be written before anything is
read, and leaves the file of before until the new one is whole.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweepctl.report.content import Report
from sweepctl.report.page import html_page
from sweepctl.report.read import ReportReader
from sweepctl.sweeps.handle import SweepHandle
from sweepctl_pod.errors import SweepctlError, UsageError

READ_EVERY_S = 15.0
_WRITERS: dict[str, Callable[[Report], bytes]] = {
    "html": lambda report: html_page(report).encode(),
}


@dataclass(frozen=True, slots=True)
class Output:
    """One form of the report, and its file; without one it is printed."""

    form: str
    file: Path | None

    def content(self, report: Report) -> bytes:
        """Write the report in this form."""
        return _WRITERS[self.form](report)


def read_outputs(texts: Sequence[str]) -> list[Output]:
    """Read what -o says: a file by its ending, or a bare form, which is printed."""
    return [_read_output(text) for text in texts]


def _read_output(text: str) -> Output:
    if text in _WRITERS:
        return Output(text, None)
    file = Path(text)
    form = file.suffix.lower().removeprefix(".")
    known = ", ".join(f".{name}" for name in _WRITERS)
    if form not in _WRITERS:
        raise UsageError(
            f"-o {text}: the ending says no form", f"write a name that ends in {known}"
        )
    if file.is_dir():
        raise UsageError(f"-o {text}: that is a folder", f"write -o {file / f'report.{form}'}")
    if not file.parent.is_dir():
        folder = file.parent
        raise UsageError(f"-o {text}: there is no folder {folder}", f"make it: mkdir -p {folder}")
    if not os.access(file.parent, os.W_OK):
        raise UsageError(
            f"-o {text}: the folder {file.parent} is not writable", "name a file elsewhere"
        )
    return Output(form, file)


def write_reports(
    sweep: SweepHandle,
    outputs: Sequence[Output],
    *,
    top: int,
    follows: bool,
    show: Callable[[bytes], None],
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Write each form of a sweep's report; with `follows` again until the sweep has ended."""
    reader = ReportReader(top)
    with sweep.source() as (source, name):
        before = None
        while True:
            reading = reader.status(source, name)
            status = reading.seen.status
            seen = [(run.id, run.state, run.metric, run.step, run.reason) for run in status.runs]
            if (status.state, seen) != before:
                _write_all(outputs, reader.document(source, reading), show, say)
                before = (status.state, seen)
            if not follows or status.has_ended:
                return
            sleep(READ_EVERY_S)


def _write_all(
    outputs: Sequence[Output],
    report: Report,
    show: Callable[[bytes], None],
    say: Callable[[str], None],
) -> None:
    for output in outputs:
        content = output.content(report)
        if output.file is None:
            show(content)
        else:
            replace_file(output.file, content)
            say(f"wrote {output.file}: {_size(len(content))}")


def replace_file(file: Path, content: bytes) -> None:
    """Put a new file in the place of the one before, whole or not at all, with its permissions."""
    file = file.resolve()  # a link stays one
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        part.write_bytes(content)
        if file.exists():
            part.chmod(stat.S_IMODE(file.stat().st_mode))
        part.replace(file)
    except OSError as error:
        words = f"cannot write {file}: {error.strerror}"
        raise SweepctlError(words, "free some space there, or name another file") from error
    finally:
        part.unlink(missing_ok=True)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
