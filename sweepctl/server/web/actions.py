"""What people do from the pages: pause, resume, stop or cancel a sweep, stop a run, log out.

The words mean what they mean to `wandb sweep --pause` and its like, and to sweepctl's verbs. Each
has a page that says what it will do, with the form that does it; nothing else acts, and no GET.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sweepctl.server.engine.sweep_config import SweepError
from sweepctl.server.engine.sweeps import Sweeps, ended_already, is_already
from sweepctl.server.errors import NotFoundError
from sweepctl.server.runs.intake import Intake
from sweepctl.server.store import run_store, sweep_store
from sweepctl.server.store.database import Database
from sweepctl.server.store.run_store import Run
from sweepctl.server.store.sweep_store import Sweep
from sweepctl.server.web.run_table import address
from sweepctl_pod.wandb.states import HELD_RUNS, RunState, SweepState

_STATES = {
    "pause": SweepState.PAUSED,
    "resume": SweepState.RUNNING,
    "stop": SweepState.FINISHED,
    "cancel": SweepState.CANCELED,
}
LOG_OUT = ("logout",)


@dataclass(frozen=True, slots=True)
class Question:
    """A page that asks before it acts; `problem` stands in place of the form."""

    title: str
    words: str
    button: str
    action: str
    back: str
    back_to: str
    is_final: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Actions:
    """Finds what an address asks for, says what it does, and does it; safe from any thread."""

    database: Database
    sweeps: Sweeps
    intake: Intake

    def question(self, names: list[str]) -> Question:
        """Give the page of an action; a NotFoundError if there is no such thing."""
        match names:
            case [entity, project, "sweeps", _, verb]:
                at = address(entity, project, "sweeps")
                return self._about_sweep(verb, self._sweep(names), at)
            case [entity, project, "runs", _, _]:
                return _about_run(self._run(names), address(entity, project, "runs"))
        return _LOG_OUT

    def act(self, names: list[str]) -> str:
        """Do it, and give the place to go on to; a SweepError says why nothing was done."""
        asked = self.question(names)
        if names[2] == "sweeps":
            self.sweeps.ask(self._sweep(names).pk, _STATES[names[4]])
            return asked.back
        run = self._run(names)
        if problem := _not_running(run):
            raise SweepError(problem)
        if not (run.is_stop_asked and run.queued is None):
            self.intake.ask_stop(run)
        return asked.back

    def _about_sweep(self, verb: str, sweep: Sweep, at: str) -> Question:
        with self.database.read() as rows:
            states = Counter(run_store.count_states(rows, sweep.pk))
            is_open = run_store.is_open(rows, sweep.pk)
        return _about_sweep(verb, sweep, states, at, is_open=is_open)

    def _sweep(self, names: list[str]) -> Sweep:
        with self.database.read() as rows:
            owner = sweep_store.find_project(rows, names[0], names[1])
            sweep = sweep_store.find_sweep(rows, id=names[3], project=owner.pk) if owner else None
            if sweep is None:
                raise NotFoundError(f"no sweep {'/'.join((*names[:2], names[3]))}")
            return sweep

    def _run(self, names: list[str]) -> Run:
        with self.database.read() as rows:
            run = run_store.find_run_by_path(rows, names[0], names[1], names[3])
        if run is None:
            raise NotFoundError(f"no run {'/'.join((*names[:2], names[3]))}")
        return run


def is_action(names: list[str]) -> bool:
    """Say whether an address, taken apart, is that of an action."""
    match names:
        case [_, _, "sweeps", _, verb]:
            return verb in _STATES
        case [_, _, "runs", _, "stop"]:
            return True
    return tuple(names) == LOG_OUT


_LOG_OUT = Question(
    title="Log out",
    words="This browser's login ends, here and in every copy of its cookie. Runs and agents go on.",
    button="Log out",
    action=address(*LOG_OUT),
    back="/",
    back_to="All sweeps",
)


def _about_sweep(
    verb: str, sweep: Sweep, states: Counter[str], at: str, *, is_open: bool
) -> Question:
    held = sum(states[state] for state in HELD_RUNS)
    waiting = states[RunState.PREEMPTED]
    name = sweep.display_name or sweep.id
    runs = _runs(held)
    words = {
        "pause": "No new run is handed out until the sweep is resumed."
        f" {runs} under way and trained to the end; the agents wait, with their GPUs."
        " sweepctl pause frees the GPUs of a cluster's sweep as well.",
        "resume": "The sweep hands out runs again, to agents that wait and to new ones.",
        "stop": f"The sweep ends: no new run is handed out. {runs} under way and trained to the"
        " end, then the agents leave.",
        "cancel": f"The sweep ends at once: no new run is handed out. {runs} under way and killed;"
        " what they have logged so far stays. This cannot be undone.",
    }[verb]
    if waiting and verb in ("stop", "cancel"):
        words += f" {_runs(waiting)} waiting to be taken again, and will not be."
    state, back = _STATES[verb], f"{at}{address(sweep.id)}"
    problem = ended_already(sweep.state, state, is_open)
    if is_already(sweep.state, state):
        problem = f"The sweep is {sweep.state.value.lower()} already."
    return Question(
        title=f"{verb.capitalize()} sweep {name}?",
        words=words,
        button=f"{verb.capitalize()} the sweep",
        action=f"{back}/{verb}",
        back=back,
        back_to="Back to the sweep",
        is_final=verb in ("stop", "cancel"),
        problem=problem,
    )


def _about_run(run: Run, at: str) -> Question:
    back = f"{at}{address(run.id)}"
    problem = _not_running(run)
    if problem is None and run.is_stop_asked and run.queued is None:
        problem = "The run was asked to stop already: its agent hears of it within seconds."
    waits = run.queued is not None
    words = (
        "The run waits to be taken again. It is killed, and no agent gets it."
        if waits
        else "Its trainer is ended and the run is killed. What it has logged so far stays; it is"
        " not trained again, and its agent takes the next run. This cannot be undone."
    )
    return Question(
        title=f"Stop run {run.display_name or run.id}?",
        words=words,
        button="Stop the run",
        action=f"{back}/stop",
        back=back,
        back_to="Back to the run",
        is_final=True,
        problem=problem,
    )


def _not_running(run: Run) -> str | None:
    """Say why a run cannot be stopped; None for one that is under way or waits."""
    if run.state in HELD_RUNS or run.queued is not None:
        return None
    return f"The run is not running: it is {run.state.value} already."


def _runs(count: int) -> str:
    return {0: "No run is", 1: "1 run is"}.get(count, f"{count} runs are")
