"""The handle of a sweep: what the verbs can do with one, wherever it lives.

`SweepHandle` says what every handle can do. `ServerSweep` is the handle of a sweep that a W&B
server or the data of this machine keeps; a sweep in a cluster has its own, in `jobs`, built on the
parts of this one. Nothing is printed here: a handle answers with values.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from sweepctl.sweeps.api import SweepSource, WandbApi
from sweepctl.sweeps.names import SweepName
from sweepctl.sweeps.place import (
    Place,
    find_sweep,
    local_data,
    open_api,
    open_source,
    server_of,
)
from sweepctl.sweeps.records import RecordReader
from sweepctl.sweeps.seen import SeenSweep, read_best, read_status, wait_for_sweep_end
from sweepctl.sweeps.status import SweepStatus
from sweepctl_pod.wandb.states import ENDED_SWEEPS, SweepState

if TYPE_CHECKING:
    from sweepctl.sweeps.best import RankedRun
    from sweepctl.sweeps.disrupt import Scene
    from sweepctl.sweeps.log_lines import Line, LogOptions
    from sweepctl.sweeps.page import Page
    from sweepctl.sweeps.retry import Retry
    from sweepctl.sweeps.run_output import RunOutput
    from sweepctl_pod.errors import ExitCode
    from sweepctl_pod.overrides import Grammar

# What one method alone needs is imported there: the other verbs are quicker without it.


@dataclass(frozen=True, slots=True)
class Change:
    """What a verb did to one object, and what to know about it."""

    kind: str
    name: str
    verb: str
    notes: tuple[str, ...] = ()

    @property
    def object(self) -> str:
        """Name the object as kubectl does."""
        return f"{self.kind.lower()}/{self.name}"


@dataclass(frozen=True, slots=True)
class StateChange:
    """A change of a sweep's state that a verb makes."""

    verb: str
    state: str
    """The state at the sweep's server."""
    done: str
    """The word for it when it is made."""
    unchanged_in: frozenset[str]
    """The states in which there is nothing to change."""


PAUSE = StateChange("pause", SweepState.PAUSED.value, "paused", frozenset({SweepState.PAUSED}))
RESUME = StateChange("resume", SweepState.RUNNING.value, "resumed", frozenset({SweepState.RUNNING}))
STOP = StateChange("stop", SweepState.FINISHED.value, "stopped", ENDED_SWEEPS)


class SweepHandle(Protocol):
    """A sweep that a verb means."""

    @property
    def here(self) -> str:
        """Its name as a command takes it, with the options that say where it is."""

    def status(self, *, has_records: bool) -> Iterator[object]:
        """Read it, again and again for as long as somebody looks.

        With the records of its runs, which may cost a request a run.
        """

    def logs(self, options: LogOptions) -> Iterator[Line | RunOutput]:
        """Give what its agents and runs have printed; if there is nothing, that is an error."""

    def wait(self, timeout_s: float | None) -> tuple[ExitCode, str]:
        """Wait for its end; give the exit code and what to say."""

    def set_state(self, change: StateChange, *, ask: Callable[[str], None], is_dry: bool) -> Change:
        """Pause, resume or stop it. `ask` is told which it is before anything is changed."""

    def scene(self) -> AbstractContextManager[Scene]:
        """Open where its agents can be disrupted."""

    def retry(self, named: Sequence[str], states: Collection[str], *, is_dry: bool) -> Retry:
        """Give runs back that have ended badly: those named, else all in one of the states."""

    def best(
        self, top: int, grammar: Grammar | None, recorded: int
    ) -> tuple[SweepStatus, Sequence[RankedRun]]:
        """Rank its finished runs, with the recorded commands of the first `recorded`."""

    def page(self, listen: str, allowed_hosts: Sequence[str]) -> AbstractContextManager[Page]:
        """Give its page, served for as long as the block runs where nobody else serves it."""

    def api(self) -> AbstractContextManager[tuple[WandbApi, SweepName]]:
        """Open the API of its server, and give its name there."""

    def source(self) -> AbstractContextManager[tuple[SweepSource, SweepName]]:
        """Open what keeps it, to read it, and give its name there."""


@dataclass(frozen=True, slots=True)
class ServerSweep:
    """A sweep that a W&B server or this machine's data keeps; no id means the newest one."""

    name: SweepName
    place: Place
    say: Callable[[str], None]

    @property
    def here(self) -> str:
        """Its name as a command takes it, with the options that say where it is."""
        parts = [part for part in (self.name.entity, self.name.project, self.name.id) if part]
        return f"{'/'.join(parts)}{self._options}".strip()

    def status(self, *, has_records: bool) -> Iterator[SeenSweep]:
        """Read it, again and again for as long as somebody looks."""
        records = RecordReader() if has_records else None
        with open_source(self.place, self.name, self.say) as source:
            while True:
                yield read_status(source, self.name, self.place.data, records)

    def logs(self, options: LogOptions) -> Iterator[RunOutput]:
        """Give what its runs have printed; what only pods can tell is refused."""
        from sweepctl.sweeps.run_output import chosen_runs, refuse_for_pods, run_outputs

        refuse_for_pods(options)
        is_here = server_of(self.place, self.name) is None
        with open_source(self.place, self.name, self.say) as source:
            sweep = find_sweep(source, self.name)
            yield from run_outputs(
                source,
                sweep,
                chosen_runs(sweep, source.runs(sweep), options.run),
                kept=local_data(self.place) if is_here else None,
                is_one=options.run is not None,
                advice=f"sweepctl status {sweep.full_name} tells how its runs do",
                say=self.say,
            )

    def wait(
        self,
        timeout_s: float | None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> tuple[ExitCode, str]:
        """Wait until it has ended."""
        with self.api() as (api, name):
            return wait_for_sweep_end(
                api, lambda: read_status(api, name), timeout_s=timeout_s, sleep=sleep, clock=clock
            )

    def set_state(self, change: StateChange, *, ask: Callable[[str], None], is_dry: bool) -> Change:
        """Pause, resume or stop it: its server hands out no new runs, or does so again."""
        with self.api() as (api, name):
            return set_server_state(api, name, change, ask=self._asking(ask), is_dry=is_dry)

    @contextmanager
    def scene(self) -> Iterator[Scene]:
        """Open where its agents can be disrupted: this machine, for those that are here."""
        from sweepctl.sweeps.disrupt_here import LocalScene

        with self.api() as (api, name):
            yield LocalScene(api, find_sweep(api, name))

    def retry(self, named: Sequence[str], states: Collection[str], *, is_dry: bool) -> Retry:
        """Give runs back that have ended badly."""
        from sweepctl.sweeps.retry import retry_runs

        with self.api() as (api, name):
            done = retry_runs(api, name, named, states, is_dry=is_dry)
        if not done.runs or server_of(self.place, self.name) is not None:
            return done
        option = f" --data {shlex.quote(str(self.place.data))}" if self.place.data else ""
        note = f"if no agent runs any more: sweepctl local FILE --sweep {done.sweep}{option}"
        return replace(done, notes=(*done.notes, note))

    def best(
        self, top: int, grammar: Grammar | None, recorded: int
    ) -> tuple[SweepStatus, Sequence[RankedRun]]:
        """Rank its finished runs."""
        with open_source(self.place, self.name, self.say) as source:
            return read_best(source, self.name, top, grammar, recorded)

    @contextmanager
    def page(self, listen: str, allowed_hosts: Sequence[str]) -> Iterator[Page]:
        """Give its page: at its server, or of this machine's data by a server of our own."""
        from sweepctl.sweeps.page import page_at, page_of_data

        server = server_of(self.place, self.name)
        if server is not None:
            yield page_at(WandbApi(server, on_wait=self.say), self.name)
            return
        data = local_data(self.place).absolute()
        with page_of_data(data, self.name, listen, allowed_hosts, self.say) as page:
            yield page

    @contextmanager
    def api(self) -> Iterator[tuple[WandbApi, SweepName]]:
        """Open the API of its server: this machine's data is served for as long."""
        with open_api(self.place, self.name, self.say) as api:
            yield api, self.name

    @contextmanager
    def source(self) -> Iterator[tuple[SweepSource, SweepName]]:
        """Open what keeps it: this machine's data is read from the disk."""
        with open_source(self.place, self.name, self.say) as source:
            yield source, self.name

    def _asking(self, ask: Callable[[str], None]) -> Callable[[str], None]:
        """Have the question name the server as well, so that it can be pasted."""
        return lambda own: ask(own + self._options)

    @property
    def _options(self) -> str:
        named = (("--server", self.place.server), ("--data", self.place.data))
        return "".join(f" {option} {shlex.quote(str(value))}" for option, value in named if value)


def set_server_state(
    api: WandbApi,
    name: SweepName,
    change: StateChange,
    *,
    ask: Callable[[str], None],
    is_dry: bool,
) -> Change:
    """Set a sweep's state at its server, unless it is one in which nothing changes."""
    sweep = find_sweep(api, name)
    own = sweep.full_name
    ask(own)
    if sweep.state in change.unchanged_in:
        return Change("Sweep", own, "unchanged")
    if not is_dry:
        api.set_state(sweep, change.state)
    return Change("Sweep", own, change.done)
