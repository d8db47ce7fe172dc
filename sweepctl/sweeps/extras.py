"""Packages that only some verbs need: extras of the installation, asked for where they are used."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shlex
import sys
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from sweepctl_pod.errors import SweepctlError

EXTRAS = {"report": ("pyarrow", "wandb")}
"""The modules that an extra brings."""


def require_extra(extra: str, what: str, modules: Sequence[str] = ()) -> None:
    """Refuse what cannot be done without an extra, with the command that installs it.

    `modules` are those of the extra that are needed, where not all of them are.
    """
    wanted = modules or EXTRAS[extra]
    missing = [module for module in wanted if importlib.util.find_spec(module) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        message = f"{what} needs {' and '.join(missing)}, which {verb} not installed"
        command = install_command(extra, Path(sys.prefix), _origin())
        raise SweepctlError(message, f"run `{command}`")


def install_command(extra: str, prefix: Path, origin: str | None) -> str:
    """Give the command that adds an extra to the installation at `prefix`, the way it was made.

    `origin` is its direct_url.json, where it came from a file or a folder and from no index.
    """
    about = json.loads(origin) if origin else {}
    wanted = f"sweepctl[{extra}]" + (f" @ {about['url']}" if about else "")
    if (prefix / "uv-receipt.toml").exists():
        return f"uv tool install {shlex.quote(wanted)}"
    if (prefix / "pipx_metadata.json").exists():
        return f"pipx install --force {shlex.quote(wanted)}"
    if about.get("dir_info", {}).get("editable"):
        folder = urllib.parse.unquote(urllib.parse.urlsplit(about["url"]).path)
        wanted = f"{folder}[{extra}]"
    quoted = ("-e " if wanted.startswith("/") else "") + shlex.quote(wanted)
    python = shlex.quote(str(prefix / "bin" / "python"))
    if any(prefix.glob("lib/python*/site-packages/pip")):
        return f"{python} -m pip install {quoted}"
    return f"uv pip install -p {python} {quoted}"


def _origin() -> str | None:
    try:
        return importlib.metadata.distribution("sweepctl").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return None
