"""Keeps secrets out of a report, whatever somebody wrote into a sweep file or a command.

Hidden is what the environment of whoever makes the report calls a secret, as agents hide it in
logs; the key of the sweep's server; a parameter or a variable of a command whose name says that it
is one; and the password in an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sweepctl_pod.run.secret_values import HIDDEN, Secrets

_NAMED = re.compile(
    r"(^|[._\-])((api|access|secret|private|auth|encryption)[_-]?key|secret|(auth|access)?[_-]?token|passw(or)?d|passphrase"
    r"|credentials?)$",
    re.I,
)
"""Names of a secret: stricter than for variables, since there are parameters like `key_frames`."""
_ASSIGNED = re.compile(r"(?=(?:^|[\s'\"])-{0,2}([A-Za-z_][\w.\-]*)[=:\s]\s*([^\s'\",]+))")
"""A name and a value; by looking ahead, since the value may be the name of another."""
_PASSWORD = re.compile(r"(://[^/\s:@]*:|://(?=[^/\s:@]{12,}@))[^/\s@]+(?=@)")
"""Of an address; a name without one is hidden where it is as long as a token."""
_HEADER = re.compile(r"\b((?:Bearer|Basic)\s+)[^\s'\"]{8,}", re.I)
_NUMBER = re.compile(r"(^|[._\-])(secret|passw(or)?d|passphrase)$", re.I)
"""Names of a secret that may be a number: one of tokens is a quantity."""
_FEWEST = 4


class Hiding:
    """Hides secrets in texts and in values of any depth."""

    def __init__(self, environ: Mapping[str, str], key: str | None, *places: object) -> None:
        """Learn the secrets; `places` are what may name some: a sweep's config, parameters."""
        found = {name: value for place in places for name, value in _named(place)}
        named = {f"{name}_secret": value for name, value in found.items()}
        self._secrets = Secrets({**environ, **named, "key": key or ""})

    def text(self, text: str) -> str:
        """Give a text without secrets."""
        return _without_addresses(self._secrets.hide(text))

    def command(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """Give a command line in which a secret is its variable."""
        return tuple(_without_addresses(word) for word in self._secrets.hide_in_command(argv))

    def value(self, value: Any) -> Any:
        """Give a value without secrets in its texts and names."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {
                self.value(name): HIDDEN if _is_secret_number(str(name), part) else self.value(part)
                for name, part in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self.value(part) for part in value]
        return value


def _without_addresses(text: str) -> str:
    return _HEADER.sub(rf"\1{HIDDEN}", _PASSWORD.sub(rf"\1{HIDDEN}", text))


def _is_secret_number(name: str, part: object) -> bool:
    number = part.get("value") if isinstance(part, Mapping) else part
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    return is_number and _NUMBER.search(name) is not None


def _named(place: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Find what is named a secret: `{token: x}`, `{token: {value: x}}`, `--token x`, `TOKEN=x`."""
    if isinstance(place, Mapping):
        for key, value in place.items():
            own = str(key) if str(key) not in ("value", "values") else name
            yield from _named(value, own)
    elif isinstance(place, (list, tuple)):
        words = [str(word) for word in place]
        for part in place:
            yield from _named(part, name)
        yield from _named(" ".join(words))
    elif isinstance(place, str):
        if _NAMED.search(name) and len(place) >= _FEWEST and not place.startswith("${"):
            yield f"{name}_{len(place)}", place
        for found in _ASSIGNED.finditer(place):
            if _NAMED.search(found[1]) and not found[2].startswith(("${", "--")):
                yield f"{found[1]}_{len(found[2])}", found[2]
