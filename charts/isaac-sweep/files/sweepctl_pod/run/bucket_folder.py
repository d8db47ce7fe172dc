"""A run's folder in a bucket (`checkpoint.uri`), reached by the trainer's Python.

The agent knows no bucket: fsspec does, in the trainer's Python, with the user's own credentials. A
call is one child process, which ends when its time is over or nobody waits for it any more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from sweepctl_pod.checkpoint import Manifest, read_manifest
from sweepctl_pod.checkpoint_uri import address_trouble, packages_for, shown_uri
from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.run.checkpoint_places import numbers_of, of_no_use
from sweepctl_pod.trainer.bucket import Bucket, NoPythonError
from sweepctl_pod.wandb.connection import url_path
from sweepctl_pod.wandb.outputs import Place
from sweepctl_pod.wandb.run_files import BLOCK_BYTES, Look, whole_or_none


def uri_trouble(bucket: Bucket, uri: str) -> SweepctlError | None:
    """Say why checkpoints cannot be kept at an address; None when they can."""
    shown = shown_uri(uri)
    if wrong := address_trouble(uri):
        return SweepctlError(f"checkpoint.uri {shown}: {wrong.message}", wrong.hint)
    try:
        missing = bucket.missing_for(uri)
    except NoPythonError as error:
        return SweepctlError(f"checkpoint.uri {shown}: {error.message}", error.hint)
    if missing is None:
        return None
    return SweepctlError(
        f"checkpoint.uri {shown}: the trainer's Python lacks {missing}",
        f"install it in the trainer's image: pip install {packages_for(uri)}",
    )


class BucketFolder:
    """A place that keeps checkpoints (CheckpointPlace)."""

    def __init__(self, bucket: Bucket, uri: str, place: Place) -> None:
        self._bucket = bucket
        self._uri = f"{uri.rstrip('/')}/{url_path(*place)}"
        self._name = shown_uri(uri)

    @property
    def name(self) -> str:
        """The place as the log names it."""
        return self._name

    def numbers(self) -> list[int]:
        """List the iterations of the checkpoints that have a manifest."""
        return numbers_of(self._names())

    def manifest(self, iteration: int) -> Manifest | None:
        """Read a manifest; None when it is broken, or no more there."""
        return read_manifest(str(self._bucket.ask("read", self._at(f"{iteration}.json"))))

    def fetch(self, manifest: Manifest, folder: Path, look: Look) -> None:
        """Bring a checkpoint's files into a folder, without the manifest."""
        folder.mkdir(parents=True, exist_ok=True)
        found = self._names()
        for name in manifest.files:
            if name in found:  # what is missing is seen when the files are checked
                with whole_or_none(folder / name) as part:
                    self._bucket.ask("get", self._at(name), str(part), look=look)
                    look(0)

    def store(self, manifest: Manifest, folder: Path, look: Look) -> None:
        """Store a checkpoint that lies in a folder."""
        names = (*manifest.files, manifest.name)
        with ExitStack() as stack:
            files = [stack.enter_context((folder / name).open("rb")) for name in names]
            sizes = [os.fstat(file.fileno()).st_size for file in files]
            words = [
                word
                for name, size in zip(names, sizes, strict=True)
                for word in (self._at(name), str(size))
            ]
            content = (block for pair in zip(files, sizes, strict=True) for block in _blocks(*pair))
            self._bucket.ask("put", *words, look=look, content=content)

    def tidy(self, kept: Sequence[int], broken: Sequence[int]) -> None:
        """Delete the broken, and all that is older than the newest kept one and is not kept."""
        groups = of_no_use(self._names(), kept, broken)
        if gone := [name for group in groups for name in group]:
            self._bucket.ask("drop", *map(self._at, gone))

    def _names(self) -> list[str]:
        found = self._bucket.ask("list", self._uri)
        return [str(name) for name in found] if isinstance(found, list) else []

    def _at(self, name: str) -> str:
        return f"{self._uri}/{name}"


def _blocks(file: BinaryIO, size_bytes: int) -> Iterator[bytes]:
    """Give a file's content as far as it reached when its size was asked."""
    while size_bytes > 0 and (block := file.read(min(BLOCK_BYTES, size_bytes))):
        size_bytes -= len(block)
        yield block
