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
from tempfile import TemporaryDirectory

from sweepctl.report.content import Report
from sweepctl.report.markdown import markdown, picture_name
from sweepctl.report.page import html_page
from sweepctl.report.read import ReportReader
from sweepctl.report.run_table import runs_csv, runs_parquet
from sweepctl.sweeps.extras import require_extra
from sweepctl.sweeps.handle import SweepHandle
from sweepctl_pod.errors import SweepctlError, UsageError

READ_EVERY_S = 15.0
_FORMS: dict[str, tuple[str, ...]] = {
    "html": (".html", ".htm"),
    "md": (".md", ".markdown"),
    "csv": (".csv",),
    "parquet": (".parquet",),
}
"""Each form and the endings of its files."""


@dataclass(frozen=True, slots=True)
class Output:
    """One form of the report, and its file; without one it is printed."""

    form: str
    file: Path | None

    def content(self, report: Report) -> bytes:
        """Write the report in this form."""
        if self.form == "html":
            return html_page(report).encode()
        if self.form == "csv":
            return runs_csv(report)
        if self.form == "parquet":
            return runs_parquet(report)
        folder = self._pictures
        return markdown(report, folder.name if folder else "").encode()

    def write(self, report: Report) -> str:
        """Write the file, and beside one of Markdown its pictures; say what was written."""
        assert self.file is not None
        content = self.content(report)
        folder = self._pictures
        if folder is not None:
            folder.mkdir(exist_ok=True)
            for figure in report.figures:
                if figure.svg:
                    replace_file(folder / picture_name(figure), figure.picture().encode())
        replace_file(self.file, content)
        more = f", and pictures in {folder}" if folder else ""
        return f"{self.file}: {_size(len(content))}{more}"

    @property
    def _pictures(self) -> Path | None:
        if self.form != "md" or self.file is None:
            return None
        return self.file.with_name(f"{self.file.stem}_figures")


def read_outputs(texts: Sequence[str]) -> list[Output]:
    """Read what -o says: a file by its ending, or a bare form, which is printed; - is Markdown."""
    outputs = [_read_output(text) for text in texts]
    if any(output.form == "parquet" for output in outputs):
        require_extra("report", "-o runs.parquet", ("pyarrow",))
    printed = [output for output in outputs if output.file is None]
    if len(printed) > 1:
        raise UsageError("only one form can be printed", "give the others a file: -o report.html")
    return outputs


def _read_output(text: str) -> Output:
    if text == "parquet":
        raise UsageError("-o parquet: that is for a file", "write -o runs.parquet")
    if text in (*_FORMS, "-"):
        return Output("md" if text == "-" else text, None)
    file = Path(text)
    endings = {ending: form for form, all_ in _FORMS.items() for ending in all_}
    form = endings.get(file.suffix.lower(), "")
    if file.is_dir():
        raise UsageError(f"-o {text}: that is a folder", f"write -o {file / 'report.html'}")
    if not form:
        known = f"{', '.join(ends[0] for ends in _FORMS.values())}; - prints Markdown"
        raise UsageError(f"-o {text}: the ending says no form", f"write a name with one of {known}")
    if not file.parent.is_dir():
        folder = file.parent
        raise UsageError(f"-o {text}: there is no folder {folder}", f"make it: mkdir -p {folder}")
    if not os.access(file.parent, os.W_OK):
        folder = file.parent.absolute()
        raise UsageError(f"-o {text}: no file can be made in {folder}", "name a file elsewhere")
    return Output(form, file)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of a report."""

    outputs: Sequence[Output]
    top: int = 10
    follows: bool = False
    uploads: bool = False


def write_reports(
    sweep: SweepHandle,
    wish: Wish,
    *,
    show: Callable[[bytes], None],
    tell: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Write each form of a sweep's report; if it is followed, again until the sweep has ended.

    `show` gets what is printed, `tell` a line for each file that was written.
    """
    if wish.uploads:
        require_extra("report", "--upload", ("wandb",))
    reader = ReportReader(wish.top)
    with sweep.source() as (source, name):
        report, before = None, None
        while True:
            reading = reader.status(source, name)
            status = reading.seen.status
            seen = [(run.id, run.state, run.metric, run.step, run.reason) for run in status.runs]
            if report is None or (status.state, seen) != before:
                report, before = reader.document(source, reading), (status.state, seen)
                for output in wish.outputs:
                    if output.file is not None:
                        tell(output.write(report))
            if not wish.follows or status.has_ended:
                break
            sleep(READ_EVERY_S)
    for output in wish.outputs:
        if output.file is None:
            show(output.content(report))
    if wish.uploads:
        tell(_uploaded(sweep, report, wish.outputs))


def _uploaded(sweep: SweepHandle, report: Report, outputs: Sequence[Output]) -> str:
    """Log the report to the sweep's server; give the line that says where."""
    from sweepctl.report.upload import upload

    files = {output.file.name: output.content(report) for output in outputs if output.file}
    with sweep.api() as (api, _), TemporaryDirectory(prefix="sweepctl-") as folder:
        page = html_page(report)
        address = upload(report, page, files, api.connection, Path(folder))
    return f"uploaded: {address}"


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
