"""When agents and runs were last seen: in memory, by the monotonic clock of this process.

Silence counts from the last message or from this server's start, whichever is later, so an hour in
which the server was down is not an hour of silence. The reaper stores the times that people see
(heartbeatAt) now and then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Presence:
    """When each agent and run was last seen; safe to use from any thread.

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
        """Note that an agent or a run has just sent something."""
        with self._guard:
            self._last_seen[kind, pk] = self._clock()
            self._unflushed.add((kind, pk))

    def silence_s(self, kind: str, pk: int) -> float:
        """Give the seconds of silence of an agent or a run while this server was running."""
        with self._guard:
            return self._clock() - max(self._last_seen.get((kind, pk), self._floor), self._floor)

    def reset(self) -> None:
        """Start every silence from now: the server itself was not running."""
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
        """Say whether the agent `other` was seen since `agent` became idle."""
        with self._guard:
            seen = self._last_seen.get(("agent", other))
            return seen is not None and seen >= self._idle_since.get(agent, self._floor)

    def take_unflushed(self) -> list[tuple[str, int, float]]:
        """Give (kind, pk, seconds ago) of everyone seen since the last call."""
        with self._guard:
            now = self._clock()
            taken = [(*key, now - self._last_seen[key]) for key in self._unflushed]
            self._unflushed.clear()
            return taken

    def seconds_ago(self, kind: str, pk: int) -> float | None:
        """Give how many seconds ago it was last seen; None if not since this server's start."""
        with self._guard:
            seen = self._last_seen.get((kind, pk))
            return None if seen is None else self._clock() - seen
