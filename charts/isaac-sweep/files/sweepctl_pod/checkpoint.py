"""A checkpoint of a run on disk: its files, and the manifest that says whether they are good.

Pure but for the functions that read and write a folder. A run's checkpoints lie in
`WORK/RUN/.sweepctl/checkpoints/`, and under `sweepctl/checkpoints/` of the run's files at W&B. The
manifest `ITERATION.json` is written last, and at once (by a rename): what has none, or files of
another size or SHA-256 than it says, was being written when its node died. The companion writes
them in the trainer's process; the agent reads, uploads and fetches them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

OWN_FOLDER = ".sweepctl"
"""The folder within a run's folder in which all is ours: only there is anything ever deleted."""
CHECKPOINTS = "checkpoints"
REMOTE_FOLDER = f"sweepctl/{CHECKPOINTS}"
"""Where they are among the files of the run at W&B."""
PROGRESS_FILE = "progress.json"
"""What the companion tells the agent, beside the folder of the checkpoints."""

_BLOCK_BYTES = 1 << 20
MANIFEST_BYTES = 1 << 20
"""No manifest is larger, and no word of the companion."""
_NAME_BYTES = 240
"""What any disk takes for a name, with what is added to it while the file is fetched."""
_MOST_DIGITS = 18
"""No iteration has more; Python refuses to read a number of thousands of them."""
_UNREADABLE = (
    *(ValueError, TypeError, KeyError, AttributeError),
    *(OverflowError, RecursionError),
)
"""What a text raises that is none of ours: also 1e999 for a number, or brackets without end."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training has come, as the companion says in its process. Iterations are from 0."""

    iteration: int
    """The last one that it completed; one less than `first` before there is one."""
    first: int
    """The first one of this attempt."""
    of: int | None = None
    iteration_s: float = 0.0
    at: float = 0.0
    """When this was written, in seconds since 1970."""
    pid: int = 0
    library: str = ""
    is_listening: bool = False
    """Whether SIGTERM makes it save and leave with a code that is not 0."""
    note: str | None = None
    first_at: float | None = None
    """When the first iteration of this attempt was complete, by the machine's steady clock."""

    @property
    def has_trained(self) -> bool:
        """Whether this attempt has completed an iteration."""
        return self.iteration >= self.first


@dataclass(frozen=True, slots=True)
class FileDigest:
    """What a file of a checkpoint must be to be good."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """One checkpoint: all that was trained up to and with `iteration`, counted from 0."""

    iteration: int
    files: Mapping[str, FileDigest]
    """By name, within the folder of the manifest: the trainer's own file is `model`."""
    model: str
    """The name of the file that the trainer itself can load."""
    state: str | None = None
    """The name of the file with what the trainer does not save: random states, counters."""
    of: int | None = None
    """The number of iterations of the whole training, where that is known."""
    library: str = ""
    attempt: int = 1
    written_at: float = 0.0
    """Seconds since 1970."""

    @property
    def name(self) -> str:
        """The manifest's own file name."""
        return f"{self.iteration}.json"

    def text(self) -> str:
        """Write the manifest."""
        form = {
            "iteration": self.iteration,
            "of": self.of,
            "library": self.library,
            "attempt": self.attempt,
            "written_at": self.written_at,
            "model": self.model,
            "state": self.state,
            "files": {
                name: {"size_bytes": digest.size_bytes, "sha256": digest.sha256}
                for name, digest in self.files.items()
            },
        }
        return json.dumps(form, indent=2) + "\n"


@dataclass(frozen=True, slots=True)
class Found:
    """A good checkpoint, and what was wrong with each newer one."""

    manifest: Manifest
    folder: Path
    passed_over: tuple[str, ...] = field(default=())

    @property
    def model(self) -> Path:
        """The file that the trainer itself can load."""
        return self.folder / self.manifest.model


def read_manifest(text: str) -> Manifest | None:
    """Read a manifest; None when it is none, or one that was not written to its end."""
    try:
        form = json.loads(text)
        files = {
            _file_name(name): FileDigest(int(entry["size_bytes"]), str(entry["sha256"]))
            for name, entry in form["files"].items()
        }
        model, state, of = form["model"], form.get("state"), form.get("of")
        if model not in files or (state is not None and state not in files):
            return None
        return Manifest(
            iteration=int(form["iteration"]),
            files=files,
            model=str(model),
            state=None if state is None else str(state),
            of=None if of is None else int(of),
            library=str(form.get("library") or ""),
            attempt=int(form.get("attempt") or 1),
            written_at=float(form.get("written_at") or 0.0),
        )
    except _UNREADABLE:
        return None


def read_progress(text: str) -> Progress | None:
    """Read what the companion says of its training; None when it is none of its words."""
    try:
        form = json.loads(text)
        iteration, of, note = int(form["iteration"]), form.get("of"), form.get("note")
        first_at = form.get("first_at")
        return Progress(
            iteration=iteration,
            first=int(form.get("first") or 0),
            of=None if of is None else int(of),
            iteration_s=float(form.get("iteration_s") or 0.0),
            at=float(form.get("at") or 0.0),
            pid=int(form.get("pid") or 0),
            library=str(form.get("library") or ""),
            is_listening=form.get("is_listening") is True,
            note=None if note is None else str(note),
            first_at=None if first_at is None else float(first_at),
        )
    except _UNREADABLE:
        return None


def write_whole(file: Path, text: str) -> None:
    """Write a file so that a reader finds all of it or the one before."""
    part = file.with_name(f"{file.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(file)
    except OSError:
        with suppress(OSError):  # on a full disk even half of one is in the way
            part.unlink()
        raise


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write the manifest of a checkpoint whose files are in the folder."""
    write_whole(folder / manifest.name, manifest.text())


def digest_of(path: Path) -> FileDigest:
    """Give size and SHA-256 of a file."""
    summed, size_bytes = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            summed.update(block)
            size_bytes += len(block)
    return FileDigest(size_bytes, summed.hexdigest())


def trouble_with(manifest: Manifest, folder: Path) -> str | None:
    """Say what is wrong with a checkpoint's files; None when they are good."""
    for name, digest in manifest.files.items():
        try:
            found = digest_of(folder / name)
        except OSError as error:
            return f"{name}: {(error.strerror or str(error)).lower()}"
        if found.size_bytes != digest.size_bytes:
            return f"{name} has {found.size_bytes} bytes of {digest.size_bytes}"
        if found != digest:
            return f"{name} has another SHA-256 than its manifest says"
    return None


def newest_good(folder: Path) -> Found | None:
    """Give the newest checkpoint of a folder whose files are good; None when there is none."""
    passed_over: list[str] = []
    for path, manifest in sorted(_manifests(folder), key=lambda pair: -_number(pair[0])):
        trouble = "its manifest is broken" if manifest is None else trouble_with(manifest, folder)
        if manifest is not None and trouble is None:
            return Found(manifest, folder, tuple(passed_over))
        passed_over.append(f"checkpoint {path.stem}: {trouble}")
    return None


def local_manifests(folder: Path) -> dict[int, Manifest | None]:
    """Give the manifests of a folder by their iterations; None for one that is broken."""
    return {_number(path): manifest for path, manifest in _manifests(folder)}


def _manifests(folder: Path) -> Iterator[tuple[Path, Manifest | None]]:
    try:
        paths = [path for path in folder.iterdir() if path.suffix == ".json" and _number(path) >= 0]
    except OSError:
        return
    for path in paths:
        try:
            with path.open("rb") as file:
                yield path, read_manifest(file.read(MANIFEST_BYTES).decode("utf-8"))
        except (OSError, UnicodeDecodeError):
            yield path, None


def iteration_of(stem: str) -> int:
    """Read the iteration that a manifest's name begins with; -1 where it is another file's."""
    is_one = stem.isascii() and stem.isdigit() and len(stem) <= _MOST_DIGITS
    return int(stem) if is_one else -1


def _number(path: Path) -> int:
    return iteration_of(path.stem)


def _file_name(name: object) -> str:
    """Read the name of a file; ValueError for one that leads out of its folder, that no disk
    takes, or that a manifest has.
    """
    text = str(name)
    if not text or text in (".", "..") or "/" in text or "\\" in text or "\0" in text:
        raise ValueError(f"{text!r} is no file name")
    if len(text.encode()) > _NAME_BYTES or text.endswith((".json", ".part")):
        raise ValueError(f"{text!r} is no name of a checkpoint's file")
    return text
