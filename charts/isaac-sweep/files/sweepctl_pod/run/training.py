"""One run: from the parameters that W&B hands out to the facts of its trainer's end.

Agent and wrapper (wrapper.py) both use it. It never calls the API.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sweepctl_pod.assignment import AssignedRun, AssignedSweep
from sweepctl_pod.checkpoint import Found, Progress
from sweepctl_pod.claims import ClaimTimes
from sweepctl_pod.command import CHECKPOINT_MACRO, args_json
from sweepctl_pod.console import Console
from sweepctl_pod.overrides import Grammar
from sweepctl_pod.preflight import Gpus, full_disk_reason, gpu_count
from sweepctl_pod.run.checkpoints import (
    CheckpointRule,
    checkpoint_environ,
    forget_progress,
    progress_in,
)
from sweepctl_pod.run.process import Child, Descendants, Guardian
from sweepctl_pod.run.secret_values import CLIENT_TELLS_NO_COMMAND, Secrets
from sweepctl_pod.run.settings_check import LOOK_EVERY_S, RecordCheck, SettingsCheck
from sweepctl_pod.run.trainer_environ import trainer_environ
from sweepctl_pod.run.transcript import Transcript
from sweepctl_pod.run.verdict import KILLED_FROM_OUTSIDE, Intervention, SettingsRule
from sweepctl_pod.run_parameters import run_parameters
from sweepctl_pod.trainer.bytecode import BytecodeCache
from sweepctl_pod.trainer.environment import with_port, with_threads, with_vulkan
from sweepctl_pod.trainer.evidence import Evidence
from sweepctl_pod.trainer.interpreter import TrainerPython
from sweepctl_pod.trainer.launchers import TrainerKind
from sweepctl_pod.trainer.param_file import param_file_text
from sweepctl_pod.trainer.resolve import Resolved, resolve_run
from sweepctl_pod.trainer.tasks import unknown_task_hint
from sweepctl_pod.waiting import Signals, WakeUp
from sweepctl_pod.wandb.client import Connection

UNDYING_LIMIT_S = 30.0
SETTINGS_LIMIT_S = 60.0
"""How long an ended training waits for the check of its settings, once in an agent's life."""
_MAX_SCRIPT_CHARS = 1_000_000
OUTPUT_LIMIT_S = 1.0
"""How long to wait for the rest of an ended trainer's output: an escaped process keeps it open."""
FULL_DISK_MB = 1
"""A disk with less room than this, in MB, is full."""
_GROUP_LOOK_EVERY_S = 0.05
_COMMANDS_FAULT = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENOEXEC),
    *(errno.E2BIG, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL),
)
"""The errors of execve that the command has on every node."""


@dataclass(frozen=True, slots=True)
class Pod:
    """What all runs of this process share: connection, environment, folder, output, processes."""

    connection: Connection
    environ: Mapping[str, str]
    work: Path
    console: Console
    descendants: Descendants
    guardian: Guardian
    wake_up: WakeUp
    signals: Signals
    python: TrainerPython
    bytecode: BytecodeCache
    settings: SettingsRule
    close_limit_s: float
    believed_after_s: float
    """How long W&B must say that a run is not there until that is believed."""
    checkpoints: CheckpointRule = field(default_factory=CheckpointRule)
    claim_times: ClaimTimes = field(default_factory=ClaimTimes)
    release: str = ""
    """Whose agent this is, as claims.release_of says."""
    gpus: Gpus = field(default_factory=Gpus)


@dataclass(frozen=True, slots=True)
class TrainerEnd:
    """How a trainer ended, before anything is asked of the API."""

    exit_code: int | None
    start_error: str | None
    node_error: str | None
    intervention: Intervention
    complaint: str | None
    undying: tuple[int, ...]
    disk_full: str | None
    unverified: str | None
    trained_s: float
    has_saved: bool = False
    """Whether it has left a checkpoint that is newer than the one it began with."""


class Training:
    """The trainer of one run; its methods are for the main thread."""

    def __init__(
        self,
        pod: Pod,
        sweep: AssignedSweep,
        run: AssignedRun,
        grammar: Grammar,
        settings: SettingsCheck,
    ) -> None:
        """Make the command; SweepctlError when the parameters make none."""
        self.pod = pod
        self.grammar = grammar
        self._settings = settings
        self.sweep = sweep
        self.run = run
        self.folder = pod.work / re.sub(r"[^A-Za-z0-9_-]", "_", run.id)
        self.log = self.folder / "trainer.log"
        self._parameters = run_parameters(run.config, sweep.parameters)
        self.resolved = self._resolved("")
        self._overrides = self.resolved.overrides
        environ = with_vulkan(
            trainer_environ(
                pod.environ, pod.connection, sweep, run, work=pod.work, folder=self.folder
            )
        )
        environ = with_port(environ, self.resolved.argv)
        self.environ = with_threads(environ, self.resolved.argv, lambda: gpu_count(environ))
        self._start_environ: dict[str, str] = {}
        self._child: Child | None = None
        self._start_error: str | None = None
        self._node_error: str | None = None
        self._intervention = self._asked = Intervention.NONE
        self._complaint: str | None = None
        self._ended_at: float | None = None
        self._kill_at: float | None = None
        self._closing_since: float | None = None
        self._is_second_try = False
        self._began_at = time.monotonic()
        self.started_at: float | None = None
        """When the trainer was first started, by the steady clock."""
        self.evidence = Evidence(self.resolved.trainer)
        self.reset()
        self.transcript = Transcript()
        self.secrets = Secrets(self.environ)
        if self.secrets.are_in(self.resolved.argv):
            self.environ = {**self.environ, **CLIENT_TELLS_NO_COMMAND}

    @property
    def progress(self) -> Progress | None:
        """How far this attempt has come; None where the companion says nothing."""
        return progress_in(self.folder)

    @property
    def counts_iterations(self) -> bool:
        """Whether its first iteration is seen, by the companion or by a line of its own."""
        kind = self.resolved.trainer
        has_companion = kind is not TrainerKind.PLAIN and self.pod.checkpoints.of(kind).companion
        return has_companion or self.evidence.iteration_at is not None

    def _resolved(self, checkpoint: str) -> Resolved:
        return resolve_run(
            self.sweep,
            self.run,
            grammar=self.grammar,
            environ=self.pod.environ,
            args_json_file=str(self.folder / "args.json"),
            checkpoint=checkpoint,
            script_text=_script_text,
        )

    def go_on_from(self, found: Found | None, attempt: int) -> None:
        """Have the next start go on from a checkpoint, or begin anew where there is none."""
        self.resolved = self._resolved(str(found.model) if found else "")
        self.environ = checkpoint_environ(
            self.environ,
            self.pod.checkpoints.of(self.resolved.trainer),
            self.folder,
            found,
            attempt=attempt,
            leave_within_s=self.pod.signals.training_s,
        )
        self.environ.pop("WANDB_RESUME", None)
        if found is not None and self.resolved.trainer is TrainerKind.PLAIN:
            # Its own client goes on with the run; the companion sees to that for Isaac Lab's.
            self.environ["WANDB_RESUME"] = self.pod.environ.get("WANDB_RESUME") or "allow"

    @property
    def shown_argv(self) -> list[str]:
        """The argv as it may be shown: each `${envvar:X}` as it was written, no secret's value."""
        return self.secrets.hide_in_command(self.resolved.written)

    @property
    def repeatable_argv(self) -> list[str]:
        """The argv that trains this run from its beginning, as it may be shown."""
        return [word.replace(CHECKPOINT_MACRO, "") for word in self.shown_argv]

    @property
    def host(self) -> str:
        """The agent's name, by which its runs are found; empty under somebody else's agent."""
        return self.pod.environ.get("WANDB_HOST") or ""

    @property
    def settings_required(self) -> bool:
        """Whether a run counts as failed when nobody could read its settings."""
        return self.pod.settings is SettingsRule.REQUIRE

    def reset(self) -> None:
        """Forget everything of an earlier try."""
        self._is_broken_bytecode_kept = self.evidence.bytecode_is_broken
        self.evidence = Evidence(self.resolved.trainer)
        self._record = self._new_record()
        self._child = self._start_error = self._node_error = self._complaint = None
        self._intervention = self._asked = Intervention.NONE
        self._kill_at = self._ended_at = self._closing_since = None
        self.trained_until: float | None = None
        """When the training ended, by the steady clock: where it says that, before its process."""

    def prepare(self) -> None:
        """Write the files and ask what the start needs. May take long; for any thread."""
        if self._is_broken_bytecode_kept:
            self.pod.bytecode.discard()
        try:
            self._write_files()
            self._start_environ = self.pod.bytecode.environ(self.resolved.argv, self.environ)
        except OSError as error:
            self._node_error = f"{self.folder}: {_reason(error)}"
        except ValueError as error:
            self._start_error = str(error)

    def start(self) -> None:
        """Start the prepared trainer; whatever prevents that becomes part of its end."""
        if self._start_error is not None or self._node_error is not None:
            return
        try:
            self._child = Child(
                self.resolved.argv,
                environ=self._start_environ,
                descendants=self.pod.descendants,
                console=self.pod.console,
                log=self.log,
                on_lines=self._feed,
                on_end=self.pod.wake_up.set,
            )
        except OSError as error:
            if error.errno in _COMMANDS_FAULT:
                self._start_error = _reason(error)
            else:
                self._node_error = _reason(error)
            return
        except ValueError as error:
            self._start_error = str(error)
            return
        self.started_at = self.started_at or time.monotonic()
        self.pod.guardian.watch(self._child.pid)
        if self.resolved.trainer is TrainerKind.ISAACLAB3 and self.grammar is Grammar.LITERAL:
            self._settings.begin(self.resolved.argv, self._overrides)

    def has_ended(self) -> bool:
        """Say whether the trainer has ended, and its whole group if it was asked to end."""
        if self._child is None:
            return True
        if self._kill_at is not None and time.monotonic() > self._kill_at + UNDYING_LIMIT_S:
            return True  # SIGKILL does not help: `finish` gives what does not die
        if not self._child.has_ended():
            return False
        if self._kill_at is not None:
            # A launcher dies of SIGTERM at once, while the trainer it started still saves.
            return not self._child.group_is_alive()
        now = time.monotonic()
        self._ended_at = self._ended_at or now
        if not self._child.output_is_over() and now < self._ended_at + OUTPUT_LIMIT_S:
            return False
        if self._has_record() and self.evidence.shows_end():
            self._record.end(self.evidence.log_folder())
        is_pending = self._settings.is_pending() or self._record.is_pending()
        return not is_pending or now > self._ended_at + SETTINGS_LIMIT_S

    def poll(self, now: float) -> float:
        """Do what is due; give the seconds until the next thing is due."""
        if self._kill_at is not None and self._child is not None:
            if now >= self._kill_at:
                self._child.signal_group(signal.SIGKILL)
                return LOOK_EVERY_S
            return _GROUP_LOOK_EVERY_S if self._child.has_ended() else self._kill_at - now
        if self._intervention is Intervention.NONE and (wrong := self._settings.complaint()):
            self._kill(Intervention.UNKNOWN_SETTING, wrong)
        due_s = self._poll_closing(now)
        if self._has_record():
            due_s = min(due_s, self._record.poll(now, self.evidence.log_folder))
            if self._record.complaint is not None:
                self._kill(Intervention.DIFFERENT, self._record.complaint)
        return due_s if self._ended_at is None and not self._overrides else min(due_s, LOOK_EVERY_S)

    def _poll_closing(self, now: float) -> float:
        """Kill a trainer whose training is over and whose process hangs as it closes."""
        if not self.evidence.said_its_end:
            return 3600.0
        self._closing_since = self._closing_since or now
        left_s = self._closing_since + self.pod.close_limit_s - now
        if left_s <= 0:
            self._kill(Intervention.CLOSING, "")
        return max(0.01, left_s)

    @property
    def is_ending(self) -> bool:
        """Whether the trainer was asked to end."""
        return self._kill_at is not None

    def end(self, why: Intervention, limit_s: float) -> None:
        """Ask the trainer to end and kill it when the time is over; a second call shortens it."""
        kill_at = time.monotonic() + limit_s
        first = self._kill_at is None
        self._kill_at = kill_at if first else min(kill_at, self._kill_at or kill_at)
        if not first:
            return
        self._asked = why
        if self._child is None or not self._child.has_ended():
            self._intervention = why  # what has ended by itself was not ended by us
        if self._child is not None:
            is_gentle = self._dies_of_sigterm() and limit_s > 0
            self._child.signal_group(signal.SIGTERM if is_gentle else signal.SIGKILL)

    def finish(self, is_late: Callable[[], bool]) -> TrainerEnd:
        """Kill what is left of the trainer while there is time; give the facts of its end."""
        exit_code: int | None = None
        undying: list[int] = []
        if self._child is not None:
            said_at = self.evidence.ended_at if self.evidence.said_its_end else None
            self.trained_until = said_at or self._ended_at or time.monotonic()
            limit_s = UNDYING_LIMIT_S if self._kill_at is None else UNDYING_LIMIT_S / 6
            until = time.monotonic() + limit_s
            exit_code, undying = self._child.finish(lambda: is_late() or time.monotonic() >= until)
            self.pod.guardian.watch(0)
            if self._intervention is Intervention.NONE:
                self._check_last()
        return TrainerEnd(
            exit_code,
            self._start_error,
            self._node_error,
            self._intervention,
            self._complaint,
            tuple(undying),
            self._disk_full(),
            self._record.unverified if self._has_record() else None,
            time.monotonic() - self._began_at,
        )

    def advice(self) -> str:
        """Say what to do about the trainer's end, where that is known."""
        if not self.evidence.task_is_unknown:
            return ""
        return unknown_task_hint(self.environ, self.resolved.trainer)

    def may_try_again(self, end: TrainerEnd) -> bool:
        """Say whether to try again: this was a first try, and a known trouble spoilt its start."""
        again = (
            not self._is_second_try
            and self.evidence.spoilt_start is not None
            and end.intervention is Intervention.NONE
            and self._asked is not Intervention.STOPPED
            and end.exit_code not in (0, None, *KILLED_FROM_OUTSIDE)
            and not end.undying
        )
        self._is_second_try = self._is_second_try or again
        return again

    def _dies_of_sigterm(self) -> bool:
        """Say whether SIGTERM ends this trainer with a code that is not 0."""
        if self.resolved.trainer.dies_of_sigterm:
            return True
        progress = self.progress
        return progress is not None and progress.is_listening

    def _feed(self, lines: bytes) -> None:
        self.evidence.feed(lines)
        self.transcript.feed(lines)

    def _new_record(self) -> RecordCheck:
        return RecordCheck(
            self.pod.python, self.pod.wake_up, self.resolved.argv, self._overrides, self.grammar
        )

    def _has_record(self) -> bool:
        """Say whether Isaac Lab trains here, which records its settings, and was asked for some.

        Where the command hides it behind a script, its own lines show it.
        """
        is_isaaclab = self.resolved.trainer is not TrainerKind.PLAIN or self.evidence.is_isaaclab
        return bool(self._overrides) and is_isaaclab

    def _write_files(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        forget_progress(self.folder)
        given = self._parameters.given
        (self.folder / "config.yaml").write_text(param_file_text(given), encoding="utf-8")
        (self.folder / "args.json").write_text(args_json(given))

    def _check_last(self) -> None:
        """Read what the checks have found after the trainer's end."""
        self._record.take_last_answer()
        if wrong := self._settings.complaint():
            self._intervention, self._complaint = Intervention.UNKNOWN_SETTING, wrong
        elif self._has_record() and self._record.complaint is not None:
            self._intervention, self._complaint = Intervention.DIFFERENT, self._record.complaint

    def _kill(self, why: Intervention, complaint: str) -> None:
        if self._child is not None and not self._child.has_ended():
            self._complaint = complaint
            self.end(why, 0.0)

    def _disk_full(self) -> str | None:
        """Say which disk is full: by a write that failed, or by the disk itself, never by a word.

        Kit prints "No space left on device" when the inotify watches have run out.
        """
        failed = self._child.log_failed if self._child is not None else None
        if failed is not None:
            return f"{self.folder}: {_reason(failed)}"
        if not self.evidence.said_disk_full:
            return None
        folders = [self.folder, self.evidence.log_folder(), Path(tempfile.gettempdir())]
        with suppress(OSError):  # the trainer may have removed it
            folders.append(Path.cwd())
        there = [folder for folder in folders if folder is not None and os.path.isdir(folder)]
        return next(filter(None, (full_disk_reason(each, FULL_DISK_MB) for each in there)), None)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _script_text(path: str) -> str | None:
    """Read a train.py, to tell which options it has."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_MAX_SCRIPT_CHARS)
    except (OSError, ValueError):
        return None
