"""Logins of browsers: a cookie for who has shown a key once, and links that log in once.

A cookie opens pages and files to read; what changes something also takes the token of a form that
this server gave to the same browser. It names no key, and holds until its log-out, and as long as
the key does that it was given for.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sweepctl.server.access.allowed import ApiKeys

LINK_S = 60.0
"""How long a link may be used, once."""

_SESSION_S = 7 * 24 * 3600.0
_MAX_LINKS = 1000
_VALUE = re.compile(r"(\d{1,12})\.([0-9a-f]{16})\.([0-9a-f]{64})")
_INSIDE = re.compile(r"/(?![/\\])[^\x00-\x20\\]*")


class Ended(Protocol):
    """Keeps the names of the logins that were ended, each until it would have ended by itself."""

    def __contains__(self, name: str) -> bool: ...

    def add(self, name: str, until: int) -> None:
        """End a login, for good."""


@dataclass(frozen=True, slots=True)
class _Link:
    key: bytes
    until: float


class Logins:
    """Gives cookies and links and says whether they hold; safe to use from any thread.

    Cookies are signed by the folder's `secret`, so that they outlive the server's process; links
    do not. `now` is the time of the calendar.
    """

    def __init__(
        self, keys: ApiKeys, secret: bytes, now: Callable[[], float], ended: Ended
    ) -> None:
        self._keys = keys
        self._secret = hmac.digest(secret, b"logins of browsers", "sha256")
        self._forms = hmac.digest(secret, b"forms of pages", "sha256")
        self._now = now
        self._ended = ended
        self._links: dict[bytes, _Link] = {}
        self._changing = threading.Lock()

    def new_link(self, authorization: str | None) -> str | None:
        """Give the token of a new link for who shows a key; None for who needs none."""
        key = self._keys.of_header(authorization)
        if key is None:
            return None
        token = secrets.token_urlsafe(24)
        now = self._now()
        with self._changing:
            held = [(name, link) for name, link in self._links.items() if link.until > now]
            self._links = dict(held[-_MAX_LINKS + 1 :])
            self._links[_name(token)] = _Link(key, now + LINK_S)
        return token

    def of_link(self, token: str) -> str | None:
        """Use a link up; give the cookie for it, if it was good."""
        with self._changing:
            link = self._links.pop(_name(token), None)
        if link is None or self._now() >= link.until or link.key not in self._keys.hashes():
            return None
        return self._cookie(link.key)

    def of_key(self, key: str) -> str | None:
        """Give the cookie for a key, if that is one of the server's."""
        known = self._keys.known(key.strip())
        return self._cookie(known) if known is not None else None

    @property
    def are_needed(self) -> bool:
        """Say whether this server asks for a key at all."""
        return bool(self._keys.hashes())

    def holds(self, cookie: str | None) -> bool:
        """Say whether a cookie was given for a key that is still accepted, and not ended."""
        found = _VALUE.fullmatch(cookie or "")
        if found is None or int(found[1]) <= self._now():
            return False
        until, name, signature = found.groups()
        signed = [self._signature(key, until, name) for key in self._keys.hashes()]
        is_signed = any([hmac.compare_digest(each, signature) for each in signed])
        return is_signed and name not in self._ended

    def end(self, cookie: str | None) -> None:
        """Have a cookie hold no more, here and in every copy of it."""
        found = _VALUE.fullmatch(cookie or "")
        if found is not None and self.holds(cookie):
            self._ended.add(found[2], int(found[1]))

    def form_token(self, session: str) -> str:
        """Give what shows that a form was given to the browser that has this cookie."""
        return hmac.digest(self._forms, session.encode(), "sha256").hex()

    def _cookie(self, key: bytes) -> str:
        until, name = str(int(self._now() + _SESSION_S)), secrets.token_hex(8)
        return f"{until}.{name}.{self._signature(key, until, name)}"

    def _signature(self, key: bytes, until: str, name: str) -> str:
        return hmac.new(self._secret, key + f"{until}.{name}".encode(), hashlib.sha256).hexdigest()


def cookie_name(host: str) -> str:
    """Name the cookie of a server: browsers keep one jar for all ports of a machine."""
    port = host.rpartition(":")[2]
    return f"sweepctl-{port}" if port.isascii() and port.isdigit() else "sweepctl"


def place_inside(text: str) -> str:
    """Give a place of this server to go on to after a login; what leads elsewhere is not."""
    return text if _INSIDE.fullmatch(text) else "/"


def _name(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
