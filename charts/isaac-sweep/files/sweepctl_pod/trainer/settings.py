"""Whether the trainer has the settings it was asked for: overrides against its `params/*.yaml`.

Pure. Isaac Lab 3 accepts typos and wrong types without a word, and a flag of the command wins over
an override (isaaclab_tasks/utils/hydra.py), so only the trainer's own record proves a run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweepctl_pod.errors import nearest
from sweepctl_pod.overrides import Grammar, Override


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting that is not what was asked for; `got` is None with `is_missing` set."""

    path: str
    asked: object
    got: object
    is_missing: bool = False
    nearest: str | None = None

    def text(self) -> str:
        """Say it in one line, with what to do."""
        if self.is_missing:
            hint = f" (did you mean {self.nearest}?)" if self.nearest else ""
            return f"{self.path}: the trainer has no such setting{hint}"
        return (
            f"{self.path}: asked for {_shown(self.asked)}, the trainer has {_shown(self.got)};"
            " a flag of the command wins over an override, so leave one of them out"
        )


def differences(
    overrides: Sequence[Override], grammar: Grammar, params: Mapping[str, object]
) -> list[Difference]:
    """Compare each override with the trainer's record; `params` is {"env": …, "agent": …}.

    Numbers are compared exactly, tuples as lists. Under Hydra dictionaries merge, so keys that were
    not asked for are no difference there.
    """
    found = []
    for override in overrides:
        path = override.path.lstrip("+")
        root, _, rest = path.partition(".")
        if root not in params or not rest:
            continue
        got, missing = _look_up(params[root], rest.split("."))
        if missing is not None:
            found.append(Difference(path, override.value, None, True, _sibling(path, missing)))
        elif not _is_same(override.value, got, merges=grammar is Grammar.HYDRA):
            found.append(Difference(path, override.value, got))
    return found


def _look_up(tree: object, parts: Sequence[str]) -> tuple[object, tuple[int, list[str]] | None]:
    """Walk a path; when it breaks off, give at which part, and the names that there are."""
    for index, part in enumerate(parts):
        if isinstance(tree, Mapping):
            if part not in tree:
                return None, (index, [str(key) for key in tree])
            tree = tree[part]
        elif isinstance(tree, (list, tuple)) and part.isdigit() and int(part) < len(tree):
            tree = tree[int(part)]
        else:
            return None, (index, [])
    return tree, None


def _sibling(path: str, missing: tuple[int, list[str]]) -> str | None:
    index, names = missing
    parts = path.split(".")
    near = nearest(parts[index + 1], names)
    return ".".join([*parts[: index + 1], near, *parts[index + 2 :]]) if near else None


def _is_same(asked: object, got: object, *, merges: bool) -> bool:
    if isinstance(asked, str) and not isinstance(got, str):
        # A preset's name selects a whole section, and the record holds the section.
        return isinstance(got, Mapping) or _reads_as(asked, got)
    if isinstance(asked, bool) or isinstance(got, bool):
        return asked is got
    if isinstance(asked, (int, float)) and isinstance(got, (int, float)):
        if isinstance(asked, float) and math.isnan(asked):
            return math.isnan(got)
        return asked == got
    if isinstance(asked, Mapping) and isinstance(got, Mapping):
        if not merges and set(asked) != set(got):
            return False
        return all(
            key in got and _is_same(value, got[key], merges=merges) for key, value in asked.items()
        )
    if isinstance(asked, (list, tuple)) and isinstance(got, (list, tuple)):
        return len(asked) == len(got) and all(
            _is_same(one, other, merges=merges) for one, other in zip(asked, got, strict=True)
        )
    return asked == got


def _reads_as(text: str, number: object) -> bool:
    """Tell whether `${args…}` gave a number as text: 3e-4 in a sweep file is text to YAML 1.1."""
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return False
    try:
        return float(text) == number
    except ValueError:
        return False


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "…"
