"""The checkpoints of one run while this agent has it: found before a try, sent beside it.

All of it happens in threads of their own; the main thread waits no longer than it says, and ends
its wait for a signal. The run goes on whatever goes wrong here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from sweepctl_pod import log_lines
from sweepctl_pod.checkpoint import local_manifests
from sweepctl_pod.run.bucket_folder import BucketFolder
from sweepctl_pod.run.checkpoint_places import CheckpointPlace, RunFiles
from sweepctl_pod.run.checkpoints import checkpoints_folder
from sweepctl_pod.run.find_checkpoint import (
    FIND_LIMIT_S,
    Search,
    drop_here,
    find_checkpoint,
    only_here,
)
from sweepctl_pod.run.kept_files import KeptFiles
from sweepctl_pod.run.send_checkpoints import CheckpointSender
from sweepctl_pod.run.training import TrainerEnd, Training
from sweepctl_pod.run.verdict import KILLED_FROM_OUTSIDE, Intervention
from sweepctl_pod.waiting import (
    BackgroundCall,
    GivenUpError,
    InterruptedBySignalError,
    Limit,
    Retrying,
)
from sweepctl_pod.wandb.client import WandbClient

LAST_LIMIT_S = 120.0
"""How long the checkpoint of a lost training may take on its way, where nobody has to leave."""
TIDY_LIMIT_S = 5.0
"""How long a run that has ended waits until what nobody will ask for is taken away."""

_LOOK_EVERY_S = 0.1


class CheckpointKeeper:
    """Finds, keeps and sends the checkpoints of one run; its methods are for the main thread."""

    def __init__(self, client: WandbClient, training: Training, attempts: int) -> None:
        """`attempts` counts those that this agent knows of, this one as well."""
        self._training = training
        self._run = training.run
        self._attempt = self._run.attempt or attempts
        self._rule = training.pod.checkpoints
        self._folder = checkpoints_folder(training.folder)
        sweep = training.sweep
        place = (sweep.entity, sweep.project, self._run.id)
        self._places: list[CheckpointPlace] = [RunFiles(client, place)]
        if self._rule.uri:
            own = training.pod.descendants.own
            bucket = training.pod.python.bucket(training.resolved.argv, own)
            self._places.append(BucketFolder(bucket, self._rule.uri, place))
        self._search = Search()
        self._sender: CheckpointSender | None = None
        self._kept_files: KeptFiles | None = None
        self._told = ("", 0)

    def go_on(self, retrying: Retrying) -> None:
        """Have the training go on from its newest good checkpoint, if there is one.

        InterruptedBySignalError when this agent is told to leave meanwhile.
        """
        if self._may_have_some():
            self._search = self._searched(retrying)
            for trouble in self._search.passed_over:
                self._note(f"passed over {trouble}")
            self._note(self._search.text)
        retrying.run(self._prepare)
        self._training.go_on_from(self._search.found, self._attempt)

    def begin(self) -> None:
        """The trainer has started: watch what it leaves."""
        self._sender = CheckpointSender(
            self._folder,
            self._places[-1],
            self._rule.keep,
            self._search,
            self._kept_files,
            self._training.pod.wake_up,
        )

    def tell(self) -> None:
        """Say what is wrong with the sending, when that is new: not of each checkpoint again."""
        if self._sender is None:
            return
        sent = len(self._sender.sent)  # before the trouble, which ends with it
        trouble = self._sender.trouble
        told = (re.sub(r"\d+", "N", trouble or ""), sent)
        if trouble and told != self._told:
            self._told = told
            self._note(trouble)

    def hurry(self) -> None:
        """This agent leaves: what the trainer saves now is wanted at once."""
        if self._sender is not None:
            self._sender.hurry()

    def finish(self, end: TrainerEnd, is_late: Callable[[], bool]) -> None:
        """Wait until the last checkpoint is where the next agent finds it, unless it is late."""
        sender, self._sender = self._sender, None
        if sender is None:
            return
        if end.intervention is Intervention.LOST:  # what is there is another agent's
            sender.give_up()
            return
        code = end.exit_code
        is_wanted = end.intervention is Intervention.LEAVING or (
            end.intervention is Intervention.NONE and code != 0
        )
        if not is_wanted or self._training.evidence.proves_end():
            sender.conclude()
            _wait(sender, TIDY_LIMIT_S, is_late)
            return
        sender.end(
            sends_last=True, was_killed=code is None or code < 0 or code in KILLED_FROM_OUTSIDE
        )
        _wait(sender, LAST_LIMIT_S, is_late)
        sender.give_up()
        if trouble := sender.trouble:
            self._note(trouble)
        elif not sender.is_done:
            self._note(f"its last checkpoint is not there: the time for {sender.place} was over")
        elif sender.sent:
            self._note(f"checkpoint {sender.sent[-1]} is in {sender.place}")

    @property
    def resumed_from(self) -> int | None:
        """The number of the checkpoint that the trainer goes on from; None where it begins anew."""
        return self._search.found.manifest.iteration if self._search.found else None

    @property
    def has_saved(self) -> bool:
        """Whether there is a checkpoint that is newer than the one that this attempt began with."""
        found = self._search.found
        begun_at = found.manifest.iteration if found else -1
        numbers = [n for n, manifest in local_manifests(self._folder).items() if manifest]
        return max(numbers, default=-1) > begun_at

    def _may_have_some(self) -> bool:
        """Say whether the run was begun before; without an agent of ours nobody can know."""
        run = self._run
        was_begun = run.was_begun or self._attempt > 1 or bool(run.losses)
        return was_begun or not self._training.host or bool(local_manifests(self._folder))

    def _searched(self, retrying: Retrying) -> Search:
        limit, search = Limit(FIND_LIMIT_S), Search()
        call = BackgroundCall(
            lambda: find_checkpoint(self._folder, self._places, limit, search),
            self._training.pod.wake_up,
        )
        try:
            is_done = retrying.wait(call, FIND_LIMIT_S)
        except InterruptedBySignalError:
            limit.end()
            raise
        limit.end()
        trouble = f"what is elsewhere: it was not found within {FIND_LIMIT_S:.0f} s"
        if is_done:
            try:
                call.result()
            except GivenUpError:
                pass
            except Exception as error:  # a run without its checkpoint is better than no run
                trouble = f"what is elsewhere: {error or type(error).__name__}"
            else:
                return search
        here = only_here(self._folder)
        here.passed_over = [*search.passed_over, trouble]
        return here

    def _prepare(self) -> None:
        """Look at the files that are there before the trainer starts."""
        if self._search.broken:
            drop_here(self._folder, self._search.broken)
        self._kept_files = None
        if self._rule.pattern:
            self._kept_files = KeptFiles(
                self._rule.pattern,
                self._run.id,
                Path.cwd(),
                self._folder,
                self._rule.keep,
                self._attempt,
            )

    def _note(self, text: str) -> None:
        hidden = self._training.secrets.hide(text)
        self._training.pod.console.say(log_lines.run_note(self._run.id, hidden))


def _wait(sender: CheckpointSender, limit_s: float, is_late: Callable[[], bool]) -> None:
    """Wait until a sender is done, at most so long, and no longer than there is time."""
    until = time.monotonic() + limit_s
    while not sender.is_done and not is_late() and (left_s := until - time.monotonic()) > 0:
        sender.wait(min(left_s, _LOOK_EVERY_S))
