"""What the command line prints: answers on stdout, progress and errors on stderr, tables and data.

The only module that writes to a terminal. It decides nothing about sweeps. `rich` is imported where
it is used: plain answers and `--help` are quicker without it.
"""

from __future__ import annotations

import enum
import errno
import io
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from sweepctl_pod.errors import ExitCode, SpecError, SweepctlError, UsageError, error_count

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table
    from rich.text import Text


class Form(str, enum.Enum):
    """The forms of an answer, as kubectl's `-o`: the same for every verb."""

    TABLE = "table"
    WIDE = "wide"
    NAME = "name"
    JSON = "json"
    YAML = "yaml"

    @property
    def is_data(self) -> bool:
        """Whether nothing but data may stand on stdout."""
        return self in (Form.JSON, Form.YAML)

    @property
    def is_for_people(self) -> bool:
        """Whether it is a table, or what stands in the place of one."""
        return self in (Form.TABLE, Form.WIDE)


def check_has_names(form: Form, what: str) -> None:
    """Refuse `-o name` of a verb whose answer names nothing."""
    if form is Form.NAME:
        raise UsageError(f"-o name: {what} has no name", "write -o table, wide, json or yaml")


WIDE = 10_000
"""The width of what is printed for good: a value is never cut, as in kubectl's tables."""


def console(stream: IO[str] | None = None, *, width: int | None = WIDE) -> Console:
    """Give a console on `stream` (stdout by default) that honours NO_COLOR and never wraps data.

    `width` None is the terminal's own, for what is drawn again and again.
    """
    from rich.console import Console

    return Console(
        file=stream or sys.stdout,
        highlight=False,
        markup=False,
        soft_wrap=True,
        width=width,
        no_color=bool(os.environ.get("NO_COLOR")) or None,
    )


_ELASTIC_WIDTH = 12
"""What is left at least of a column that may be cut."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""How the system says that nothing can be written: an expected error."""


def prepare_streams() -> None:
    """Have all three streams, and stdout in UTF-8 whatever the locale, as kubectl's is."""
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")


@contextmanager
def outliving_the_terminal() -> Iterator[None]:
    """Write even if nobody reads: work goes on when its terminal is closed."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        nobody = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            try:
                os.get_terminal_size(stream.fileno())
            except (OSError, ValueError) as found:
                if isinstance(found, OSError) and found.errno == errno.EIO:
                    os.dup2(nobody, stream.fileno())
        os.close(nobody)


def say(message: str) -> None:
    """Print one line of progress to stderr."""
    print(message, file=sys.stderr, flush=True)


def answer(text: str) -> None:
    """Print an answer to stdout exactly as it is."""
    print(text)


def raw(content: bytes) -> None:
    """Print bytes to stdout exactly as they are: a document."""
    sys.stdout.flush()
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None:
        sys.stdout.write(content.decode("utf-8", "replace"))
    else:
        stream.write(content)


def data(value: object, form: Form) -> None:
    """Print `value` as JSON or YAML, and nothing else."""
    if form is Form.JSON:
        import json

        print(json.dumps(_worded(value), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        import yaml  # only here: the quick verbs need none of it

        print(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), end="")


def _worded(value: object) -> object:
    """Give numbers that JSON has no word for as W&B's text: "NaN", "Infinity"."""
    if isinstance(value, Mapping):
        return {key: _worded(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_worded(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


@dataclass(frozen=True, slots=True)
class Lines:
    """A table without the blanks that fill its last column: a narrow terminal would break them."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment

        for line in console.render_lines(self.table, options, pad=False):
            while line and not line[-1].text.strip():
                line.pop()
            if line:
                yield from line[:-1]
                yield Segment(line[-1].text.rstrip(), line[-1].style)
            yield Segment.line()


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, header: bool = True) -> Lines:
    """Lay rows out as kubectl does: no borders, headers in capitals, two spaces between."""
    from rich.table import Table

    laid = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=header
    )
    for column in columns:
        laid.add_column(column, no_wrap=True)
    for row in rows:
        laid.add_row(*(state_text(cell) for cell in row))
    return Lines(laid)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table that may be too wide: what is given up first has the least `worth`.

    A cell is never cut, unless the column is `elastic`.
    """

    title: str
    worth: int
    elastic: bool = False


def fitted_table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None
) -> Lines:
    """Lay rows out in no more than `width`, if that is given, by leaving columns out."""
    if width is None:
        return table([column.title for column in columns], rows)
    cells = [[column.title for column in columns], *rows]
    widths = [max(map(len, texts)) for texts in zip(*cells, strict=True)]
    shown = list(range(len(columns)))
    while len(shown) > 1 and sum(_least(columns, widths, shown)) + 2 * (len(shown) - 1) > width:
        shown.remove(min(shown, key=lambda place: columns[place].worth))
    spare = width - sum(_least(columns, widths, shown)) - 2 * (len(shown) - 1)
    for place, least in zip(shown, _least(columns, widths, shown), strict=True):
        given = min(widths[place] - least, max(0, spare))
        widths[place], spare = least + given, spare - given
    fitted = [[shortened(row[place], widths[place]) for place in shown] for row in cells]
    return table(fitted[0], fitted[1:])


def _least(columns: Sequence[Column], widths: Sequence[int], shown: Sequence[int]) -> list[int]:
    """Give what each column that is shown needs at least."""
    return [
        min(widths[place], max(_ELASTIC_WIDTH, len(columns[place].title)))
        if columns[place].elastic
        else widths[place]
        for place in shown
    ]


def shortened(text: str, width: int) -> str:
    """Cut a text that is too wide, and show that by its last character."""
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def number(value: float | None) -> str:
    """Write a measured number for people: six significant digits, `<none>` when there is none."""
    return "<none>" if value is None else f"{value:.6g}"


def age(seconds: float | None) -> str:
    """Write an age as kubectl does: 12s, 3m4s, 2h5m, 3d4h."""
    if seconds is None:
        return "<none>"
    whole = max(0, int(seconds))
    for unit_s, unit, lesser_s, lesser in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole >= unit_s:
            rest = whole % unit_s // lesser_s
            return f"{whole // unit_s}{unit}" + (f"{rest}{lesser}" if rest else "")
    return f"{whole}s"


_STATE_STYLES = {
    "finished": "green",
    "running": "cyan",
    "failed": "red",
    "crashed": "red",
    "killed": "red",
    "preempted": "yellow",
    "preempting": "yellow",
}


def state_text(cell: str) -> Text:
    """Colour a cell that names a state; the word itself always stays."""
    from rich.text import Text

    return Text(cell, style=_STATE_STYLES.get(cell.lower(), ""))


def complain(error: SweepctlError, *, as_data: bool = False) -> None:
    """Print an expected error to stderr: every problem of a file, or message and hint."""
    if isinstance(error, SpecError):
        message = f"{error.problems[0].file}: {error_count(error.problems)}"
        if as_data:
            problems = [problem.as_dict() for problem in error.problems]
            _complain_in_json(message, None, error.exit_code, problems=problems)
            return
        for problem in error.problems:
            print(problem.text(), file=sys.stderr)
        print(f"error: {message}", file=sys.stderr)
    elif as_data:
        _complain_in_json(error.message, error.hint, error.exit_code)
    else:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}".replace("\n", "\n  "), file=sys.stderr)


def _complain_in_json(message: str, hint: str | None, code: ExitCode, **more: object) -> None:
    """Print an error as one line of JSON, which is YAML as well: the last line of stderr."""
    import json

    told = {"message": message, "hint": hint, "exit_code": int(code), **more}
    print(json.dumps({"error": told}, ensure_ascii=False), file=sys.stderr)


def unwritten(error: OSError, *, as_data: bool = False) -> ExitCode:
    """Print that something could not be written."""
    what = error.filename or "the answer"
    words = f"cannot write {what}: {error.strerror}"
    complain(SweepctlError(words, "free some space there"), as_data=as_data)
    return ExitCode.FAILED


def unexpected(error: Exception, *, as_data: bool = False) -> ExitCode:
    """Keep the traceback of an unexpected error in a file; print one line that names it."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix="sweepctl-", suffix=".log", delete=False, encoding="utf-8"
    ) as log:
        traceback.print_exception(error, file=log)
    message = f"unexpected: {type(error).__name__}: {error}".splitlines()[0]
    hint = f"the traceback is in {log.name}; --debug prints it"
    complain(SweepctlError(message, hint), as_data=as_data)
    return ExitCode.FAILED
