"""The versions of W&B's client that are promised to work, and what each of them does.

`make test-clients` tries every version, `make test` the oldest and the installed one. What no
server could change is a lack: the client itself has no such thing.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version

from tests.contract.locked_python import locked_python

OLDER = ("0.16.6", "0.19.11", "0.22.3", "0.25.1", "0.28.2", "0.29.0", "0.30.0")
INSTALLED = version("wandb")
VERSIONS = (*OLDER, INSTALLED)

LACKS = {
    "shared mode": {"0.16.6": "the client has none"},
    "rewind": {"0.16.6": "the client has none"},
}
"""By feature and version, why it is not there."""

IS_ALL = os.environ.get("SWEEPCTL_CLIENTS") == "all"


def clients(feature: str) -> list[str]:
    """Give the versions to try a feature with: all, or the oldest that has it and the installed."""
    having = [found for found in VERSIONS if found not in LACKS.get(feature, {})]
    return having if IS_ALL else [having[0], having[-1]]


def python_of(client: str) -> str:
    """Give the Python that has this version of the client."""
    return sys.executable if client == INSTALLED else str(locked_python(f"wandb-{client}"))
