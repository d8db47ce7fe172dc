"""Which data folder is served at which address of this machine, as far as this user's servers say.

A server notes its folder under its port in the user's state folder, so that a command which gets
an address alone finds the folder's key. Nothing secret is noted. Machines may share that folder:
each has its own notes, for the same address is another server on each.
"""

from __future__ import annotations

import ipaddress
import json
import os
import platform
import urllib.parse
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Noted:
    """Who noted an address."""

    data: Path
    pid: int


def this_boot() -> str:
    """Name this machine since its start: process ids and loopback addresses are of it alone."""
    try:
        return _BOOT.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return platform.node()


def note_address(url: str, data: Path) -> None:
    """Note which folder is served at a port; where that cannot be, addresses tell no key."""
    path = _note(url)
    if path is None:
        return
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in path.parent.glob("*.json"):
            if _read(left) is None:  # its server was killed
                left.unlink(missing_ok=True)
        written = path.with_name(f".{path.name}.{os.getpid()}")
        written.write_text(json.dumps({"data": str(data), "pid": os.getpid(), "boot": this_boot()}))
        written.replace(path)


def forget_address(url: str) -> None:
    """Remove what `note_address` wrote, if it is still this process's."""
    path = _note(url)
    with suppress(OSError, ValueError, KeyError, TypeError):
        if path is not None and json.loads(path.read_text())["pid"] == os.getpid():
            path.unlink()


def folder_at(url: str) -> Path | None:
    """Give the folder that a server of this user serves at an address of this machine.

    A key is for its server alone: None when the process is gone that noted the address, since
    somebody else may listen there now.
    """
    noted = noted_at(url)
    return noted.data if noted is not None else None


def noted_at(url: str) -> Noted | None:
    """Give the same with the process that noted it."""
    path = _note(url)
    return _read(path) if path is not None else None


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches what listens on a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read(path: Path) -> Noted | None:
    """Read a note, unless the process is gone that wrote it."""
    try:
        told = json.loads(path.read_text())
        noted = Noted(Path(told["data"]), int(told["pid"]))
        if told["boot"] != this_boot():
            return None
        os.kill(noted.pid, 0)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    return noted


def _note(url: str) -> Path | None:
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None
    if parts.scheme != "http" or not is_loopback(parts.hostname or ""):
        return None
    machine = platform.node().replace("/", "_") or "this"
    return platformdirs.user_state_path("sweepctl") / "servers" / machine / f"{port}.json"
