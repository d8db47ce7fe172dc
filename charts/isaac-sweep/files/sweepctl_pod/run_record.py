"""The record of a run that only we need: one small file of the run, `sweepctl.json`.

Pure. It holds what the sweep's config does not: the argv that was executed, completed and in the
trainer's own grammar, so that the run can be repeated exactly; who claims the run; and what became
of each attempt. Each `${envvar:X}` is in it as it was written, and no secret is. It is never a key
of the run's config or summary, which W&B may replace at each upload of the trainer's client.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeGuard

RECORD_FILE = "sweepctl.json"

SILENCE = "silence"
"""What ended an attempt of which nobody heard the end."""
KILLED = "SIGKILL"
"""What ended an attempt whose trainer was killed from outside."""
_LOSSES = (SILENCE, KILLED)
_MOST = 1 << 53
"""No number of a record is larger: whatever is may not be reckoned with everywhere."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An agent's claim to train a run. Among the claims of one fence the lowest agent wins."""

    agent: str
    """Names one agent process, and no later one of the same pod: `HOST/TOKEN`."""
    fence: int
    """Rises by one whenever the run is taken up anew: older claims count no more."""
    at: float
    """When it was written, in seconds since 1970."""
    release: str = ""
    """Whose agents may take the run up after it (claims.release_of); empty from older agents."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to train a run. Times are seconds since 1970, iterations count from 0."""

    number: int
    host: str
    node: str = ""
    agent: str = ""
    began_at: float = 0.0
    ended_at: float | None = None
    """None while it runs, and where nobody heard its end."""
    ended_by: str = ""
    """What ended it: finished, failed, stopped, handed back, unknown, a signal, silence; empty
    while it runs."""
    first: int | None = None
    """The first iteration that it trained, where that is known."""
    last: int | None = None
    """The last one that it completed."""
    resumed_from: int | None = None
    """The number of the checkpoint that it went on from; None where it began anew."""
    waited_from: float | None = None
    """When its agent began to wait for a run: when it started, or when the one before ended."""
    started_at: float | None = None
    """When its trainer was started; what comes before is found, fetched and prepared."""
    trained_from: float | None = None
    """When its first iteration was complete; None where the trainer's iterations are not known."""
    trained_until: float | None = None
    """When its training ended, and closing began. None where it never came to train, though it
    counts its iterations."""
    gpus: int | None = None
    """How many GPUs its agent has; None where that is not known."""
    gpu: str = ""
    """What they are called."""

    @property
    def first_iteration_after_s(self) -> float | None:
        """The seconds from its beginning to its first complete iteration, where that is known."""
        return None if self.trained_from is None else max(0.0, self.trained_from - self.began_at)

    def is_same_as(self, other: Attempt) -> bool:
        """Say whether both are of the same attempt, whatever is known of it."""
        return (self.agent, self.began_at) == (other.agent, other.began_at)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """How a run was started, who claims it, and its attempts, the oldest first."""

    argv: tuple[str, ...]
    grammar: str
    host: str
    attempt: int
    claims: tuple[Claim, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    parameters: Mapping[str, object] | None = None
    """What the run was handed out with: the trainer's own client may change the run's config."""
    retry_asked_at: float | None = None
    """When a person last gave the run back after it had ended, in seconds since 1970."""

    @property
    def next_number(self) -> int:
        """The number of the attempt that comes next."""
        return max((attempt.number for attempt in self.attempts), default=self.attempt) + 1

    @property
    def losses(self) -> int:
        """Count the attempts that were lost since one came further than all before it.

        A run that is lost again and again at the same place is at fault itself; one that comes on
        is not, however often its node dies. What was lost before a person gave the run back counts
        no more.
        """
        losses, reached = 0, -1
        for attempt in self.attempts:
            came_on = attempt.last is not None and attempt.last > reached
            reached = max(reached, attempt.last if attempt.last is not None else -1)
            if self.retry_asked_at is None or attempt.began_at >= self.retry_asked_at:
                losses = (0 if came_on else losses) + (attempt.ended_by in _LOSSES)
        return losses

    def is_furthest(self, attempt: Attempt) -> bool:
        """Say whether an attempt has come further than all others, of which there are some."""
        others = [each for each in self.attempts if not each.is_same_as(attempt)]
        reached = max((each.last for each in others if each.last is not None), default=-1)
        return bool(others) and attempt.last is not None and attempt.last > reached

    def with_attempt(self, attempt: Attempt) -> RunRecord:
        """Add an attempt, or put it in the place of what is known of the same one."""
        others = [known for known in self.attempts if not attempt.is_same_as(known)]
        attempts = sorted([*others, attempt], key=lambda each: each.number)
        return replace(self, attempts=tuple(attempts))

    def silent(self, before: int) -> tuple[Attempt, ...]:
        """Give the attempts before a number of which nobody heard the end."""
        return tuple(each for each in self.attempts if each.number < before and not each.ended_by)

    @property
    def iterations_repeated(self) -> int | None:
        """Count the iterations that were trained more than once; None where that is not known.

        An attempt that names none has trained none, where another one names some.
        """
        counted = [attempt for attempt in self.attempts if attempt.first is not None]
        if not counted:
            return 0 if len(self.attempts) == 1 else None
        repeated, reached = 0, -1
        for attempt in counted:
            repeated += max(0, reached + 1 - (attempt.first or 0))
            if attempt.last is not None:
                reached = max(reached, attempt.last)
            elif attempt is not counted[-1]:
                return None
        return repeated

    @property
    def endings(self) -> str:
        """Say what ended the attempts, in their order: `SIGTERM, 2 × silence`."""
        words = [attempt.ended_by for attempt in self.attempts if attempt.ended_by]
        told = [(word, sum(1 for _ in same)) for word, same in itertools.groupby(words)]
        return ", ".join(word if count == 1 else f"{count} × {word}" for word, count in told)

    def text(self) -> str:
        """Write the file."""
        form = {
            "argv": list(self.argv),
            "grammar": self.grammar,
            "host": self.host,
            "attempt": self.attempt,
            "claims": [_form(claim) for claim in self.claims],
            "attempts": [_form(attempt) for attempt in self.attempts],
            "parameters": self.parameters,
            "retry_asked_at": self.retry_asked_at,
        }
        return json.dumps(form, indent=2) + "\n"


def read_record(text: str) -> RunRecord | None:
    """Read the file of a run; None when it is none of ours."""
    try:
        form = json.loads(text)
    except (ValueError, RecursionError):
        return None
    argv = form.get("argv") if isinstance(form, dict) else None
    if not isinstance(argv, list) or not all(isinstance(word, str) for word in argv):
        return None
    attempt, parameters = form.get("attempt"), form.get("parameters")
    asked_at = form.get("retry_asked_at")
    return RunRecord(
        tuple(argv),
        str(form.get("grammar") or ""),
        str(form.get("host") or ""),
        attempt if _is_number(attempt) and isinstance(attempt, int) else 1,
        tuple(_read_all(Claim, form.get("claims"))),
        tuple(map(_in_order, _read_all(Attempt, form.get("attempts")))),
        parameters if isinstance(parameters, dict) else None,
        asked_at if _is_number(asked_at) else None,
    )


def _form(entry: Claim | Attempt) -> dict[str, Any]:
    return {item.name: getattr(entry, item.name) for item in fields(entry)}


def _read_all(kind: type[Any], found: object) -> list[Any]:
    """Read the entries that have what their kind needs; what a later version added is left out.

    Whoever may write the run's files may have written anything: a value of another type than its
    field's counts as missing.
    """
    known = {item.name: str(item.type) for item in fields(kind)}
    read = []
    for entry in found if isinstance(found, list) else ():
        if isinstance(entry, Mapping):
            said = {
                name: value
                for name, value in entry.items()
                if name in known and _fits(value, known[name])
            }
            try:
                read.append(kind(**said))
            except TypeError:
                continue
    return read


def _in_order(attempt: Attempt) -> Attempt:
    """Have an attempt that ended before it began, by whatever clocks, end as it began."""
    if attempt.ended_at is None or attempt.ended_at >= attempt.began_at:
        return attempt
    return replace(attempt, ended_at=attempt.began_at)


def _fits(value: object, declared: str) -> bool:
    """Say whether a value is of a field's declared type."""
    if value is None:
        return declared.endswith("| None")
    wanted = declared.removesuffix(" | None")
    if wanted == "str":
        return isinstance(value, str)
    return _is_number(value) and (wanted == "float" or isinstance(value, int))


def _is_number(value: object) -> TypeGuard[int | float]:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and -_MOST < value < _MOST
    )
