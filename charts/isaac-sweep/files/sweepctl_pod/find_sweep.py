"""Find the sweep of a Job that names none, or create it: once, whichever agent comes first.

The sweep's description at W&B says whose it is: `sweepctl:NAMESPACE/NAME/HASH(UID,…)`, the release,
the hash of its sweep file and the Jobs that serve it. `choose` decides from what W&B lists; nobody
waits for another agent, and no lock is taken. W&B has no idempotency key
(https://github.com/wandb/wandb/issues/1501), so after each creation every agent looks again.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.search_seed import with_seed
from sweepctl_pod.stored_form import DEFAULT_PROJECT, config_text, stored_config
from sweepctl_pod.timestamps import read_time
from sweepctl_pod.trainer.interpreter import NoYamlError
from sweepctl_pod.waiting import Retrying
from sweepctl_pod.wandb.client import ApiError, SweepInfo, WandbClient
from sweepctl_pod.wandb.states import SweepState, is_open_sweep

SETTLE_S = 2.0
"""The time between two looks: W&B gives the time of a sweep's creation in whole seconds."""

_SAME_MOMENT_S = 60.0
"""How long a creation may take: one that began before another was listed counts as simultaneous."""

_STAGGER_S = 2.0
_LONGEST_STAGGER_S = 60.0
_MAX_IN_VAIN = 20
_WITHOUT_YAML = (
    "set interpreter: a Python that has PyYAML; or create the sweep by `sweepctl init` and set"
    " sweepId: ENTITY/PROJECT/ID"
)


@dataclass(frozen=True, slots=True)
class UnnamedSweep:
    """A sweep that no id names: the file and the Job by which its agents find it."""

    file: Path
    namespace: str
    name: str
    job_uid: str
    index: int
    entity: str | None = None
    project: str | None = None
    seed: int | None = None

    @property
    def delay_s(self) -> float:
        """How long this agent waits, so that those before it go first."""
        return min(_STAGGER_S * self.index, _LONGEST_STAGGER_S)


@dataclass(frozen=True, slots=True)
class Choice:
    """What to do about the sweeps of a key, as one look has found them."""

    sweep: SweepInfo | None
    """The sweep to serve; None when one has to be created."""
    is_ours: bool = False
    """Whether it names our Job already."""
    superfluous: tuple[SweepInfo, ...] = ()
    """Open sweeps that other agents created at the same moment."""


def sweep_key(namespace: str, name: str, sweep_text: bytes) -> str:
    """Give the key of a release's sweep; another sweep file gives another key."""
    return f"{namespace}/{name}/{hashlib.sha256(sweep_text).hexdigest()[:16]}"


def jobs_of(sweep: SweepInfo, key: str) -> frozenset[str] | None:
    """Give the UIDs of the Jobs that serve a sweep; None when it is not of this key."""
    found = _mark(key).search(sweep.description or "")
    return frozenset(filter(None, found[1].split(","))) if found else None


def with_job(description: str | None, key: str, job_uid: str) -> str:
    """Give a description that names a Job as well."""
    text = description or ""
    found = _mark(key).search(text)
    uids = [*filter(None, found[1].split(","))] if found else []
    mark = f"sweepctl:{key}({','.join(dict.fromkeys([*uids, job_uid]))})"
    if found:
        return text[: found.start()] + mark + text[found.end() :]
    return f"{text} {mark}".strip()


def choose(sweeps: Iterable[SweepInfo], key: str, job_uid: str) -> Choice:
    """Choose the sweep that names our Job, whatever its state; else one that is still open.

    The oldest of several is chosen, so that agents that create sweeps at the same moment agree. So
    do those of another Job, in an upgrade while the first sweep is created.
    """
    known = sorted(
        (sweep for sweep in sweeps if jobs_of(sweep, key) is not None),
        key=lambda sweep: (sweep.created_at or "", sweep.id),
    )
    ours = [sweep for sweep in known if job_uid in (jobs_of(sweep, key) or ())]
    if not ours:
        return Choice(next((sweep for sweep in known if is_open_sweep(sweep.state)), None))
    own = ours[0]
    still_open = [sweep for sweep in known if is_open_sweep(sweep.state)]
    twins = [sweep for sweep in still_open if _at_the_same_moment(sweep, own)]
    older = [sweep for sweep in twins if known.index(sweep) < known.index(own)]
    if older:
        return Choice(older[0])
    doomed = [*ours, *(twins if own in still_open else ())]
    superfluous = (sweep for sweep in still_open if sweep != own and sweep in doomed)
    return Choice(own, True, tuple(superfluous))


def read_sweep_file(file: Path, read_yaml: Callable[[str], Any]) -> tuple[bytes, dict[str, object]]:
    """Read the sweep file of a release: its bytes, and its config as W&B keeps it."""
    try:
        text = file.read_bytes()
        decoded = text.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SweepctlError(f"cannot read the sweep file {file}: {error}") from None
    try:
        return text, stored_config(read_yaml(decoded))
    except SweepctlError as error:
        hint = _WITHOUT_YAML if isinstance(error, NoYamlError) else error.hint
        raise SweepctlError(f"the sweep file {file}: {error.message}", hint) from None


def sweep_place(
    config: Mapping[str, object], entity: str | None, project: str | None
) -> tuple[str | None, str]:
    """Give where a sweep is created: entity (None: the key's own) and project.

    The settings win over the sweep file.
    """
    named = entity or _text(config.get("entity"))
    return named, project or _text(config.get("project")) or DEFAULT_PROJECT


class SweepFinder:
    """Finds or creates the sweep of a source; for one use, before any run is taken."""

    def __init__(
        self,
        source: UnnamedSweep,
        client: WandbClient,
        retrying: Retrying,
        read_yaml: Callable[[str], Any],
        say: Callable[[str], None],
        is_final: Callable[[ApiError, float], bool],
    ) -> None:
        self._source = source
        self._client = client
        self._retrying = retrying
        self._read_yaml = read_yaml
        self._say = say
        self._is_final = is_final
        self._in_vain = 0
        self._created = False

    def find(self) -> SweepInfo:
        """Give the sweep on which all agents of this Job agree."""
        text, config = read_sweep_file(self._source.file, self._read_yaml)
        self._key = sweep_key(self._source.namespace, self._source.name, text)
        entity, self._project = sweep_place(config, self._source.entity, self._source.project)
        self._entity = entity or self._retrying.call(
            self._client.viewer_entity, is_final=self._is_final
        )
        self._rest(self._source.delay_s)
        self._began = time.monotonic()
        agreed: SweepInfo | None = None
        while self._in_vain < _MAX_IN_VAIN:
            choice = self._look()
            for sweep in choice.superfluous:
                self._stop(sweep)
            if choice.sweep is None:
                self._create(config)
            elif not choice.is_ours:
                self._join(choice.sweep)
            elif agreed is not None and agreed.id == choice.sweep.id:
                return choice.sweep
            else:
                agreed = choice.sweep
            self._rest(SETTLE_S)
        raise SweepctlError(
            f"the sweeps of {self._entity}/{self._project} do not keep their descriptions, "
            f"by which agents find {self._key}",
            "create the sweep first and name it: sweepId: ENTITY/PROJECT/ID",
        )

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left_s := until - time.monotonic()) > 0:
            self._retrying.sleep(left_s)

    def _look(self) -> Choice:
        listed: Sequence[SweepInfo] = self._retrying.call(
            lambda: self._client.sweeps(self._entity, self._project), is_final=self._is_final
        )
        return choose(listed, self._key, self._source.job_uid)

    def _create(self, config: dict[str, object]) -> None:
        """Create a sweep in one attempt; if the answer is lost, the next look finds the sweep."""
        if self._created:
            self._in_vain += 1  # it is there, and not in W&B's list yet
            return
        own = _text(config.get("description"))
        if self._source.seed is not None:
            own = with_seed(own, self._source.seed)
        description = with_job(own, self._key, self._source.job_uid)
        text = config_text({**config, "description": description})
        name = _text(config.get("name"))

        def create() -> None:
            made = self._client.create_sweep(self._entity, self._project, text, description, name)
            self._created = True
            self._say(f"created sweep {made.full_name}")

        self._once(create)

    def _join(self, sweep: SweepInfo) -> None:
        description = with_job(sweep.description, self._key, self._source.job_uid)
        self._say(f"going on with sweep {sweep.full_name}")
        self._once(lambda: self._client.set_sweep_description(sweep, description))
        self._in_vain += 1

    def _stop(self, sweep: SweepInfo) -> None:
        self._say(f"stopping sweep {sweep.id}: another agent created an older one")
        self._once(lambda: self._client.set_sweep_state(sweep, SweepState.FINISHED.value))

    def _once(self, work: Callable[[], None]) -> None:
        """Make one attempt; raise its error unless that may pass before the next look."""
        try:
            self._retrying.call(work, is_final=lambda error, lasted_s: True)
        except ApiError as error:
            may_pass = error.is_transient or error.is_refused or error.is_missing
            if not may_pass or self._is_final(error, time.monotonic() - self._began):
                raise
            self._retrying.note_failure(error)


def _at_the_same_moment(one: SweepInfo, other: SweepInfo) -> bool:
    """Say whether two sweeps may come from Jobs that did not see each other's."""
    first, second = read_time(one.created_at), read_time(other.created_at)
    if first is None or second is None:
        return False
    return abs((first - second).total_seconds()) <= _SAME_MOMENT_S


def _mark(key: str) -> re.Pattern[str]:
    return re.compile(rf"sweepctl:{re.escape(key)}\(([^()\s]*)\)")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
