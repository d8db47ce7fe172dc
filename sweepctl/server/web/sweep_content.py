"""A sweep as its page and its figures need it, read once and kept while nothing changes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sweepctl.figures import Curve, RunFacts, SweepFacts
from sweepctl.figures.thinning import thinned
from sweepctl.search.metric import Metric
from sweepctl.server.engine.presence import Presence
from sweepctl.server.errors import NotFoundError
from sweepctl.server.store import lines, record_store, run_store, summary_store, sweep_store
from sweepctl.server.store.database import Database
from sweepctl.server.store.run_store import RunOutline
from sweepctl.server.store.sweep_store import Project, Rows, Sweep
from sweepctl.server.web import wording
from sweepctl.server.web.run_table import address
from sweepctl_pod.wandb.states import HELD_RUNS
from sweepctl_pod.wandb.summary import duration_s

_MOST_KEPT = 4
_HOLDS_S = 10.0
"""The durations of runs under way are told that exactly."""

MOST_CURVES = 120
_CURVE_LINES, _CURVE_CHARACTERS = 400, 600_000
"""Of a longer history so much, in lines that are spread evenly, is read for a curve."""

Texts = tuple[str | None, str | None]
_ELSEWHERE: Texts = (None, None)


@dataclass(frozen=True, slots=True)
class SweepContent:
    """A sweep with all its runs; `outlines` and `facts.runs` are the same runs in one order."""

    sweep: Sweep
    project: Project
    spec: Mapping[str, Any]
    shows: str
    """Names what is in it, for `Streams`."""
    outlines: Sequence[RunOutline]
    facts: SweepFacts
    metrics: Mapping[int, float]
    settings: Mapping[int, Mapping[str, Any]]
    """The parameters of each run as it was handed out, by its key."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What was made of a run, and what of."""

    outline: RunOutline
    metric: float | None
    settings: Mapping[str, Any]
    told: Mapping[str, Any]
    facts: RunFacts

    def is_of(
        self,
        outline: RunOutline,
        metric: float | None,
        settings: Mapping[str, Any],
        told: Mapping[str, Any],
    ) -> bool:
        """Say whether the same would be made of this; how long a live run has run changes."""
        return (
            self.outline == outline
            and self.metric == metric
            and self.settings is settings
            and self.told == told
            and outline.state not in HELD_RUNS
        )


class SweepReader:
    """Reads sweeps; safe to use from any thread."""

    def __init__(
        self,
        database: Database,
        presence: Presence,
        now: Callable[[], float],
    ) -> None:
        self._database = database
        self._presence = presence
        self._now = now
        self._guard = threading.Lock()
        self._kept: OrderedDict[int, tuple[SweepContent, float]] = OrderedDict()
        self._known: OrderedDict[int, dict[int, _Known]] = OrderedDict()
        self._settings: OrderedDict[int, dict[int, tuple[Texts, dict[str, Any]]]] = OrderedDict()

    def find(self, entity: str, project: str, sweep_id: str) -> tuple[Project, Sweep]:
        """Find a sweep by the names in its address."""
        with self._database.read() as rows:
            found = sweep_store.find_project(rows, entity, project)
            sweep = sweep_store.find_sweep(rows, id=sweep_id, project=found.pk) if found else None
        if found is None or sweep is None:
            raise NotFoundError(f"no sweep {entity}/{project}/{sweep_id}")
        return found, sweep

    def content(self, entity: str, project: str, sweep_id: str) -> SweepContent:
        """Give a sweep as it is now."""
        found, sweep = self.find(entity, project, sweep_id)
        shows = self._database.changes.shown("sweep", sweep.pk)
        with self._guard:
            kept = self._kept.get(sweep.pk)
            if kept is not None and kept[0].shows == shows and self._now() < kept[1]:
                self._kept.move_to_end(sweep.pk)
                return kept[0]
        until = self._now() + _HOLDS_S
        with self._database.read() as rows:
            content = self._read(rows, found, sweep, shows)
        with self._guard:
            self._kept[sweep.pk] = content, until
            self._kept.move_to_end(sweep.pk)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        return content

    def with_curves(self, content: SweepContent, metric: str | None = None) -> SweepFacts:
        """Give its facts with the curves of the best runs and an even choice of the others.

        The others are left out: of thousands of runs nobody can read all histories for a page.
        """
        facts = content.facts
        name = metric or content.sweep.metric
        chosen = self._with_curve(facts)
        by_id = {run.id: outline for run, outline in zip(facts.runs, content.outlines, strict=True)}
        curves = {}
        if name is not None:
            with self._database.read() as rows:
                for run in chosen:
                    found = lines.metric_curve(
                        rows,
                        by_id[run.id].pk,
                        name,
                        _CURVE_LINES,
                        characters=_CURVE_CHARACTERS,
                    )
                    if found:
                        values, steps, times = zip(*found, strict=True)
                        curves[run.id] = Curve(values, steps, times_s=times)
        order = {run.id: at for at, run in enumerate(facts.runs)}
        shown = sorted(chosen, key=lambda run: order[run.id])
        return replace(facts, runs=shown, curves=curves)

    def with_attempts(self, content: SweepContent) -> SweepFacts:
        """Give its facts with what the agents recorded of attempts, and when each was heard."""
        with self._database.read() as rows:
            records = record_store.records_of_sweep(rows, self._database.folder, content.sweep.pk)
            agents = sweep_store.agents(rows, content.sweep.pk)
        heard: dict[str, float] = {}
        for agent in agents:
            ago = self._presence.seconds_ago("agent", agent.pk)
            at = agent.heartbeat if ago is None else self._now() - ago
            heard[agent.host] = max(at, heard.get(agent.host, at))
        runs = [
            replace(run, attempts=records[outline.pk].attempts) if outline.pk in records else run
            for run, outline in zip(content.facts.runs, content.outlines, strict=True)
        ]
        return replace(content.facts, runs=runs, heard_s=heard)

    @staticmethod
    def _with_curve(facts: SweepFacts) -> list[RunFacts]:
        ranked = facts.ranked
        known = {run.id for run in ranked}
        others = [run for run in reversed(facts.runs) if run.id not in known]
        return thinned([*ranked, *others], MOST_CURVES)

    def _read(self, rows: Rows, project: Project, sweep: Sweep, shows: str) -> SweepContent:
        spec = sweep_store.sweep_spec(rows, sweep.pk)
        outlines = run_store.outlines(rows, sweep.pk)
        metrics = summary_store.metric_numbers(rows, sweep)
        times = summary_store.trainer_times(rows, sweep.pk)
        settings = self._settings_of(rows, sweep.pk, outlines)
        searched = wording.all_searched(spec)
        flat = [name for name in searched if name not in spec["parameters"]]
        of_runs = address(project.entity, project.name, "runs")
        nothing: Mapping[str, Any] = {}
        before = self._before(sweep.pk)
        runs = []
        for run in outlines:
            params, told = settings.get(run.pk, nothing), times.get(run.pk, nothing)
            metric = metrics.get(run.pk)
            known = before.get(run.pk)
            # Of thousands of runs most have ended, and are as they were.
            if known is not None and known.is_of(run, metric, params, told):
                runs.append(known.facts)
                continue
            whole = params
            if flat:
                further = {name: wording.setting_at(params, name) for name in flat}
                whole = {**params, **{n: v for n, v in further.items() if v is not None}}
            facts = RunFacts(
                run.id,
                run.state.value,
                metric,
                whole,
                run.display_name or "",
                f"{of_runs}{address(run.id)}",
                run.created,
                self._duration_s(run, told),
                run.host or "",
            )
            before[run.pk] = _Known(run, metric, params, told, facts)
            runs.append(facts)
        of_sweep = SweepFacts(
            Metric(sweep.metric, sweep.goal) if sweep.metric else None,
            runs,
            searched,
            {name: wording.form_of(spec, name) for name in {*searched, *spec["parameters"]}},
            now_s=self._now(),
        )
        return SweepContent(sweep, project, spec, shows, outlines, of_sweep, metrics, settings)

    def _before(self, sweep: int) -> dict[int, _Known]:
        """Give what was made of the runs of a sweep, to look up and to add to."""
        with self._guard:
            known = self._known.setdefault(sweep, {})
            self._known.move_to_end(sweep)
            while len(self._known) > _MOST_KEPT:
                self._known.popitem(last=False)
            return known

    def _settings_of(
        self, rows: Rows, sweep: int, runs: Sequence[RunOutline]
    ) -> dict[int, dict[str, Any]]:
        """Read what is new alone, or may have changed."""
        with self._guard:
            known = self._settings.get(sweep, {})
        texts = run_store.settings_texts(rows, sweep, max(known, default=0))
        kept = {}
        for run in runs:
            before, text = known.get(run.pk), texts.get(run.pk)
            if before is not None and text in (None, before[0]) and before[0] != _ELSEWHERE:
                kept[run.pk] = before
            elif text is not None:
                kept[run.pk] = (text, run_store.settings_in(text))
            else:
                # Another sweep handed it out, before some that are known.
                kept[run.pk] = (_ELSEWHERE, run_store.settings_of(rows, run.pk))
        with self._guard:
            self._settings[sweep] = kept
            self._settings.move_to_end(sweep)
            while len(self._settings) > _MOST_KEPT:
                self._settings.popitem(last=False)
        return {pk: params for pk, (_, params) in kept.items()}

    def _duration_s(self, run: RunOutline, told: Mapping[str, Any]) -> float | None:
        if run.state.value == "pending":
            return None
        is_live = run.state in HELD_RUNS
        ago = self._presence.seconds_ago("run", run.pk) if is_live or not told else None
        now = self._now()
        return duration_s(
            told,
            is_live=is_live,
            created_s=run.created,
            heard_s=run.heartbeat if ago is None else now - ago,
            now_s=now,
        )
