"""Which checkpoint a run goes on from: the newest good one of all the places that may have some.

Its own folder comes first, which a volume may have kept; then the run's files at W&B, and a bucket.
What is elsewhere is brought into the folder and checked there, and where that fails the one before
is taken. The whole work has one limit of time and may be ended at any moment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from sweepctl_pod.checkpoint import (
    Found,
    Manifest,
    local_manifests,
    newest_good,
    trouble_with,
    write_manifest,
)
from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.run.checkpoint_places import CheckpointPlace
from sweepctl_pod.waiting import GivenUpError, Limit

T = TypeVar("T")

FIND_LIMIT_S = 600.0
"""How long the search may take: a run that begins anew after an hour's wait has lost less."""
_TRIES = 4
_AGAIN_S = (1.0, 4.0, 15.0)
_HERE = "the run's folder"


@dataclass(slots=True)
class Search:
    """What came of a search."""

    found: Found | None = None
    source: str = ""
    """Where it was found, as the log names it."""
    passed_over: list[str] = field(default_factory=list)
    """What was wrong with each newer one, and with each place that gave no answer."""
    broken: list[int] = field(default_factory=list)
    """The newer ones that are not good anywhere: nobody needs them."""
    kept: dict[str, list[int]] = field(default_factory=dict)
    """By the name of a place, the iterations of its good checkpoints, as far as they are known."""

    @property
    def text(self) -> str:
        """Say from where the run goes on."""
        if self.found is None:
            return "there is no checkpoint to go on from: it begins anew"
        manifest = self.found.manifest
        return f"goes on from checkpoint {manifest.iteration}, from {self.source}"


def find_checkpoint(
    folder: Path, places: Sequence[CheckpointPlace], limit: Limit, search: Search
) -> None:
    """Find the newest good checkpoint; `search` tells what has come of it at any time."""
    here = local_manifests(folder)
    there: dict[int, list[CheckpointPlace]] = {}
    for place in places:
        try:
            for number in _tried(place.numbers, limit):
                there.setdefault(number, []).append(place)
        except SweepctlError as error:
            search.passed_over.append(f"{place.name}: {error.message}")
    for number in sorted({*here, *there}, reverse=True):
        limit.look()
        troubles: list[str] = []
        is_broken = True
        if number in here:
            manifest = here[number]
            trouble = _trouble(manifest, number, folder)
            if manifest is not None and trouble is None:
                search.found, search.source = Found(manifest, folder), _HERE
                break
            troubles.append(f"{trouble} in {_HERE}")
        for place in there.get(number, ()):
            try:
                manifest = _fetched(place, number, folder, limit)
                search.found, search.source = Found(manifest, folder), place.name
                break
            except GivenUpError:
                raise
            except BrokenCheckpointError as error:
                troubles.append(f"{error.message} in {place.name}")
            except (SweepctlError, OSError) as error:
                is_broken = False  # nobody knows
                troubles.append(f"{error} in {place.name}")
        if search.found is not None:
            break
        search.passed_over.append(f"checkpoint {number}: {'; '.join(troubles)}")
        if is_broken:
            search.broken.append(number)
    best = search.found.manifest.iteration if search.found else -1
    for place in places:
        search.kept[place.name] = [n for n, who in there.items() if place in who and n <= best]


class BrokenCheckpointError(SweepctlError):
    """A checkpoint that is not what its manifest says: another try changes nothing."""


def _fetched(place: CheckpointPlace, number: int, folder: Path, limit: Limit) -> Manifest:
    """Bring a checkpoint into the folder, its manifest last, as the companion writes them."""
    manifest = _tried(lambda: place.manifest(number), limit)
    if manifest is None or manifest.iteration != number:
        raise BrokenCheckpointError("its manifest is broken")
    with suppress(OSError):
        (folder / manifest.name).unlink()  # the files beside it are about to change
    _tried(lambda: place.fetch(manifest, folder, lambda size: limit.look()), limit)
    if trouble := trouble_with(manifest, folder):
        raise BrokenCheckpointError(trouble)
    limit.look()
    write_manifest(manifest, folder)
    return manifest


def drop_here(folder: Path, iterations: Sequence[int]) -> None:
    """Delete checkpoints of the run's folder, the manifest of each first."""
    for iteration in iterations:
        paths = sorted(folder.glob(f"{iteration}.*"), key=lambda path: path.suffix != ".json")
        for path in paths:
            with suppress(OSError):
                path.unlink()


def only_here(folder: Path) -> Search:
    """Give what the run's folder alone has."""
    found = newest_good(folder)
    return Search(found, _HERE, list(found.passed_over) if found else [])


def _trouble(manifest: Manifest | None, number: int, folder: Path) -> str | None:
    if manifest is None or manifest.iteration != number:
        return "its manifest is broken"
    return trouble_with(manifest, folder)


def _tried(work: Callable[[], T], limit: Limit) -> T:
    """Try a few times; the last error is raised."""
    for again_s in (*_AGAIN_S[: _TRIES - 1], None):
        limit.look()
        try:
            return work()
        except GivenUpError:
            raise
        except SweepctlError:
            if again_s is None:
                raise
            limit.rest(again_s)
    raise AssertionError("the last try returns or raises")
