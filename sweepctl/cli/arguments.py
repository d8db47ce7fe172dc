"""The words of a command line before they are parsed: earlier names of options, the asked form.

Every option has one name, in kebab-case. The names of WBC-AGILE's scripts and of earlier versions
work as well, but no help shows them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_RENAMED = {
    "-p": "--project-name",
    "preview -n": "--count",
    "delete --data": "--volumes",
}
"""Earlier names, some of them of one verb: there is another option of that name elsewhere."""

_LONG = re.compile(r"(--[A-Za-z][\w-]*)(=.*)?", re.DOTALL)
_SHORT = re.compile(r"(-[A-Za-z])(.*)", re.DOTALL)


def current_names(arguments: Sequence[str]) -> list[str]:
    """Give the arguments with the present names of options; what follows `--` stays."""
    verb = next((word for word in arguments if word[:1] != "-"), "")
    end = arguments.index("--") if "--" in arguments else len(arguments)
    renamed = [word for each in arguments[:end] for word in _renamed(verb, each)]
    return [*renamed, *arguments[end:]]


def wants_data(arguments: Sequence[str]) -> bool:
    """Say whether the answer is asked for as JSON or YAML, so that errors are data, too."""
    for word, following in zip(arguments, [*arguments, ""][1:], strict=True):
        if word == "--":
            return False
        form = following if word in ("-o", "--output") else re.sub("^(-o|--output=)", "", word)
        if form in ("json", "yaml") and form != word:
            return True
    return False


def _renamed(verb: str, word: str) -> list[str]:
    long, short = _LONG.fullmatch(word), _SHORT.fullmatch(word)
    if long:
        name, value = long[1].replace("_", "-"), long[2] or ""
        return [_RENAMED.get(f"{verb} {name}", name) + value]
    new = short and (_RENAMED.get(f"{verb} {short[1]}") or _RENAMED.get(short[1]))
    if short and new:
        return [new, short[2]] if short[2] else [new]
    return [word]
