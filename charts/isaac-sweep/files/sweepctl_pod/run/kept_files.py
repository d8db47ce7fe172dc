"""The files that a trainer of any kind leaves to go on from, kept as checkpoints of its run.

The user names them by a pattern. Each is copied as soon as it is whole, numbered in the order of
their coming: a trainer that writes into the same file again spoils a link to it.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from string import Template

from sweepctl_pod.checkpoint import Manifest, digest_of, local_manifests, write_manifest
from sweepctl_pod.run.find_checkpoint import drop_here
from sweepctl_pod.run.open_files import held_for_writing

_Stat = tuple[int, int, int]
_ZIP = b"PK\x03\x04"
_BLOCK_BYTES = 1 << 20
_AGAIN_AFTER_S = 30.0
"""After a disk that was full: to fill it every second harms the trainer, which needs it too."""
_MOST_HELD_LOOKS = 30
"""How often a file that is open and does not change is passed over."""
_PLAIN_SUFFIX = re.compile(r"\.[A-Za-z0-9_-]{1,32}")


class KeptFiles:
    """Watches the files of one pattern during one attempt; for one thread at a time."""

    def __init__(
        self, pattern: str, run_id: str, working: Path, folder: Path, keep: int, attempt: int
    ) -> None:
        """Take note of what is there before the trainer starts: that is not this attempt's.

        `working` is the trainer's working folder, `folder` that of the run's checkpoints.
        """
        text = Template(pattern).safe_substitute(WANDB_RUN_ID=glob.escape(run_id))
        self._pattern = os.path.join(glob.escape(str(working)), text)
        self._folder = folder
        self._keep = keep
        self._attempt = attempt
        self._known = dict(self._files())
        self._seen: dict[str, _Stat] = {}
        """What nobody wrote into when it was last looked at."""
        self._held: dict[str, tuple[_Stat, int]] = {}
        """What somebody has open to write into, and at how many looks it was the same."""
        self._zips: set[str] = set()
        """Those that were a ZIP once: what is none is the beginning of the next."""
        self._has_ended = self._was_killed = False
        self._again_at = 0.0
        self.trouble: str | None = None
        """Why the newest file that was whole could not be kept; None when it was."""

    def writer_has_ended(self, *, was_killed: bool) -> None:
        """Nothing is written any more. What a killed trainer wrote last may be half a file."""
        self._has_ended, self._was_killed = True, was_killed
        self._again_at = 0.0

    def look(self) -> None:
        """Keep the newest file that has changed and is whole: a ZIP that has its end, or one that
        has not changed since the last look, and that nobody has open to write into.
        """
        has_ended, was_killed = self._has_ended, self._was_killed
        changed = {path: stat for path, stat in self._files() if stat != self._known.get(path)}
        zips = {path for path in changed if _is_zip(path, whole=True)}
        # To find who writes takes a while, in which a trainer that always saves has saved again.
        held = self._held_now({path: changed[path] for path in changed if path not in zips})
        changed.update((path, stat) for path in zips if (stat := _stat(path)) is not None)
        whole = [
            path
            for path, stat in changed.items()
            if (path not in held and self._seen.get(path) == stat)
            or (has_ended and not was_killed)
            or path in zips
        ]
        if not was_killed:  # what no more changes then may be half a file all the same
            self._seen = {path: stat for path, stat in changed.items() if path not in held}
        if time.monotonic() < self._again_at:
            return
        for path in sorted(whole, key=lambda path: changed[path][0], reverse=True):
            try:
                is_kept = self._keep_file(path, changed[path])
            except OSError as error:  # of the run's folder: the next try may find room
                name = " ".join(path.encode("utf-8", "replace").decode().split())
                self.trouble = f"{name} is not kept: {(error.strerror or str(error)).lower()}"
                self._again_at = time.monotonic() + _AGAIN_AFTER_S
                break
            if is_kept:
                self.trouble = None
                # The older ones were overtaken.
                self._known.update({each: changed[each] for each in whole})
                break
            self._known[path] = changed[path]

    def _held_now(self, changed: Mapping[str, _Stat]) -> frozenset[str]:
        """Give what somebody still writes. What stays open for ever, as a log, and does not change
        for long is no more waited for.
        """
        looks = {}
        for path in held_for_writing(changed.keys()):
            stat, count = self._held.get(path, (None, 0))
            looks[path] = (changed[path], count + 1 if stat == changed[path] else 1)
        self._held = looks
        return frozenset(path for path, (_, count) in looks.items() if count <= _MOST_HELD_LOOKS)

    def _keep_file(self, path: str, stat: _Stat) -> bool:
        """Copy a file and write its manifest; say whether it was whole.

        OSError when the run's folder does not take it; then nothing of it is there.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        numbers = local_manifests(self._folder)
        number = max(numbers, default=-1) + 1
        name = f"{number}{_suffix(path)}"
        part = self._folder / f".{name}.part"
        try:
            if not _copied(path, part):
                return False
            is_zip = _is_zip(str(part), whole=True)
            is_cut = _is_zip(str(part), whole=False) or (path in self._zips and not is_zip)
            if _stat(path) != stat or is_cut or not stat[1]:
                return False  # it was written to meanwhile, or never to its end
            if is_zip:
                self._zips.add(path)
            os.replace(part, self._folder / name)
            manifest = Manifest(
                iteration=number,
                files={name: digest_of(self._folder / name)},
                model=name,
                attempt=self._attempt,
                written_at=time.time(),
            )
            write_manifest(manifest, self._folder)
        except OSError:
            drop_here(self._folder, [number])
            raise
        finally:
            with suppress(OSError):
                part.unlink()
        drop_here(self._folder, sorted([*numbers, number])[: -self._keep])
        return True

    def _files(self) -> Iterator[tuple[str, _Stat]]:
        for path in glob.glob(self._pattern, recursive=True):
            stat = _stat(path)
            if stat is not None and os.path.isfile(path):
                yield path, stat


def _copied(path: str, part: Path) -> bool:
    """Copy a file; False when the trainer has removed it."""
    try:
        with open(path, "rb") as source, part.open("wb") as target:
            shutil.copyfileobj(source, target, _BLOCK_BYTES)
    except FileNotFoundError:
        return False
    return True


def _stat(path: str) -> _Stat | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _suffix(path: str) -> str:
    """Give a suffix for the copy: the plain one of a file, where it stands for no part of ours."""
    suffix = Path(path).suffix
    is_plain = _PLAIN_SUFFIX.fullmatch(suffix) is not None
    return suffix if is_plain and suffix not in (".json", ".state", ".part") else ".checkpoint"


def _is_zip(path: str, *, whole: bool) -> bool:
    """Say whether a file is a ZIP, as torch's and numpy's are, with its end or without.

    Its end lists all that is in it, and is written last.
    """
    try:
        with open(path, "rb") as file:
            return file.read(len(_ZIP)) == _ZIP and zipfile.is_zipfile(path) is whole
    except OSError:
        return False
