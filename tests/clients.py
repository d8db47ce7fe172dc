"""The versions of W&B's client that are promised to work, and what each of them does.

`make test-clients` tries every version, `make test` the oldest and the installed one. What no
server could change is a lack: the client itself has no such thing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version

from tests.contract.locked_python import locked_python

OLDER = ("0.16.6", "0.19.11", "0.22.3", "0.25.1", "0.28.2", "0.29.0", "0.30.0")
INSTALLED = version("wandb")
VERSIONS = (*OLDER, INSTALLED)

LACKS = {
    "prior runs": {"0.16.6": "not in the client"},
    "rewind": {"0.16.6": "not in the client"},
    "shared mode": {"0.16.6": "not in the client"},
}
"""By feature and version, why it is not there."""

_CELL = "client/"
IS_ALL = os.environ.get("SWEEPCTL_CLIENTS") == "all"


def clients(feature: str) -> list[str]:
    """Give the versions to try a feature with: all, or the oldest that has it and the installed."""
    having = [found for found in VERSIONS if found not in LACKS.get(feature, {})]
    return having if IS_ALL else [having[0], having[-1]]


def python_of(client: str) -> str:
    """Give the Python that has this version of the client."""
    return sys.executable if client == INSTALLED else str(locked_python(f"wandb-{client}"))


FEATURES = (
    "history",
    "config and summary",
    "console output",
    "system metrics",
    "files",
    "media",
    "resume",
    "fork",
    "rewind",
    "preemption",
    "offline sync",
    "segments",
    "sync to another server",
    "public api",
    "sweep agent",
    "sweep commands",
    "prior runs",
    "artifacts",
    "shared mode",
)
"""What the table has a line for, in its order."""


Note = Callable[[Mapping[str, bool]], list[str]]


class Cells:
    """Tells what came of features with versions: the cells of the table."""

    def __init__(self, tell: Callable[[str, bool], None]) -> None:
        self._tell = tell

    @contextmanager
    def of(
        self, client: str, *features: str
    ) -> Iterator[Callable[[Mapping[str, bool]], list[str]]]:
        """Note features that are ok when the block ends well; those noted before count as noted.

        What it gives notes some of them, and gives the names of those that are not ok.
        """
        noted: dict[str, bool] = {}

        def note(found: Mapping[str, bool]) -> list[str]:
            noted.update(found)
            return [name for name, is_ok in noted.items() if not is_ok]

        is_ended = False
        try:
            yield note
            is_ended = True
        finally:
            for feature in features:
                self._tell(f"{_CELL}{client}/{feature}", noted.get(feature, is_ended))


def cells_in(properties: Iterable[tuple[str, object]]) -> dict[tuple[str, str], bool]:
    """Read what tests told: by feature and version, whether it is ok."""
    found: dict[tuple[str, str], bool] = {}
    for name, is_ok in properties:
        if name.startswith(_CELL):
            client, _, feature = name.removeprefix(_CELL).partition("/")
            found[feature, client] = bool(is_ok)
    return found


def table(cell: Callable[[str, str], str]) -> str:
    """Write the table of features and versions, as the docs have it."""
    rows = [("", *VERSIONS), ("---", *("---" for _ in VERSIONS))]
    rows += [(feature, *(cell(feature, client) for client in VERSIONS)) for feature in FEATURES]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def promised(feature: str, client: str) -> str:
    """Give what the docs say of a feature with a version."""
    return LACKS.get(feature, {}).get(client, "ok")
