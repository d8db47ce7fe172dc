"""Where a run's checkpoints are kept beside its own folder: the run's files at W&B, or a bucket.

Both hold `N.json`, the manifest, and the files that it names; the manifest is stored last and
deleted first. Every method is one attempt, for any thread; ApiError or PlaceError when it fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from sweepctl_pod.checkpoint import (
    MANIFEST_BYTES,
    REMOTE_FOLDER,
    Manifest,
    iteration_of,
    read_manifest,
)
from sweepctl_pod.wandb.client import WandbClient
from sweepctl_pod.wandb.outputs import Place
from sweepctl_pod.wandb.run_files import (
    Look,
    RunFile,
    delete_files,
    fetch_file,
    list_folder,
    read_small,
    send_file,
)


class CheckpointPlace(Protocol):
    """A place that keeps checkpoints."""

    @property
    def name(self) -> str:
        """The place as the log names it, after `from` or `to`."""

    def numbers(self) -> list[int]:
        """List the iterations of the checkpoints that have a manifest."""

    def manifest(self, iteration: int) -> Manifest | None:
        """Read a manifest; None when it is broken, or no more there."""

    def fetch(self, manifest: Manifest, folder: Path, look: Look) -> None:
        """Bring a checkpoint's files into a folder, without the manifest."""

    def store(self, manifest: Manifest, folder: Path, look: Look) -> None:
        """Store a checkpoint that lies in a folder."""

    def tidy(self, kept: Sequence[int], broken: Sequence[int]) -> None:
        """Delete the broken, and all that is older than the newest kept one and is not kept."""


class RunFiles:
    """The files of a run at W&B or the embedded server, below `sweepctl/checkpoints/`."""

    def __init__(self, client: WandbClient, place: Place) -> None:
        self._client = client
        self._place = place

    @property
    def name(self) -> str:
        """The place as the log names it."""
        return "the run's files at W&B"

    def numbers(self) -> list[int]:
        """List the iterations of the checkpoints that have a manifest."""
        return numbers_of(list(self._files()))

    def manifest(self, iteration: int) -> Manifest | None:
        """Read a manifest; None when it is broken, or no more there."""
        file = self._files().get(f"{iteration}.json")
        return read_manifest(read_small(self._client, file, MANIFEST_BYTES)) if file else None

    def fetch(self, manifest: Manifest, folder: Path, look: Look) -> None:
        """Bring a checkpoint's files into a folder, without the manifest."""
        found = self._files()
        for name in manifest.files:
            if name in found:  # what is missing is seen when the files are checked
                fetch_file(self._client, found[name], folder / name, look)

    def store(self, manifest: Manifest, folder: Path, look: Look) -> None:
        """Store a checkpoint that lies in a folder."""
        for name in (*manifest.files, manifest.name):
            path = folder / name
            send_file(self._client, self._place, f"{REMOTE_FOLDER}/{name}", path, look)

    def tidy(self, kept: Sequence[int], broken: Sequence[int]) -> None:
        """Delete the broken, and all that is older than the newest kept one and is not kept."""
        found = self._files()
        for group in of_no_use(list(found), kept, broken):
            delete_files(self._client, [found[name] for name in group])

    def _files(self) -> Mapping[str, RunFile]:
        listed = list_folder(self._client, self._place, REMOTE_FOLDER)
        return {file.name.removeprefix(f"{REMOTE_FOLDER}/"): file for file in listed}


def numbers_of(names: Sequence[str]) -> list[int]:
    """Give the iterations of the manifests among file names."""
    stems = [name.removesuffix(".json") for name in names if name.endswith(".json")]
    return [number for stem in stems if (number := iteration_of(stem)) >= 0]


def of_no_use(names: Sequence[str], kept: Sequence[int], broken: Sequence[int]) -> list[list[str]]:
    """Give the files that nobody will ask for in the order to delete them: first the manifests.

    Those without a manifest are among them: parts of an upload that was ended, or whose agent was.
    A newer one than the newest kept is another agent's, unless it is known to be broken.
    """
    newest = max(kept, default=-1)
    gone = [
        name
        for name in names
        if "/" not in name
        and (number := iteration_of(name.partition(".")[0])) >= 0
        and number not in kept
        and (number < newest or number in broken)
    ]
    manifests = [name for name in gone if name.endswith(".json")]
    return [group for group in (manifests, [n for n in gone if n not in manifests]) if group]
