"""Clients of an earlier version, which asked for no key: let in until their runs have ended.

A 401 is fatal for the stream of W&B's client, so a folder that has such runs under way is served
without a key, when its user says so, until these have ended and their clients are silent.
"""

from __future__ import annotations

import enum
import json
import shlex
import threading
import urllib.parse
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sweepctl.server.access.data_key import data_key
from sweepctl_pod.errors import SweepctlError, UsageError

QUIET_S = 120.0
"""How long no client without a key writes anything before the key is asked for: W&B's client
writes every half minute."""

_LOOK_EVERY_S = 5.0
_MARK = "keyless"


def is_from_before_keys(data: Path) -> bool:
    """Say whether clients of a folder may know no key: it has none, or was last served without."""
    return data_key(data) is None or (data / _MARK).exists()


def refuse_keyless_runs(data: Path, count: int) -> None:
    """Raise a UsageError that says how a folder is served whose clients know no key."""
    runs = "1 run is" if count == 1 else f"{count} runs are"
    listen = last_address(data)
    command = ["sweepctl", "server", "--data", str(data), *(["--listen", listen] if listen else [])]
    raise UsageError(
        f"{runs} under way in {data}, begun with an earlier sweepctl, whose clients send no key:"
        " they would be refused now",
        f"until they have ended, at the address that they know: {shlex.join(command)} --keyless"
        "\n(or local with --keyless); also if they are long gone: the server finds that out",
    )


def last_address(data: Path) -> str | None:
    """Give where the last server of a folder listened, if it had no time to remove that."""
    try:
        url = str(json.loads((data / "server.json").read_text())["url"])
        return urllib.parse.urlsplit(url).netloc or None
    except (OSError, ValueError, KeyError, TypeError):
        return None


class KeyRule(enum.Enum):
    """Who is asked for a key."""

    ASKED = enum.auto()
    UNTIL_OLD_RUNS_END = enum.auto()
    """Nobody while runs of an earlier version are under way, then everybody."""
    NONE = enum.auto()
    """Nobody: for tests and measurements."""


class KeylessClients:
    """Whether clients without a key are let in: until the runs that are under way have ended.

    The folder is marked meanwhile, so that the next server of it knows. `tick` is to be called
    now and then; safe to use from any thread.
    """

    def __init__(
        self,
        data: Path,
        is_any_under_way: Callable[[], bool],
        clock: Callable[[], float],
        log: Callable[[str], None],
    ) -> None:
        self._mark = data / _MARK
        self._is_any_under_way = is_any_under_way
        self._clock = clock
        self._log = log
        self._last_write = clock()
        self._has_ended = False
        self._mark.touch(0o600)

    def lets_in(self, is_write: bool) -> bool:
        """Say whether a request without a key is answered."""
        if self._has_ended:
            return False
        if is_write:
            self._last_write = self._clock()
        return True

    def tick(self) -> bool:
        """Look whether it is over; say so once it is."""
        if not self._has_ended and (
            not self._is_any_under_way() and self._clock() - self._last_write >= QUIET_S
        ):
            self._has_ended = True
            clear_mark(self._mark.parent)
            self._log("the runs of an earlier version have ended: the key is asked for from now on")
        return self._has_ended


class KeylessThread:
    """Looks every few seconds whether the runs have ended."""

    def __init__(self, clients: KeylessClients) -> None:
        self._clients = clients
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, name="keyless", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(_LOOK_EVERY_S):
            with suppress(SweepctlError):
                if self._clients.tick():
                    return


def clear_mark(data: Path) -> None:
    """Note in a folder that all its clients know the key."""
    with suppress(OSError):
        (data / _MARK).unlink()
