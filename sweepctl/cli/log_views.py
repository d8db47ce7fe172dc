"""How logs look: a line behind its agent's index, a run's output behind its id."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sweepctl.cli.options import is_coloured, print_lines

if TYPE_CHECKING:
    from sweepctl.sweeps.log_lines import Line, LogOptions
    from sweepctl.sweeps.run_output import RunOutput

_COLOURS = (31, 32, 33, 34, 35, 36, 92, 93, 94, 95, 96)


def print_logs(lines: Iterator[Line | RunOutput] | Iterator[Line], options: LogOptions) -> None:
    """Print lines as they come."""
    from sweepctl.sweeps.run_output import RunOutput

    coloured: bool | None = None
    for line in lines:
        if isinstance(line, RunOutput):
            before = f"{line.run} | " if options.run is None else ""
            print_lines(f"{before}{text}" for text in line.lines)
            continue
        if coloured is None:
            coloured = is_coloured()
        print(log_text(line, options, coloured=coloured), flush=True)


def log_text(line: Line, options: LogOptions, *, coloured: bool) -> str:
    """Write a line of a log behind its agent's index, coloured by the agent's name."""
    time = f"{line.time} " if options.timestamps else ""
    if options.agent is not None:
        return time + line.text
    before = f"{line.agent:>3} | "
    if coloured:
        before = f"\x1b[{colour(f'{line.job}-{line.agent}')}m{before}\x1b[0m"
    return before + time + line.text


def colour(name: str) -> int:
    """Give the ANSI code of a colour that is the same for a name on every run."""
    return _COLOURS[hashlib.sha256(name.encode()).digest()[0] % len(_COLOURS)]
