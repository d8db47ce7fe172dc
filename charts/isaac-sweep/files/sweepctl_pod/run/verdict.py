"""What became of a run, judged by what is known of its end. Pure: facts in, one verdict out.

Exit code 0 is no proof: Isaac Lab exits 0 on SIGINT and after masked exceptions, and a run without
the sweep's metric tells the search nothing. Every verdict has a reason that says what to do.
"""

from __future__ import annotations

import enum
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sweepctl_pod.errors import SIGTERM_CODE, ExitCode
from sweepctl_pod.wandb.summary import OWN_KEYS, UNVERIFIED, metric_trouble, read_metric

MAX_ATTEMPTS = 3
"""How many attempts a run gets whose trainer is killed from outside."""

_LAUNCHERS = ("env", "sh", "bash", "dash", "nice", "isaaclab.sh", "python.sh")
_SIGNAL_BASE = 128
KILLED_FROM_OUTSIDE = (-signal.SIGKILL, _SIGNAL_BASE + signal.SIGKILL)
"""The exit codes of SIGKILL: of the trainer itself, or of a launcher around it."""


class SettingsRule(str, enum.Enum):
    """What becomes of a run that finished, when nobody could tell its trainer's settings."""

    REPORT = "report"
    """It has finished, and its reason says so."""
    REQUIRE = "require"
    """It has failed."""


class Ending(str, enum.Enum):
    """How a run ends, for W&B and for the log."""

    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    HANDED_BACK = "handed back"
    LOST = "left to another agent"
    """Another agent trains it by now: nothing is posted."""
    UNKNOWN = "left as W&B has it"
    """Unknown is never failed: without an answer that can be believed, nothing is posted."""


class Intervention(enum.Enum):
    """Why the agent itself ended a trainer, if it did."""

    NONE = enum.auto()
    STOPPED = enum.auto()
    """The API asked for it: a person or early termination."""
    LEAVING = enum.auto()
    """The agent was told to go: eviction, Ctrl-C."""
    DIFFERENT = enum.auto()
    """The trainer's configuration is not what was asked for."""
    CLOSING = enum.auto()
    """The training was over, and its process did not end."""
    LOST = enum.auto()
    """Another agent has taken the run over."""
    UNKNOWN_SETTING = enum.auto()
    """An override names a setting that the trainer does not have: the sweep is wrong."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a trainer's end."""

    program: str
    exit_code: int | None
    """As Popen has it, negative for a signal; None when the trainer could not be started."""
    start_error: str | None = None
    node_error: str | None = None
    """Why this node cannot start it, whatever the command: no memory, no disk."""
    intervention: Intervention = Intervention.NONE
    complaint: str | None = None
    """What the check of the configuration found."""
    has_shown_end: bool = True
    has_proven_end: bool = False
    """Whether something was seen that only the end of a training leaves, whatever ended it."""
    unverified: str | None = None
    """Why nobody could tell whether the trainer has the settings that were asked for."""
    settings_required: bool = False
    """Whether a run whose settings are unverified counts as failed."""
    disk_full: str | None = None
    """The folder that has no room, as the file system says."""
    undying: Sequence[int] = ()
    metric: str | None = None
    goal: str | None = None
    silence: str | None = None
    """Why W&B gave no answer about the run, if it gave none."""
    summary: Mapping[str, object] | None = None
    """The run's summary at the API; None when it gave none."""
    is_started: bool = False
    """Whether the run was ever opened by W&B's SDK."""
    has_saved: bool = False
    """Whether this attempt has left a checkpoint that is newer than the one it began with."""
    attempts: int = 1
    """How often it was tried, this time included, without orderly hand-backs."""
    last_line: str = ""
    advice: str = ""
    """What to do about it, where that is known."""
    unlogged: str | None = None
    """Why no metric could reach W&B, where the command shows that."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The ending of a run, why, the exit record for W&B, and whether the agent must leave."""

    ending: Ending
    reason: str
    exit_code: int
    leave: ExitCode | None = None
    unverified: str | None = None
    """What else there is to know of a run that finished."""


def judge(facts: Facts) -> Verdict:
    """Judge a run by the facts of its end."""
    verdict = _not_this_runs_fault(facts) or _trainers_end(facts) or _without_metric(facts)
    if verdict.ending is not Ending.FINISHED or facts.unverified is None:
        return verdict
    unverified = f"{UNVERIFIED}: {facts.unverified}"
    if facts.settings_required:
        return Verdict(Ending.FAILED, unverified, 1)
    return replace(verdict, reason=f"{verdict.reason}; {unverified}", unverified=unverified)


def lost_ending() -> Verdict:
    """Give the ending of a run that another agent has taken over: it is that agent's to tell."""
    return Verdict(Ending.LOST, "it was taken over while nothing was heard of this agent", 0)


def unknown_ending(verdict: Verdict, silence: str) -> Verdict:
    """Give the ending of a run about which W&B gave no answer: an agent may take it again."""
    return Verdict(
        Ending.UNKNOWN,
        f"it {_PAST[verdict.ending]} ({verdict.reason}), and W&B gave no answer: {silence}",
        verdict.exit_code,
        ExitCode.FAILED,
    )


_PAST = {
    Ending.FINISHED: "may have finished",
    Ending.FAILED: "failed",
    Ending.STOPPED: "was stopped",
    Ending.HANDED_BACK: "was to be handed back",
    Ending.LOST: "was taken over",
    Ending.UNKNOWN: "has ended",
}


def _not_this_runs_fault(facts: Facts) -> Verdict | None:
    """Judge the ends that are not this run's fault, and hand it back: leaving, node, command."""
    if facts.undying:
        pids = ", ".join(map(str, facts.undying))
        if facts.intervention is Intervention.LEAVING:
            why = f"this agent was told to leave, and its time was over before pid {pids} was dead"
            return Verdict(Ending.HANDED_BACK, why, SIGTERM_CODE)
        return Verdict(
            Ending.HANDED_BACK,
            f"its processes do not die (pid {pids}): the GPU or its driver hangs",
            SIGTERM_CODE,
            ExitCode.NODE_UNFIT,
        )
    if facts.intervention is Intervention.LEAVING:
        if _was_over(facts) and not _is_unlogged(facts):
            return None
        return Verdict(Ending.HANDED_BACK, "this agent was told to leave", SIGTERM_CODE)
    if facts.intervention is Intervention.STOPPED:
        return Verdict(Ending.STOPPED, "W&B asked for it", SIGTERM_CODE)
    if facts.node_error is not None:
        why = f"the trainer cannot be started on this node: {facts.node_error}"
        if facts.attempts >= MAX_ATTEMPTS:
            return Verdict(Ending.FAILED, f"{why}, {facts.attempts} times", 1)
        return Verdict(Ending.HANDED_BACK, why, 1, ExitCode.NODE_UNFIT)
    if facts.exit_code is None or _found_no_program(facts):
        why = facts.start_error or f"exit code {facts.exit_code}: {facts.last_line}"
        return Verdict(
            Ending.HANDED_BACK,
            f"the trainer cannot be started: {facts.program}: {why};"
            " correct `command` in the sweep's file, or activate the environment or use the image"
            " that has it",
            SIGTERM_CODE,
            ExitCode.CONFIGURATION,
        )
    if facts.disk_full and facts.exit_code != 0 and facts.attempts < MAX_ATTEMPTS:
        return Verdict(
            Ending.HANDED_BACK,
            f"no space left: {facts.disk_full}; free some, or give the work folder a larger volume",
            1,  # counted as a lost attempt
            ExitCode.NODE_UNFIT,
        )
    return None


def _trainers_end(facts: Facts) -> Verdict | None:
    code = facts.exit_code
    if facts.intervention in (Intervention.DIFFERENT, Intervention.UNKNOWN_SETTING):
        leave = (
            ExitCode.CONFIGURATION if facts.intervention is Intervention.UNKNOWN_SETTING else None
        )
        return Verdict(
            Ending.FAILED, f"the trainer has not what was asked for: {facts.complaint}", 1, leave
        )
    if _was_over(facts) and (code == 0 or not _is_unlogged(facts)):
        return None
    if code in KILLED_FROM_OUTSIDE:
        killed = "the trainer was killed from outside (SIGKILL; out of memory?)"
        record = _SIGNAL_BASE + signal.SIGKILL
        if facts.has_saved:
            # It comes on, so it ends: what is lost again and again before it saves does not.
            return Verdict(
                Ending.HANDED_BACK, f"{killed}; it goes on from what it saved", SIGTERM_CODE
            )
        if facts.attempts < MAX_ATTEMPTS:
            tried = f"attempt {facts.attempts} of {MAX_ATTEMPTS}"
            return Verdict(Ending.HANDED_BACK, f"{killed}, {tried}", record)
        return Verdict(Ending.FAILED, f"{killed}, {facts.attempts} times", record)
    if code is not None and code != 0:
        said = f"; its last line: {facts.last_line}" if facts.last_line else ""
        return Verdict(Ending.FAILED, f"{_exit_text(code)}{said}{_advice(facts)}", _record(code))
    if not facts.has_shown_end:
        return Verdict(
            Ending.FAILED,
            "exit code 0, but training did not come to its end: neither the line 'Training time'"
            " nor the last model is there; an interrupt or an exception was swallowed"
            + _advice(facts),
            1,
        )
    return None


def _without_metric(facts: Facts) -> Verdict:
    if facts.metric is None:
        return Verdict(Ending.FINISHED, "the trainer came to its end", 0)
    if facts.silence is not None:
        return unknown_ending(
            Verdict(Ending.FINISHED, "the trainer came to its end", 0), facts.silence
        )
    summary = facts.summary or {}
    reading = read_metric(summary, facts.metric, facts.goal)
    if reading.is_number:
        return Verdict(Ending.FINISHED, f"{facts.metric} = {reading.number}", 0)
    if trouble := metric_trouble(summary, facts.metric, reading):
        return Verdict(Ending.FAILED, trouble, 1)
    if facts.unlogged is not None:
        why = facts.unlogged
    elif not facts.is_started and not facts.summary:
        why = (
            "the trainer opened no W&B run: does it call wandb.init (Isaac Lab: --logger wandb),"
            " and is WANDB_MODE not offline or disabled?"
        )
    else:
        names = sorted(name for name in summary if not name.startswith(("_", OWN_KEYS)))
        why = f"it logged {', '.join(names[:20]) or 'nothing'}; correct metric.name, or log it"
    return Verdict(Ending.FAILED, f"the sweep's metric {facts.metric} was not logged: {why}", 1)


def _was_over(facts: Facts) -> bool:
    """Say whether the training was over, however the process ended after that.

    What closes then (Kit, CUDA, W&B's upload) may crash, hang or be killed.
    """
    if not facts.has_proven_end:
        return False
    by_agent = facts.intervention in (Intervention.LEAVING, Intervention.CLOSING)
    code = facts.exit_code
    return code == 0 or by_agent or (code is not None and (code < 0 or code > _SIGNAL_BASE))


def _is_unlogged(facts: Facts) -> bool:
    """Say whether W&B was asked and knows nothing of the metric."""
    if facts.metric is None or facts.silence is not None:
        return False
    return read_metric(facts.summary or {}, facts.metric).is_missing


def _advice(facts: Facts) -> str:
    return f"; {facts.advice}" if facts.advice else ""


def _found_no_program(facts: Facts) -> bool:
    """Recognise a launcher's 'not found' (127) and 'not executable' (126) before any training."""
    launcher = facts.program.rpartition("/")[2]
    return (
        facts.exit_code in (126, 127)
        and launcher in _LAUNCHERS
        and not facts.is_started
        and not facts.summary
    )


def _exit_text(code: int) -> str:
    if code >= 0:
        return f"the trainer ended with exit code {code}"
    try:
        return f"the trainer ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"the trainer ended by signal {-code}"


def _record(code: int) -> int:
    return code if code > 0 else _SIGNAL_BASE - code
