"""Which requests are answered, whatever their key: none that a page of another site sends.

A browser lets any web page send requests to a server on this machine, under a host name of the
page's choice (DNS rebinding), and with the key that its user once typed. The headers that a
browser adds (Host, Origin, Sec-Fetch-Site, Content-Type) tell such a request from a client's.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response

from sweepctl.server.access.addresses import is_loopback
from sweepctl.server.web.requests import error_response
from sweepctl_pod.errors import UsageError

_OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")
_HOST = re.compile(
    r"(?P<name>\[[0-9a-f:.]+\]|[^\s:/?#@\[\],]+)(:(?P<port>\d{0,5}))?", re.IGNORECASE
)
_JSON = ("/graphql", "/login/links")
_DEFAULT_PORTS = ("", "80", "443")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Gate:
    """Decides about requests by their headers alone; pure."""

    names: frozenset[str] | None
    """The host names that are answered to; None beyond loopback, where the key decides."""

    @classmethod
    def of(cls, listen: str, allowed: Iterable[str] = ()) -> Gate:
        """Give the gate of a server that listens on a host, under further names."""
        further = [_checked_name(name) for name in allowed]
        if not is_loopback(listen):
            return cls(None)
        own = f"[{listen}]" if ":" in listen else listen
        return cls(frozenset(name.lower() for name in (*_OWN_NAMES, own, *further)))

    def refusal(self, method: str, path: str, headers: Headers) -> str | None:
        """Say why a request is not answered; None when it is."""
        return (
            self._unknown_host(headers)
            or _foreign_origin(headers)
            or _cross_site(method, headers)
            or _no_json(method, path, headers)
        )

    def _unknown_host(self, headers: Headers) -> str | None:
        if self.names is None:
            return None
        given = headers.getlist("host")
        found = _HOST.fullmatch(given[0]) if len(given) == 1 else None
        if found is not None and found["name"].lower() in self.names:
            return None
        said = f"the host {given[0]!r}" if len(given) == 1 else f"{len(given)} hosts"
        hint = f", or start it with --allowed-host {found['name']}" if found is not None else ""
        return (
            f"this server listens on this machine alone, and the request names {said}:"
            f" use http://localhost with the server's port{hint}"
        )


class GatedApp:
    """An ASGI application behind a gate."""

    def __init__(self, app: App, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, with 403 if the gate refuses it."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            reason = self._gate.refusal(scope["method"], scope["path"], headers)
            if reason is not None:
                await _refusal(reason, headers)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _checked_name(name: str) -> str:
    found = _HOST.fullmatch(name)
    if found is None or found["port"] is not None:
        raise UsageError(
            f"--allowed-host {name}: not a host name",
            "give the name alone, as it stands in the address of the page: sweeps.example.com",
        )
    return name


def _foreign_origin(headers: Headers) -> str | None:
    """Compare the origin with the host by name and port: TLS may end before this server."""
    own = _place(headers.get("host", ""))
    for origin in headers.getlist("origin"):
        if own is None or _place(origin.partition("://")[2]) != own:
            return (
                f"the request comes from a page of {origin[:200]!r}, and only this server's own"
                f" pages may send it: open {headers.get('host', 'this server')[:200]} itself"
            )
    return None


def _place(text: str) -> tuple[str, str] | None:
    """Read NAME[:PORT]; which default port it is tells the scheme, and that is not compared."""
    found = _HOST.fullmatch(text)
    if found is None:
        return None
    port = found["port"] or ""
    return found["name"].lower(), "" if port in _DEFAULT_PORTS else port


def _cross_site(method: str, headers: Headers) -> str | None:
    """Refuse what a page of another site sends by itself; a link that is followed only reads."""
    if "cross-site" not in (site.strip() for site in headers.getlist("sec-fetch-site")):
        return None
    if method == "GET" and headers.get("sec-fetch-mode") == "navigate":
        return None
    return (
        "the request was sent by a page of another site, which may link to this server's pages"
        " and do nothing else: open the address itself"
    )


def _no_json(method: str, path: str, headers: Headers) -> str | None:
    """Refuse what a page may post without a preflight request: that is never JSON."""
    if method != "POST" or not (path in _JSON or path.startswith("/files/")):
        return None
    kinds = [kind.partition(";")[0].strip().lower() for kind in headers.getlist("content-type")]
    if kinds == ["application/json"]:
        return None
    said = f"its Content-Type is {', '.join(kinds)[:200]!r}" if kinds else "it has no Content-Type"
    return f"a post to {path[:200]} is JSON, and {said}: send Content-Type: application/json"


def _refusal(reason: str, headers: Headers) -> Response:
    """Answer people in plain text, and clients in the form they expect."""
    if "text/html" in headers.get("accept", ""):
        safe = {"X-Content-Type-Options": "nosniff"}
        return PlainTextResponse(f"{reason}\n", 403, headers=safe)
    return error_response(403, reason)
