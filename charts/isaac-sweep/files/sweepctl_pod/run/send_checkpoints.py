"""Sends a run's new checkpoints to where its next agent finds them, beside the training.

The newest first, never two at once, and what was overtaken is left out. While it trains, the upload
leaves the network to others; when the agent leaves, it takes what it can get.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from sweepctl_pod.checkpoint import Manifest, local_manifests
from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.run.checkpoint_places import CheckpointPlace
from sweepctl_pod.run.find_checkpoint import Search
from sweepctl_pod.run.kept_files import KeptFiles
from sweepctl_pod.waiting import WakeUp

CALM_BYTES_S = 16 << 20
"""How much of the network a calm upload takes in a second: others use it too."""
LOOK_EVERY_S = 1.0
HURRIED_LOOK_EVERY_S = 0.1
HURRIED_AGAIN_AFTER_S = 0.5
AGAIN_AFTER_S = (5.0, 15.0, 60.0, 300.0)
"""Waits after an upload that failed; a newer checkpoint, or the order to leave, waits no longer."""


class OvertakenError(SweepctlError):
    """An upload that was ended: there is a newer checkpoint, or nobody needs any."""


class CheckpointSender:
    """Watches the folder of one run's checkpoints; its methods are for the main thread."""

    def __init__(
        self,
        folder: Path,
        place: CheckpointPlace,
        keep: int,
        search: Search,
        kept_files: KeptFiles | None,
        wake_up: WakeUp,
    ) -> None:
        """Begin to watch. `search` says what is at the place, and what is of no use there."""
        self._folder = folder
        self._place = place
        self._keep = keep
        self._broken = list(search.broken)
        self._there = sorted(search.kept.get(place.name, []))
        self._partial: set[int] = set()  # those that were begun, and did not get there whole
        # What was found is the past of this attempt; an older one will never be asked for.
        begun_at = search.found.manifest.iteration if search.found else -1
        self._newest_there = begun_at if begun_at in self._there else begun_at - 1
        self._kept_files = kept_files
        self._wake_up = wake_up
        self._change = threading.Condition()
        self._is_hurried = self._is_last = self._is_over = self._is_tidied = False
        self._trouble: tuple[int, str] | None = None
        self._failures, self._failed_at = 0, 0.0
        self._sent: list[int] = []
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def hurry(self) -> None:
        """Send at full speed from now on: this agent leaves."""
        with self._change:
            self._is_hurried = True
            self._change.notify()

    def end(self, *, sends_last: bool, was_killed: bool = False) -> None:
        """The trainer has ended: send what it has left, if that is of use, and then nothing more.

        `was_killed`: it may have died while it wrote.
        """
        with self._change:
            self._is_last, self._is_hurried = True, True
            self._is_over = not sends_last
            if self._kept_files is not None and sends_last:
                self._kept_files.writer_has_ended(was_killed=was_killed)
            self._change.notify()

    def give_up(self) -> None:
        """Send nothing more."""
        self.end(sends_last=False)

    def conclude(self) -> None:
        """Send nothing more, as the run has ended; what is of no use there is taken away."""
        self._is_tidied = True
        self.give_up()

    @property
    def place(self) -> str:
        """Where it sends them."""
        return self._place.name

    def wait(self, limit_s: float) -> None:
        """Wait until it is done, at most so long."""
        self._thread.join(limit_s)

    @property
    def is_done(self) -> bool:
        """Whether nothing will be sent any more."""
        return not self._thread.is_alive()

    @property
    def sent(self) -> list[int]:
        """The checkpoints that this attempt has sent, in their order."""
        return list(self._sent)

    @property
    def trouble(self) -> str | None:
        """What is wrong with the newest checkpoint that could not be kept, or not be sent."""
        if self._kept_files is not None and self._kept_files.trouble:
            return self._kept_files.trouble
        return self._trouble and f"checkpoint {self._trouble[0]} is not there: {self._trouble[1]}"

    def _work(self) -> None:
        while not self._is_over:
            with self._change:  # before the look, so that it sees what was left
                is_last = self._is_last
            self._look()
            manifest = self._next()
            if manifest is None and is_last:
                break
            if manifest is not None and self._is_due(manifest) and self._try(manifest):
                continue
            with self._change:
                every_s = HURRIED_LOOK_EVERY_S if self._is_hurried else LOOK_EVERY_S
                if not self._is_over and self._is_last == is_last:
                    self._change.wait(every_s)
        if self._is_tidied and (self._partial or len(self._there) > self._keep):
            with suppress(SweepctlError, OSError):
                # One may be whole: its answer was lost, or another agent has stored its own.
                whole = self._partial.intersection(self._place.numbers())
                self._there = sorted({*self._there, *whole})
                self._tidy(sorted(self._partial - whole))
        with suppress(OSError):
            self._wake_up.set()

    def _look(self) -> None:
        """Keep what a trainer without the companion has left."""
        if self._kept_files is None:
            return
        before = self._kept_files.trouble
        try:
            self._kept_files.look()
        except Exception as error:  # no error may end the thread: later ones may get through
            self._kept_files.trouble = f"its files are not kept: {error!r}"
        if self._kept_files.trouble != before:
            self._wake_up.set()

    def _is_due(self, manifest: Manifest) -> bool:
        """Say whether to try now: a newer checkpoint does not wait as one that failed does."""
        if self._trouble is None or manifest.iteration > self._trouble[0]:
            return True
        calm_s = AGAIN_AFTER_S[min(self._failures, len(AGAIN_AFTER_S)) - 1]
        wait_s = HURRIED_AGAIN_AFTER_S if self._is_hurried else calm_s
        return time.monotonic() >= self._failed_at + wait_s

    def _try(self, manifest: Manifest) -> bool:
        """Send a checkpoint; give False when that failed."""
        try:
            self._send(manifest)
        except OvertakenError:
            return True
        except (SweepctlError, OSError) as error:
            reason = error.message if isinstance(error, SweepctlError) else str(error)
        except Exception as error:  # no error may end the thread: later ones may get through
            reason = repr(error)
        else:
            return True
        self._failures, self._failed_at = self._failures + 1, time.monotonic()
        self._trouble = (manifest.iteration, reason)
        self._wake_up.set()
        return False

    def _next(self) -> Manifest | None:
        """Give the newest checkpoint that is not at the place yet."""
        found = local_manifests(self._folder)
        newer = [m for n, m in found.items() if m is not None and n > self._newest_there]
        return max(newer, key=lambda manifest: manifest.iteration, default=None)

    def _send(self, manifest: Manifest) -> None:
        self._partial.add(manifest.iteration)
        self._place.store(manifest, self._folder, self._pace(manifest.iteration))
        self._newest_there = manifest.iteration
        # In this order: who sees that another one is sent sees no trouble of the one before.
        self._failures, self._trouble = 0, None
        self._sent.append(manifest.iteration)
        self._there = sorted({*self._there, manifest.iteration})
        self._tidy(self._broken)

    def _tidy(self, of_no_use: Sequence[int]) -> None:
        """Keep the newest at the place; of no use may be newer ones than all that are there."""
        kept = self._there[-self._keep :]
        with suppress(SweepctlError, OSError):  # what is left takes room, and harms nobody
            self._place.tidy(kept, of_no_use)
            self._there, self._broken, self._partial = kept, [], set()

    def _pace(self, iteration: int) -> Callable[[int], None]:
        """Give what an upload calls at each block: it keeps the pace, and ends the overtaken."""
        began, sent_bytes = time.monotonic(), 0

        def look(size_bytes: int) -> None:
            nonlocal sent_bytes
            sent_bytes += size_bytes
            with self._change:
                if not self._is_hurried:
                    ahead_s = sent_bytes / CALM_BYTES_S - (time.monotonic() - began)
                    if ahead_s > 0:
                        self._change.wait(ahead_s)
            if self._is_over:
                raise OvertakenError("nobody needs it any more")
            if self._is_hurried:
                newest = self._next()
                if newest is not None and newest.iteration > iteration:
                    raise OvertakenError("there is a newer one")

        return look
