"""The secrets of an environment, kept out of command lines, output and reasons.

Pure. The name of a variable says whether it is a secret. A long value is hidden everywhere, a short
one only as a word of its own, since `1` or `true` would hide half of a command line.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping, Sequence

HIDDEN = "***"

CLIENT_TELLS_NO_COMMAND = {"WANDB_X_DISABLE_META": "true", "WANDB__DISABLE_META": "true"}
"""Stops W&B's client in a trainer from uploading its command line.

That also stops what it uploads about the machine. The second name is for clients up to 0.18.
"""

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|_PWD$|_PASS$", re.I)
_MACRO_NAME = re.compile(r"[A-Z0-9_]+")
_LONG = 8
_SHORT = 4
_PLAIN_WORDS = frozenset({"true", "false", "none", "null", "auto", "default"})


class Secrets:
    """Hides the values of one environment's secrets."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._names: dict[str, str] = {}
        for name, value in environ.items():
            if _SECRET_NAME.search(name):
                self._names.update((form, name) for form in _forms(value))
        # The longest first, so that a secret within another leaves no rest of that one.
        parts = [_pattern(value) for value in sorted(self._names, key=len, reverse=True)]
        self._values = re.compile("|".join(parts)) if parts else None

    def hide(self, text: str) -> str:
        """Give a text without the secrets in it."""
        return text if self._values is None else self._values.sub(HIDDEN, text)

    def are_in(self, argv: Sequence[str]) -> bool:
        """Say whether a secret is in a command line."""
        return self._values is not None and any(map(self._values.search, argv))

    def hide_in_command(self, argv: Sequence[str]) -> list[str]:
        """Give a command line in which each secret is its variable, as a sweep's file names it."""
        if self._values is None:
            return list(argv)
        return [self._values.sub(self._macro, word) for word in argv]

    def _macro(self, found: re.Match[str]) -> str:
        name = self._names[found[0]]
        return f"${{envvar:{name}}}" if _MACRO_NAME.fullmatch(name) else HIDDEN


def _forms(value: str) -> set[str]:
    """Give the forms in which a value is printed: whole, line by line, quoted in an address."""
    found = {value.strip(), *(line.strip() for line in value.splitlines())}
    found |= {urllib.parse.quote(form, safe="") for form in found}
    return {form for form in found if _is_worth_hiding(form)}


def _is_worth_hiding(value: str) -> bool:
    if len(value) >= _LONG:
        return True
    is_number = bool(re.fullmatch(r"[-+.\d]+", value))
    return len(value) >= _SHORT and not is_number and value.lower() not in _PLAIN_WORDS


def _pattern(value: str) -> str:
    escaped = re.escape(value)
    return escaped if len(value) >= _LONG else rf"(?<![A-Za-z0-9]){escaped}(?![A-Za-z0-9])"
