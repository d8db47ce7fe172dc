"""The seed that a sweep's search is repeated from: words in its description, for W&B has no key.

`sweepctl-seed: 7` anywhere in the text. The embedded server draws by it; W&B proper does not.
"""

from __future__ import annotations

import re

from sweepctl_pod.errors import SweepctlError

MAX_SEED = 2**63 - 1

_WORDS = re.compile(r"\bsweepctl-seed:[ \t]*(\S*)")


class SeedError(SweepctlError):
    """The words are there and name no seed."""


def read_seed(description: str | None) -> int | None:
    """Give the seed that a description names, if it names one."""
    found = _WORDS.search(description or "")
    if found is None:
        return None
    text = found.group(1).rstrip(".,;)")
    if not (text.isascii() and text.isdigit()) or int(text[:20]) > MAX_SEED or len(text) > 19:
        raise SeedError(
            f"sweepctl-seed: expected a whole number from 0 to {MAX_SEED}, found {text[:40]!r}",
            "write sweepctl-seed: 7 in the description, or leave it out",
        )
    return int(text)


def seed_in(description: str | None) -> int | None:
    """Give the seed that somebody else's description names; None also where it names none well."""
    try:
        return read_seed(description)
    except SeedError:
        return None


def with_seed(description: str | None, seed: int) -> str:
    """Give a description that names this seed, in place of one that it names."""
    words = f"sweepctl-seed: {seed}"
    text = description or ""
    if _WORDS.search(text):
        return _WORDS.sub(words, text, count=1)
    return f"{text.rstrip()}\n{words}" if text.strip() else words
