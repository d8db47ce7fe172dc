"""When agents and runs were last heard of: in memory, by a clock that only this process has.

Silence counts from the later of the last word and this server's start, so an hour in which the
server was down is not an hour of silence. What is told to people (heartbeatAt) is flushed lazily.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Presence:
    """The last words of everyone; safe to use from any thread.

    A key is ("agent", pk) or ("run", pk). `clock` is monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._last_seen: dict[tuple[str, int], float] = {}
        self._idle_since: dict[int, float] = {}
        self._unflushed: set[tuple[str, int]] = set()
        self._floor = clock()

    def mark_seen(self, kind: str, pk: int) -> None:
        """Note a sign of life."""
        with self._guard:
            self._last_seen[kind, pk] = self._clock()
            self._unflushed.add((kind, pk))

    def silence_s(self, kind: str, pk: int) -> float:
        """Give for how long nothing was heard, while this server listened."""
        with self._guard:
            return self._clock() - max(self._last_seen.get((kind, pk), self._floor), self._floor)

    def reset(self) -> None:
        """Begin all silences anew: the server itself was away."""
        with self._guard:
            self._floor = self._clock()

    def mark_idle(self, agent: int) -> None:
        """Note that the agent has no run from now on, unless that is known already."""
        with self._guard:
            self._idle_since.setdefault(agent, self._clock())

    def mark_busy(self, agent: int) -> None:
        """Note that the agent has a run."""
        with self._guard:
            self._idle_since.pop(agent, None)

    def was_seen_since_idle(self, other: int, agent: int) -> bool:
        """Say whether `other` gave a sign of life since `agent` had nothing to do."""
        with self._guard:
            heard = self._last_seen.get(("agent", other))
            return heard is not None and heard >= self._idle_since.get(agent, self._floor)

    def take_unflushed(self) -> list[tuple[str, int, float]]:
        """Give (kind, pk, seconds ago) of everyone heard of since the last call."""
        with self._guard:
            now = self._clock()
            taken = [(*key, now - self._last_seen[key]) for key in self._unflushed]
            self._unflushed.clear()
            return taken

    def seconds_ago(self, kind: str, pk: int) -> float | None:
        """Give how long ago the last word came; None when there was none since the start."""
        with self._guard:
            heard = self._last_seen.get((kind, pk))
            return None if heard is None else self._clock() - heard
