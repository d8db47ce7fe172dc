"""The connections of the server: how many there may be, and how long each may do nothing.

uvicorn's protocol, with what it lacks: a time for the head of a request, also of the first, an end
to answers that nobody reads, and room for newcomers where idle connections have taken it all.
"""

from __future__ import annotations

import asyncio
import resource
from collections import OrderedDict
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from sweepctl.server.bounds import HEADER_LIMIT_S, MAX_CONNECTIONS, STALL_LIMIT_S

_OTHER_FILES = 256
"""What the server opens beside connections: the database in each thread, files, pipes."""


def raise_file_limit() -> int:
    """Let this process open as many files as it may; give how many connections that allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(16, min(MAX_CONNECTIONS, soft - _OTHER_FILES))


def bounded_protocol(
    limit: int, header_limit_s: float = HEADER_LIMIT_S, stall_limit_s: float = STALL_LIMIT_S
) -> type[asyncio.Protocol]:
    """Give the class of a server's connections, of which there may be `limit`."""
    waiting: OrderedDict[Any, None] = OrderedDict()

    class Bounded(_Bounded):
        _limit = limit
        _header_limit_s = header_limit_s
        _stall_limit_s = stall_limit_s
        _waiting = waiting

    return Bounded


class _Bounded(H11Protocol):
    _limit: int
    _header_limit_s: float
    _stall_limit_s: float
    _waiting: OrderedDict[_Bounded, None]
    """The connections without a request under way, the one that waits longest first."""
    _head_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn
        super().connection_made(transport)
        if len(self.connections) > self._limit:
            longest = next(iter(self._waiting), None)
            (self if longest is None else longest).transport.abort()
            if longest is None:
                return
            self._waiting.pop(longest)
        self._waiting[self] = None
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._waiting.pop(self, None)
        self._head_came()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._note_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._waiting[self] = None
        self._waiting.move_to_end(self)
        self._note_request(was_answered=True)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(self._stall_limit_s, self.transport.abort)

    def resume_writing(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
        super().resume_writing()

    def _note_request(self, *, was_answered: bool = False) -> None:
        """Note whether a request is under way; one that comes byte by byte is not yet."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._waiting.pop(self, None)
            self._head_came()
        elif not was_answered:
            self._await_head()

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._header_limit_s, self.transport.abort)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
