"""A bytecode cache for trainers whose image keeps none; it never serves the code of another.

Isaac Lab's kit-less image sets PYTHONDONTWRITEBYTECODE and holds no bytecode, so every run compiles
torch and warp again. Python trusts bytecode by its source's time and size alone: where times are
normalised, as in images and on some volumes, the bytecode of an older file passes for that of a
changed one. So each trainer gets an empty PYTHONPYCACHEPREFIX of its own, in which only the folders
of its Python's packages are links to a store that lasts: on the cache volume for what the image
itself holds, under the image's digest, else in this pod. The user's code is in none of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepctl_pod.trainer.interpreter import TrainerPython

NEVER = "PYTHONDONTWRITEBYTECODE"
PREFIX = "PYTHONPYCACHEPREFIX"
_ROOT = Path("/")
_UNUSED_LIMIT_S = 30 * 24 * 3600.0
"""How long the cache volume keeps the bytecode of an image that no pod starts any more."""


@dataclass(frozen=True, slots=True)
class SourceFolder:
    """A folder of sources, and whether other pods may read its bytecode, or this one alone."""

    folder: Path
    is_shared: bool


class BytecodeCache:
    """The cache of one agent. No trouble with it keeps a trainer from starting."""

    def __init__(self, environ: Mapping[str, str], python: TrainerPython) -> None:
        self._environ = environ
        self._python = python
        self._links: dict[Path, Path] | None = None
        self._own: Path | None = None

    def environ(self, argv: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
        """Give the environment of a trainer that is about to start; call it for each start."""
        if not environ.get("SWEEPCTL_CACHE") or environ.get(PREFIX):
            return dict(environ)  # no pod of ours, or the user has a cache of their own
        try:
            prefix = self._fresh_prefix(argv)
        except OSError:
            return dict(environ)
        if prefix is None:
            return dict(environ)
        return {**{key: environ[key] for key in environ if key != NEVER}, PREFIX: str(prefix)}

    def discard(self) -> None:
        """Remove what is kept: some of it is broken. Other readers compile again."""
        for store in (self._links or {}).values():
            shutil.rmtree(store, ignore_errors=True)

    def close(self) -> None:
        """Remove what belongs to this agent alone."""
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)
            self._own = None

    def _fresh_prefix(self, argv: Sequence[str]) -> Path | None:
        if self._links is None:
            said = self._python.describe(argv)
            if said is None:
                return None
            wanted = bool(self._environ.get(NEVER)) or not said["has_bytecode"]
            self._own = Path(tempfile.mkdtemp(prefix="sweepctl-bytecode-")) if wanted else None
            self._links = self._stores(said) if wanted else {}
        if self._own is None:
            return None
        prefix = self._own / "fresh"
        if prefix.exists():
            shutil.rmtree(prefix)
        for folder, store in self._links.items():
            store.mkdir(parents=True, exist_ok=True)
            link = prefix / folder.relative_to(_ROOT)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(store)
        prefix.mkdir(exist_ok=True)
        return prefix

    def _stores(self, said: Mapping[str, Any]) -> dict[Path, Path]:
        """Say where the bytecode of each folder is kept."""
        assert self._own is not None
        name = store_name(self._environ, said["identity"])
        shared = Path(self._environ["SWEEPCTL_CACHE"], "bytecode")
        if name is not None:
            _remove_unused(shared, shared / name)
        mounts = mount_points(_read("/proc/self/mountinfo"))
        own = users_folders(self._environ)
        return {
            place.folder: (shared / name if place.is_shared and name else self._own / "kept")
            / place.folder.relative_to(_ROOT)
            for place in places(said["folders"], own, mounts)
        }


def store_name(environ: Mapping[str, str], identity: str) -> str | None:
    """Name what pods share: by image, interpreter and code; None when one of them is not known."""
    image, code = environ.get("SWEEPCTL_IMAGE"), _code_revision(environ)
    if not image or code is None:
        return None
    text = json.dumps([image, identity, code])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def users_folders(environ: Mapping[str, str]) -> list[str]:
    """List the folders of the user's own code: its volume, PYTHONPATH, where work is done."""
    paths = [
        environ.get("SWEEPCTL_CODE", ""),
        *environ.get("SWEEPCTL_PYTHONPATH", "").split(":"),
        *environ.get("PYTHONPATH", "").split(":"),
        environ.get("SWEEPCTL_WORK", ""),
        os.getcwd(),
    ]
    return [path for path in dict.fromkeys(paths) if path]


def places(
    folders: Sequence[str], own: Sequence[str], mounts: Sequence[Path]
) -> list[SourceFolder]:
    """Choose the folders whose bytecode is kept: none that holds, or is in, a folder of the user's.

    Shared is what the image alone holds: a folder with no volume at it, above it or in it.
    """
    users = [_real(path) for path in own]
    volumes = [mount for mount in mounts if mount != _ROOT]
    candidates = sorted({Path(folder) for folder in folders if os.path.isabs(folder)} - {_ROOT})
    chosen: list[SourceFolder] = []
    for folder in candidates:
        # One within another, as site-packages in the standard library, goes with it.
        if any(_is_below(folder, place.folder) for place in chosen):
            continue
        within = [other for other in candidates if other == folder or _is_below(other, folder)]
        sources = [path for each in within for path in (_real(each), *_linked_from(each))]
        if any(_overlap(source, user) for source in sources for user in users):
            continue
        is_shared = not any(_overlap(source, at) for source in sources for at in volumes)
        chosen.append(SourceFolder(folder, is_shared))
    return chosen


def mount_points(mountinfo: str) -> list[Path]:
    """Read the mount points of /proc/PID/mountinfo (proc_pid_mountinfo(5))."""
    lines = [line.split(" ") for line in mountinfo.splitlines()]
    return [Path(_unescaped(fields[4])) for fields in lines if len(fields) > 4]


def _code_revision(environ: Mapping[str, str]) -> str | None:
    """Give what identifies the user's code: '' where there is none, None where nothing does."""
    folder, said = environ.get("SWEEPCTL_CODE"), environ.get("SWEEPCTL_CODE_REVISION", "")
    if not folder:
        return None if environ.get("SWEEPCTL_PYTHONPATH") else ""
    if said == "git":
        head = _read(os.path.join(folder, ".git", "HEAD")).strip()
        is_commit = len(head) in (40, 64) and all(char in "0123456789abcdef" for char in head)
        return head if is_commit else None
    return said or None


def _remove_unused(shared: Path, used: Path) -> None:
    """Mark a store as used and remove long unused ones; their readers only compile again."""
    with suppress(OSError):
        used.mkdir(parents=True, exist_ok=True)
        os.utime(used)
        for store in shared.iterdir():
            if time.time() - store.stat().st_mtime > _UNUSED_LIMIT_S:
                shutil.rmtree(store, ignore_errors=True)


def _linked_from(folder: Path) -> list[Path]:
    """List where the links in a folder lead: a package of it may be a link to the user's code."""
    with suppress(OSError):
        return [_real(entry.path) for entry in os.scandir(folder) if entry.is_symlink()]
    return []


def _overlap(one: Path, other: Path) -> bool:
    return one == other or _is_below(one, other) or _is_below(other, one)


def _is_below(path: Path, folder: Path) -> bool:
    return folder in path.parents


def _real(path: str | Path) -> Path:
    return Path(os.path.realpath(path))


def _unescaped(text: str) -> str:
    for code, char in ((" ", "\\040"), ("\t", "\\011"), ("\n", "\\012"), ("\\", "\\134")):
        text = text.replace(char, code)
    return text


def _read(path: str) -> str:
    with suppress(OSError, UnicodeDecodeError), open(path, encoding="utf-8") as file:
        return file.read()
    return ""
