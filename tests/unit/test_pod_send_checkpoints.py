"""What a run's end leaves of its checkpoints where they were sent to."""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from sweepctl_pod.checkpoint import Manifest, digest_of, write_manifest
from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.run.checkpoint_places import numbers_of, of_no_use
from sweepctl_pod.run.find_checkpoint import Search
from sweepctl_pod.run.send_checkpoints import CheckpointSender
from sweepctl_pod.waiting import WakeUp
from sweepctl_pod.wandb.run_files import Look
from tests.serving import wait_for


class Shelf:
    """A place that is a folder; what becomes of each checkpoint there is told before."""

    name = "a shelf"

    def __init__(self, folder: Path, fates: dict[int, str]) -> None:
        self.folder = folder
        self.fates = fates
        self.tried: list[int] = []
        folder.mkdir()

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())

    def numbers(self) -> list[int]:
        return numbers_of(self.names())

    def manifest(self, iteration: int) -> Manifest | None:
        raise AssertionError("who sends looks at none")

    def fetch(self, manifest: Manifest, folder: Path, look: Look) -> None:
        raise AssertionError("who sends fetches none")

    def store(self, manifest: Manifest, folder: Path, look: Look) -> None:
        fate = self.fates.get(manifest.iteration, "taken")
        for name in manifest.files:
            shutil.copy(folder / name, self.folder)
        if fate != "refused":
            shutil.copy(folder / manifest.name, self.folder)
        self.tried.append(manifest.iteration)
        if fate != "taken":
            raise SweepctlError(f"checkpoint {manifest.iteration} was {fate}")

    def tidy(self, kept: Sequence[int], broken: Sequence[int]) -> None:
        for group in of_no_use(self.names(), kept, broken):
            for name in group:
                (self.folder / name).unlink()


def put(folder: Path, iteration: int) -> None:
    """Write a checkpoint as the companion does."""
    name = f"{iteration}.pt"
    (folder / name).write_bytes(b"weights")
    write_manifest(Manifest(iteration, {name: digest_of(folder / name)}, model=name), folder)


@pytest.mark.parametrize(
    ("fates", "way", "left"),
    [
        ({}, "conclude", "3.json 3.pt 4.json 4.pt"),
        ({}, "give_up", "3.json 3.pt 4.json 4.pt"),
        ({4: "refused"}, "conclude", "2.json 2.pt 3.json 3.pt"),
        ({3: "refused", 4: "refused"}, "conclude", "1.json 1.pt 2.json 2.pt"),
        ({1: "refused", 2: "refused", 3: "refused", 4: "refused"}, "conclude", ""),
        ({2: "refused"}, "conclude", "3.json 3.pt 4.json 4.pt"),
        ({4: "without an answer"}, "conclude", "3.json 3.pt 4.json 4.pt"),
        # Whoever gives up is followed by another agent, whose checkpoint may have the same number.
        ({4: "refused"}, "give_up", "2.json 2.pt 3.json 3.pt 4.pt"),
    ],
)
def test_the_end_of_a_run_leaves_the_newest_two_whole_ones(
    fates: dict[int, str], way: str, left: str, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    shelf, wake_up = Shelf(tmp_path / "there", fates), WakeUp()
    sender = CheckpointSender(here, shelf, 2, Search(), None, wake_up)
    for number in (1, 2, 3, 4):
        put(here, number)
        sender.hurry()
        wait_for(f"checkpoint {number}", partial(shelf.tried.count, number))
    getattr(sender, way)()
    sender.wait(30)
    assert sender.is_done
    wake_up.close()
    assert shelf.names() == left.split()
