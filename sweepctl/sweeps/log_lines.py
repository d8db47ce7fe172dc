"""Lines of pods' logs: their times, where a broken stream goes on, which run a line belongs to.

Pure. A stream that is opened again repeats what was shown; `Resumption` tells what is new.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field

from sweepctl_pod.errors import UsageError
from sweepctl_pod.log_lines import RUN_BEGINS, RUN_ENDS, RUN_SAYS

MARGIN_S = 60.0
"""How far before the last line a stream is opened again: more than any line is late."""

MOST_STREAMS = 50
"""As stern's: more open streams than that are a load on the cluster that should be meant."""

_KEPT = 20_000


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Which lines: of one agent, of one run, of the pods before the present ones, since when.

    `follows` says whether to go on; None leaves it to the terminal.
    """

    agent: int | None = None
    run: str | None = None
    previous: bool = False
    since_s: float | None = None
    follows: bool | None = None
    is_on_terminal: bool = False
    timestamps: bool = False
    most_streams: int = MOST_STREAMS

    @property
    def is_followed(self) -> bool:
        """Whether to go on with new lines: pods that are gone have none."""
        follows = self.is_on_terminal if self.follows is None else self.follows
        return follows and not self.previous

    @property
    def for_pods(self) -> list[str]:
        """Name the given options that only the logs of pods can answer."""
        given = {
            "--agent": self.agent is not None,
            "--previous": self.previous,
            "--since": self.since_s is not None,
            "--follow": bool(self.follows),
            "--timestamps": self.timestamps,
        }
        return [option for option, is_given in given.items() if is_given]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an agent's log; `time` is as Kubernetes writes it, and sorts as text."""

    agent: int
    time: str
    text: str
    job: str = ""
    """The Job of its agent, where it is known."""


def split_line(raw: str) -> tuple[str, str]:
    """Split a line that was asked for with its time; the kubelet's own lines have none."""
    time, _, text = raw.partition(" ")
    sortable = _sortable(time)
    return (sortable, text) if sortable is not None else ("", raw)


@dataclass(slots=True)
class Resumption:
    """Lets every line of one container through once, however often its stream is opened again.

    Time and text tell lines apart. Two streams of a container are written side by side, so their
    times may be a little out of order: the newest lines are kept to compare, older ones count as
    shown.
    """

    newest: str = ""
    _shown: Counter[tuple[str, str]] = field(default_factory=Counter)
    _order: list[tuple[str, str]] = field(default_factory=list)
    _repeated: Counter[tuple[str, str]] = field(default_factory=Counter)
    _is_again: bool = False
    _forgotten: str = ""

    def reopened(self) -> None:
        """Note that the stream begins again, and repeats lines that were shown."""
        self._repeated = Counter(self._shown)
        self._is_again = bool(self.newest)

    def is_new(self, time: str, text: str) -> bool:
        """Say whether this line was not shown yet; it counts as shown then."""
        key = (time, text)
        if self._is_again and time <= self.newest:
            if self._repeated[key] > 0:
                self._repeated[key] -= 1
                return False
            if time <= self._forgotten:
                return False
        self._shown[key] += 1
        self._order.append(key)
        self.newest = max(self.newest, time)
        if len(self._order) > 2 * _KEPT:
            self._forget(self._order[:_KEPT])
        return True

    def _forget(self, old: list[tuple[str, str]]) -> None:
        del self._order[: len(old)]
        self._shown = Counter(self._order)
        self._forgotten = max(self._forgotten, max(time for time, _ in old))


@dataclass(slots=True)
class RunFilter:
    """Keeps the lines that belong to one run: from its start on an agent to its end there."""

    run: str
    _is_on: bool = False

    def keeps(self, text: str) -> bool:
        """Say whether a line, the next one of its agent, belongs to the run."""
        if begins := RUN_BEGINS.match(text):
            self._is_on = begins[1] == self.run
            return self._is_on
        if (ends := RUN_ENDS.match(text)) and ends[1] == self.run and self._is_on:
            self._is_on = False
            return True
        if not self._is_on and (says := RUN_SAYS.match(text)):
            return says[1] == self.run
        return self._is_on


def parse_duration_s(text: str, flag: str = "--since") -> float:
    """Read a time as kubectl does: 30s, 5m, 1h30m, 2d."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UsageError(f"{flag} {text} is no length of time", "try 30s, 5m, 2h or 7d")
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    return math.fsum(float(number) * units[unit] for number, unit in parts)


def _sortable(time: str) -> str | None:
    """Write a time with all nine digits: Kubernetes leaves out zeros at the end."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", time)
    return f"{match[1]}.{(match[2] or '').ljust(9, '0')}{match[3]}" if match else None
