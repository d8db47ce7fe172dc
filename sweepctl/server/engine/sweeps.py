"""Creating and changing sweeps: the configuration is checked here, before anything is stored."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sweepctl.search.engine_name import EngineName
from sweepctl.search.hyperband import read_hyperband
from sweepctl.search.next_params import BAYES, check_config, expected_run_count
from sweepctl.server import json_texts
from sweepctl.server.engine.search_engine import Engines
from sweepctl.server.engine.sweep_config import SweepError, read_config
from sweepctl.server.engine.work import Work, search_of
from sweepctl.server.errors import NotFoundError
from sweepctl.server.store import run_store, sweep_store
from sweepctl.server.store.api_forms import row_of
from sweepctl.server.store.database import Database
from sweepctl.server.store.filters import run_filter
from sweepctl.server.store.run_store import Run
from sweepctl.server.store.sweep_store import Rows, Search, Sweep
from sweepctl_pod.search_seed import read_seed
from sweepctl_pod.wandb.states import ENDED_BADLY, ENDED_SWEEPS, RunState, SweepState


@dataclass(frozen=True, slots=True)
class Sweeps:
    """The sweeps of a server; safe to use from any thread."""

    database: Database
    work: Work
    now: Callable[[], float]
    log: Callable[[str], None]
    engines: Engines
    seed: int | None = None
    """The seed of new sweeps that name none; None takes one by chance for each."""

    def upsert(self, wanted: Mapping[str, Any]) -> tuple[Sweep, list[str]]:
        """Create a sweep, or change the one that `id` names; give it with warnings.

        `wanted` is the input of W&B's `upsertSweep`. A SweepError, SearchError or FilterError says
        what is wrong with it; then nothing is changed.
        """
        fields: dict[str, Any] = {}
        warnings: list[str] = []
        if wanted.get("config") is not None:
            spec = read_config(wanted["config"])
            warnings = check_config(spec)
            read_hyperband(spec)
            search = self._search(wanted, spec)
            if spec["method"] == BAYES:
                warnings += self.engines.named(EngineName(search.engine)).check(spec)
            fields = _fields(spec, wanted["config"], search)
        for name, column in (("displayName", "display_name"), ("description", "description")):
            if wanted.get(name) is not None:
                fields[column] = wanted[name]
        state, prior = _state(wanted.get("state")), wanted.get("priorRunsFilters")
        with self.database.write() as tx:
            if wanted.get("id"):
                sweep = self._change(tx, str(wanted["id"]), fields)
            else:
                sweep = self._create(tx, wanted, fields)
            if prior:
                warnings += self._count_prior(tx, sweep, prior)
            # Under its former configuration it may have had no run left.
            sweep = self.work.open_again(tx, sweep)
            if state is not None:
                sweep = self._set_state(tx, sweep, state)
        return sweep, warnings

    def ask(self, pk: int, state: SweepState) -> Sweep:
        """Set the state that a person asks for; twice is the same as once.

        A SweepError says why the sweep stays as it is: it has ended already, or has no run left.
        """
        with self.database.write() as tx:
            sweep = sweep_store.find_sweep(tx, pk=pk)
            if sweep is None:
                raise NotFoundError("the sweep was deleted")
            if is_already(sweep.state, state):
                return sweep
            problem = ended_already(sweep.state, state, run_store.is_open(tx, sweep.pk))
            if problem is not None:
                raise SweepError(problem)
            return self._set_state(tx, sweep, state)

    def retry(self, run: Run) -> tuple[Run, bool]:
        """Queue a run that has ended badly; give it as it is then, and whether that is new.

        It keeps its id and parameters, and its losses and false starts count anew. A SweepError
        says why it cannot be.
        """
        with self.database.write() as tx:
            found = run_store.find_run(tx, pk=run.pk)
            if found is None or found.sweep is None:
                raise SweepError(f"run {run.id} is of no sweep that could hand it out again")
            if found.queued is not None:
                return found, False
            if found.agent is not None or found.state not in ENDED_BADLY:
                held = ", and its agent still has it" if found.agent is not None else ""
                raise SweepError(f"run {found.id} is {found.state.value}{held}")
            self._open_for(tx, sweep_store.sweep_by_pk(tx, found.sweep), found)
            fields = {
                "state": RunState.PREEMPTED.value,
                "queued": self.now(),
                "losses": 0,
                "false_starts": 0,
                **dict.fromkeys(("is_silent", "is_stop_asked", "is_preempting"), 0),
                "exit_code": None,
            }
            run_store.update_run(tx, found.pk, fields, self.now())
            self.log(f"run {found.id} waits to be taken again: somebody asked for it")
            return run_store.run_by_pk(tx, found.pk), True

    def _open_for(self, tx: Rows, sweep: Sweep, run: Run) -> None:
        """Have a sweep hand out runs again; it must not hand out others that nobody wants."""
        if sweep.state not in ENDED_SWEEPS:
            return
        state = sweep.state.value
        if sweep.state == SweepState.CANCELED:
            raise SweepError(f"sweep {sweep.id} is {state}: it hands out no run any more")
        if not sweep.is_exhausted and self.work.is_left(tx, sweep):
            raise SweepError(
                f"sweep {sweep.id} was stopped with runs left, which would be handed out beside"
                f" run {run.id}: resume it first"
            )
        # It ends by itself again after this run.
        values = {"state": SweepState.RUNNING.value, "is_exhausted": 0}
        sweep_store.update_sweep(tx, sweep.pk, values, self.now())
        self.log(f"sweep {sweep.id} goes on: run {run.id} is to be tried again")

    def _search(self, wanted: Mapping[str, Any], spec: Mapping[str, Any]) -> Search:
        """Give how a sweep is searched: as it began, and by the seed that it names now."""
        described = _text(wanted.get("description")) or _text(spec.get("description"))
        named = read_seed(described)
        kept = None
        if wanted.get("id"):
            with self.database.read() as rows:
                sweep = self._find(rows, str(wanted["id"]))
                kept = search_of(rows, sweep)
        if kept is None:
            chosen = secrets.randbelow(2**31) if self.seed is None else self.seed
            kept = Search(self.engines.default.value, str(chosen), 0)
        return kept if named is None else replace(kept, seed=str(named))

    def _create(self, tx: Rows, wanted: Mapping[str, Any], fields: dict[str, Any]) -> Sweep:
        if "config_text" not in fields:
            raise SweepError("a new sweep needs a configuration (the field `config`)")
        entity = wanted.get("entityName") or "local"
        name = wanted.get("projectName") or "uncategorized"
        project = sweep_store.ensure_project(tx, entity, name, self.now())
        sweep = sweep_store.create_sweep(tx, {**fields, "project": project.pk}, self.now())
        how = sweep.method
        if how != "grid":
            search = search_of(tx, sweep)
            by = f" by {search.engine}" if how == BAYES else ""
            how = f"{how}{by}, seed {search.seed}"
        self.log(f"sweep {sweep.id} created in {entity}/{name} ({how})")
        return sweep

    def _change(self, tx: Rows, id: str, fields: dict[str, Any]) -> Sweep:
        sweep = self._find(tx, id)
        if "spec" in fields:  # a run may have been drawn since it was read
            spec = json.loads(fields["spec"])
            search = replace(
                Search(**spec.pop(sweep_store.SEARCH)), draws=search_of(tx, sweep).draws
            )
            fields = {**fields, "spec": sweep_store.stored_spec(spec, search)}
        return sweep_store.update_sweep(tx, sweep.pk, fields, self.now()) if fields else sweep

    def _find(self, rows: Rows, id: str) -> Sweep:
        sweep = sweep_store.find_sweep(rows, pk=row_of("Sweep", id), id=id)
        if sweep is None:
            raise SweepError(f"no sweep has the id {id!r}")
        return sweep

    def _count_prior(self, tx: Rows, sweep: Sweep, filters: str) -> list[str]:
        """Count runs from before the sweep among its own; warn of those that are not there."""
        found = run_store.runs(tx, project=sweep.project, where=run_filter(filters))
        run_store.count_as_prior(tx, sweep.pk, found)
        if found:
            self.log(f"sweep {sweep.id} counts {len(found)} runs from before it")
        missing = _named_runs(filters) - {run.id for run in found}
        return [f"prior run {id[:100]!r}: this project has none such" for id in sorted(missing)]

    def _set_state(self, tx: Rows, sweep: Sweep, state: SweepState) -> Sweep:
        if state == sweep.state:
            return sweep
        if state == SweepState.PAUSED and sweep.state in ENDED_SWEEPS:
            raise SweepError(f"Cannot pause {sweep.state.value.lower()} sweep.")
        if state == SweepState.RUNNING and sweep.state in ENDED_SWEEPS:
            self._check_left(tx, sweep)
        sweep = sweep_store.update_sweep(
            tx, sweep.pk, {"state": state.value, "is_exhausted": 0}, self.now()
        )
        self.log(f"sweep {sweep.id} is {state.value}")
        if state == SweepState.CANCELED:
            run_store.kill_queued_runs(tx, sweep.pk, self.now())
        if self.work.finish_if_done(tx, sweep):
            sweep = sweep_store.sweep_by_pk(tx, sweep.pk)
        return sweep

    def _check_left(self, tx: Rows, sweep: Sweep) -> None:
        """Refuse to let a sweep go on that has nothing left to hand out."""
        if run_store.is_open(tx, sweep.pk) or self.work.is_left(tx, sweep):
            return
        count = run_store.count_runs(tx, sweep=sweep.pk)
        more = "raise its run_cap" if self.work.is_capped(tx, sweep) else "add values to search"
        raise SweepError(
            f"sweep {sweep.id} stays {sweep.state.value}: it has had its {count} runs and has none"
            f" left to hand out ({more} with: wandb sweep --update {sweep.id} FILE)"
        )


def is_already(state: SweepState, wanted: SweepState) -> bool:
    """Say whether a sweep is what somebody wants it to be; one that waits for agents is running."""
    return state == wanted or (state, wanted) == (SweepState.PENDING, SweepState.RUNNING)


def ended_already(state: SweepState, wanted: SweepState, is_open: bool) -> str | None:
    """Say why a sweep that has ended cannot be put into a state; `is_open` tells of its runs.

    One that was stopped has runs under way, which may be cancelled, and may be resumed; the
    resuming itself finds out whether anything is left for that.
    """
    if state not in ENDED_SWEEPS or wanted == SweepState.RUNNING:
        return None
    if wanted == SweepState.CANCELED and is_open:
        return None
    how = "was cancelled" if state == SweepState.CANCELED else "is finished"
    verb = {SweepState.PAUSED: "pause", SweepState.FINISHED: "stop"}.get(wanted, "cancel")
    return f"The sweep {how} already: there is nothing to {verb}."


def _fields(spec: Mapping[str, Any], text: str, search: Search) -> dict[str, Any]:
    metric = spec.get("metric") or {}
    return {
        "method": spec["method"],
        "metric": metric.get("name"),
        "goal": metric.get("goal", "minimize"),
        "run_cap": spec.get("run_cap"),
        "run_count_expected": expected_run_count(spec),
        "display_name": _text(spec.get("name")),
        "description": _text(spec.get("description")),
        "config_text": text,
        "spec": sweep_store.stored_spec(spec, search),
    }


def _named_runs(filters: str) -> set[str]:
    """Give the ids in filters of the form that `wandb sweep --prior_run` sends."""
    document = json_texts.parsed(filters)
    either = document.get("$or") if isinstance(document, Mapping) else None
    return {
        str(item["name"])
        for item in (either if isinstance(either, list) else [])
        if isinstance(item, Mapping) and "name" in item
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _state(text: str | None) -> SweepState | None:
    if text is None:
        return None
    try:
        return SweepState(text.upper())
    except ValueError as error:
        known = ", ".join(state.value for state in SweepState)
        raise SweepError(f"unknown sweep state {text!r}; known are {known}") from error
