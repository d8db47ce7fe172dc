"""Pages that follow what they show: a stream of events tells a browser when to fetch one again.

An event says only that something was stored; a stream waits for that and asks nobody. The page
carries the name of what it shows, so that nothing is missed between its answer and its stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from sweepctl.server.bounds import MAX_STREAMS
from sweepctl.server.store.changes import Changes, Kind
from sweepctl.server.web.requests import error_response

_RETRY_MS = 3000
_EVENTS_APART_S = 1.0
"""A sweep of many agents changes all the time."""

_BLANK_EVERY_S = 25.0
"""So often an empty line goes out: whoever is between would close a connection that is silent."""

_FULL = {"Retry-After": "30"}


class Streams:
    """The streams of events that are open; of the event loop's thread alone."""

    def __init__(self, changes: Changes, limit: int = MAX_STREAMS) -> None:
        self._changes = changes
        self._limit = limit
        self._open: set[_Stream] = set()
        self._is_over = False

    def response(self, request: Request, kind: Kind, pk: int) -> Response:
        """Answer with the changes of a sweep or run, as they come."""
        if self._is_over or len(self._open) >= self._limit:
            why = "the server ends" if self._is_over else f"{self._limit} pages are followed"
            return error_response(503, f"{why}: open this one again later", _FULL)
        known = request.headers.get("last-event-id") or request.query_params.get("since", "")
        return _Stream(self._changes, kind, pk, known, self)

    def close(self) -> None:
        """End all streams: the server ends."""
        self._is_over = True
        for stream in self._open:
            stream.wake()

    @property
    def is_over(self) -> bool:
        """Say whether the server ends."""
        return self._is_over

    def opened(self, stream: _Stream) -> Callable[[], None]:
        """Count a stream; give what ends that."""
        self._open.add(stream)
        return lambda: self._open.discard(stream)


class _Stream(Response):
    """One answer that goes on until its reader leaves or the server ends."""

    def __init__(self, changes: Changes, kind: Kind, pk: int, known: str, streams: Streams) -> None:
        super().__init__(
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
            media_type="text/event-stream",
        )
        del self.headers["content-length"]
        self._changes = changes
        self._key = (kind, pk)
        self._known = known
        self._streams = streams
        self._news = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until somebody leaves."""
        loop = asyncio.get_running_loop()
        closed = self._streams.opened(self)

        def tell() -> None:
            if not self._news.is_set() and not loop.is_closed():
                loop.call_soon_threadsafe(self.wake)

        leave = self._changes.await_change(*self._key, tell)
        try:
            async with anyio.create_task_group() as both:

                async def until_left() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    both.cancel_scope.cancel()

                both.start_soon(until_left)
                await self._events(send)
                both.cancel_scope.cancel()
        finally:
            leave()
            closed()

    def wake(self) -> None:
        """Have the stream look what there is to tell."""
        self._news.set()

    async def _events(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        await send(_part(f"retry: {_RETRY_MS}\n\n"))
        while not self._streams.is_over:
            self._news.clear()
            shown = self._changes.shown(*self._key)
            if shown != self._known:
                self._known = shown
                await send(_part(f"id: {shown}\nevent: changed\ndata: {shown}\n\n"))
                await self._pause()
                continue
            with anyio.move_on_after(_BLANK_EVERY_S) as silence:
                await self._news.wait()
            if silence.cancelled_caught:
                await send(_part("\n"))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pause(self) -> None:
        """Let some time pass between two events; the end of the server does not wait for it."""
        until = anyio.current_time() + _EVENTS_APART_S
        while not self._streams.is_over and (left := until - anyio.current_time()) > 0:
            with anyio.move_on_after(left):
                await self._news.wait()
                if not self._streams.is_over:
                    await anyio.sleep(left)


def _part(text: str) -> Message:
    return {"type": "http.response.body", "body": text.encode(), "more_body": True}
