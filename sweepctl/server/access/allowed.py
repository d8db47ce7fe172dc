"""Who may use the server: API keys, as W&B's client sends them (Basic auth, user "api")."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Sequence

from sweepctl.server.access.addresses import is_loopback
from sweepctl_pod.errors import UsageError

_MIN_KEY_LENGTH = 40


class ApiKeys:
    """The API keys that are accepted, as hashes; without any, every request is.

    `further` gives the hashes of keys that come and go while the server runs. `lets_in` may let
    requests in that have no key; it is told whether they write. A UsageError says why W&B's client
    would refuse a key.
    """

    def __init__(
        self,
        keys: Sequence[str],
        *,
        further: Callable[[], Iterable[bytes]] = tuple,
        lets_in: Callable[[bool], bool] = lambda is_write: False,
    ) -> None:
        for key in keys:
            if problem := _problem_of(key):
                raise UsageError(
                    f"no W&B client would use an API key {problem}",
                    'make one: python3 -c "import secrets; print(secrets.token_hex(20))"',
                )
        self._hashes = [hash_of_key(key) for key in keys]
        self._further = further
        self._lets_in = lets_in

    def allows(self, authorization: str | None, *, is_write: bool) -> bool:
        """Say whether a request with this Authorization header may be answered."""
        if not self._hashes:
            return True
        return self.of_header(authorization) is not None or self._lets_in(is_write)

    def of_header(self, authorization: str | None) -> bytes | None:
        """Give the hash of the key that an Authorization header has, if it is one of these."""
        return self.known(_key(authorization))

    def known(self, key: str) -> bytes | None:
        """Give the hash of a key, if it is one of these."""
        given = hash_of_key(key)
        # Every hash is compared, so that the time does not show which one fits.
        return given if any([hmac.compare_digest(given, each) for each in self.hashes()]) else None

    def hashes(self) -> list[bytes]:
        """Give the hashes of all keys that are accepted now."""
        return [*self._hashes, *self._further()]


def hash_of_key(key: str) -> bytes:
    """Give what is kept of a key: keys are random, so that nobody finds one by its hash."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _problem_of(key: str) -> str | None:
    """Say why the wandb client would refuse a key (wandb/sdk/lib/wbauth/validation.py).

    The part before the first dash is a prefix of self-hosted servers and does not count.
    """
    prefix, dash, rest = key.partition("-")
    secret = rest if dash else prefix
    after = " after its first dash" if dash else ""
    if len(secret) < _MIN_KEY_LENGTH:
        return f"with {len(secret)} characters{after}: at least {_MIN_KEY_LENGTH} are wanted"
    if not re.fullmatch(r"[\w-]+", secret):
        return "with other characters than letters, digits and underscores"
    return None


def check_listen(host: str, *, is_keyless: bool) -> None:
    """Refuse to be served without a key beyond this machine."""
    if is_keyless and not is_loopback(host):
        raise UsageError(
            f"without a key others could use the server: it listens on {host}",
            "leave out --keyless, or listen on 127.0.0.1",
        )


def shown_prefix(authorization: str | None) -> str:
    """Give the part of a request's key that may be shown: what stands before its first dash."""
    prefix, dash, _ = _key(authorization).partition("-")
    return prefix if dash else ""


def _key(authorization: str | None) -> str:
    scheme, _, rest = (authorization or "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    try:
        text = base64.b64decode(rest.strip(), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""
    return text.partition(":")[2]
