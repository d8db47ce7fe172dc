"""Packages that only some verbs need: extras of the installation, asked for where they are used."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from sweepctl.errors import SweepctlError

EXTRAS = {"bayes": ("sweeps",), "report": ("pyarrow", "wandb")}
"""The modules that each extra brings."""


def require_extra(extra: str, what: str) -> None:
    """Refuse what cannot be done without an extra, with the command that installs it."""
    missing = [module for module in EXTRAS[extra] if importlib.util.find_spec(module) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        message = f"{what} needs {' and '.join(missing)}, which {verb} not installed"
        raise SweepctlError(message, f"run `{install_command(extra)}`")


def install_command(extra: str, prefix: Sequence[str] = Path(sys.prefix).parts) -> str:
    """Give the command that adds an extra to this installation, as it was made."""
    if tuple(prefix[-3:-1]) == ("uv", "tools"):
        return f"uv tool install 'sweepctl[{extra}]'"
    if tuple(prefix[-3:-1]) == ("pipx", "venvs"):
        return f"pipx install --force 'sweepctl[{extra}]'"
    return f"pip install 'sweepctl[{extra}]'"
