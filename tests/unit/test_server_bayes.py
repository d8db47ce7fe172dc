"""Handing out what the engine suggests, and what the engine is told, without the engine itself.

`Suggesting` stands in for it so that something can happen while it works; the real one is held to
its word in the contract tests.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from server_rooms import ServerRooms

from sweepctl.server.engine.dispatch import Command
from sweepctl.server.engine.sweeps_engine import SweepsEngine
from sweepctl.server.store import sweep_store as store
from sweepctl.server.store.sweep_store import Agent, Sweep

BAYES = {
    "method": "bayes",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"min": 0.0, "max": 1.0}, "k": {"value": "{}"}},
}


class Suggesting(SweepsEngine):
    """An engine that has always time and counts up; `meanwhile` happens as it works."""

    def __init__(self) -> None:
        super().__init__(None, lambda line: None)
        self.count = 0
        self.meanwhile: Callable[[], object] | None = None
        self.told: list[Mapping[str, Any]] = []

    @contextmanager
    def turn(self) -> Iterator[bool]:
        yield True

    def check(self, spec: Mapping[str, Any]) -> None:
        pass

    def suggest(self, spec: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        self.told = list(runs)
        self.count += 1
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            happens()
        return {"x": self.count / 100, "k": "{}"}


@pytest.fixture
def engine() -> Suggesting:
    return Suggesting()


@pytest.fixture
def rooms(tmp_path: Path, engine: Suggesting) -> ServerRooms:
    rooms = ServerRooms(tmp_path)
    rooms.dispatcher = replace(rooms.dispatcher, engine=engine)
    rooms.sweeps = replace(rooms.sweeps, engine=engine)
    return rooms


def pause(rooms: ServerRooms, sweep: Sweep, agent: Agent) -> None:
    rooms.set_state(sweep, "PAUSED")


def cancel(rooms: ServerRooms, sweep: Sweep, agent: Agent) -> None:
    rooms.set_state(sweep, "CANCELED")


def configure(rooms: ServerRooms, sweep: Sweep, agent: Agent) -> None:
    changed = {**BAYES, "run_cap": 1, "parameters": {"z": {"min": 0.0, "max": 1.0}}}
    rooms.sweeps.upsert({"id": sweep.id, "config": json.dumps(changed)})


def delete_agent(rooms: ServerRooms, sweep: Sweep, agent: Agent) -> None:
    with rooms.database.write() as tx:
        tx.execute("DELETE FROM agents WHERE pk = ?", (agent.pk,))


def serve_another(rooms: ServerRooms, sweep: Sweep, agent: Agent) -> None:
    assert rooms.beat(rooms.agent(sweep, "other"))[0]["type"] == "run"


def serve_the_same(rooms: ServerRooms, sweep: Sweep, agent: Agent) -> None:
    assert rooms.beat(agent)[0]["type"] == "run"


MEANWHILE: dict[str, tuple[Callable[[ServerRooms, Sweep, Agent], None], list[Command], int]] = {
    "paused": (pause, [], 0),
    "canceled": (cancel, [{"type": "exit"}], 0),
    "configured anew": (configure, [], 0),
    "agent is gone": (delete_agent, [], 0),
    "the last run went to another": (serve_another, [{"type": "exit"}], 1),
    "the agent asked again": (serve_the_same, [], 1),
}


@pytest.mark.parametrize(("happens", "commands", "count"), MEANWHILE.values(), ids=MEANWHILE)
def test_a_suggestion_is_dropped_when_it_no_longer_holds(
    rooms: ServerRooms,
    engine: Suggesting,
    happens: Callable[[ServerRooms, Sweep, Agent], None],
    commands: list[Command],
    count: int,
) -> None:
    sweep = rooms.sweep({**BAYES, "run_cap": 1})
    agent = rooms.agent(sweep)
    engine.meanwhile = lambda: happens(rooms, sweep, agent)
    assert rooms.beat(agent) == commands
    assert len(rooms.runs(sweep)) == count


def test_a_run_that_was_handed_back_meanwhile_goes_out_before_a_new_one(
    rooms: ServerRooms, engine: Suggesting
) -> None:
    sweep = rooms.sweep(BAYES)
    first, second = rooms.agent(sweep, "one"), rooms.agent(sweep, "two")
    taken = rooms.take(first)["run_id"]
    engine.meanwhile = lambda: (
        rooms.stream(taken, preempting=True),
        rooms.end(taken, 143),
        rooms.beat(first, "not-its-own"),
    )
    (command,) = rooms.beat(second)
    assert command["run_id"] == taken
    assert len(rooms.runs(sweep)) == 1


def test_the_database_takes_writes_while_the_engine_works(
    rooms: ServerRooms, engine: Suggesting
) -> None:
    sweep = rooms.sweep(BAYES)
    trains = rooms.agent(sweep, "one")
    taken = rooms.take(trains)["run_id"]
    engine.meanwhile = lambda: rooms.end(taken, 0)
    assert rooms.beat(rooms.agent(sweep, "two"))[0]["type"] == "run"
    assert rooms.states(sweep) == ["finished", "pending"]


def test_a_capped_bayes_sweep_finishes_without_asking_the_engine_again(
    rooms: ServerRooms, engine: Suggesting
) -> None:
    sweep = rooms.sweep({**BAYES, "run_cap": 1})
    agent = rooms.agent(sweep)
    rooms.end(rooms.take(agent)["run_id"], 0)
    assert rooms.beat(agent) == [{"type": "exit"}]
    assert rooms.state(sweep) == "FINISHED"
    assert engine.count == 1


def log(rooms: ServerRooms, run: str, offset: int, *losses: float) -> None:
    lines = [json.dumps({"loss": loss, "_step": n}) for n, loss in enumerate(losses, offset)]
    summary = {"offset": 0, "content": lines[-1:]}
    history = {"offset": offset, "content": lines}
    rooms.stream(run, files={"wandb-history.jsonl": history, "wandb-summary.json": summary})


def test_the_engine_is_told_states_parameters_and_the_extremes_of_the_metric(
    rooms: ServerRooms, engine: Suggesting
) -> None:
    sweep = rooms.sweep(BAYES)
    done, trains, asks = (rooms.agent(sweep, host) for host in ("one", "two", "three"))
    first, second = rooms.take(done)["run_id"], rooms.take(trains)["run_id"]
    log(rooms, first, 0, 3.0, 1.0, math.nan, 2.0)
    rooms.end(first, 0)
    rooms.beat(asks)
    assert engine.told == [
        {
            "name": first,
            "state": "finished",
            "config": {"x": {"value": 0.01}, "k": {"value": "{}"}},
            "summary_metrics": {"loss": 2.0},
            "history": [{"loss": 1.0}, {"loss": 3.0}, {"loss": 2.0}],
        },
        {
            "name": second,
            "state": "running",
            "config": {"x": {"value": 0.02}, "k": {"value": "{}"}},
            "summary_metrics": {},
            "history": [],
        },
    ]


def test_a_history_is_read_on_and_anew_when_its_run_begins_anew(rooms: ServerRooms) -> None:
    sweep = rooms.sweep(BAYES)
    agent = rooms.agent(sweep)
    taken = rooms.take(agent)
    run = taken["run_id"]

    def losses() -> list[float]:
        with rooms.database.read() as rows:
            current = store.sweep_by_pk(rows, sweep.pk)
            (told,) = rooms.dispatcher.results.whole(rows, current)
        return [line["loss"] for line in told["history"]]

    log(rooms, run, 0, 3.0, 2.0)
    assert losses() == [3.0, 2.0]
    log(rooms, run, 2, 1.0)
    log(rooms, run, 2, 1.0)
    assert losses() == [3.0, 2.0, 1.0]
    rooms.begin(taken)
    assert losses() == []
    log(rooms, run, 0, 9.0)
    assert losses() == [9.0]


def test_a_run_that_is_asked_to_stop_counts_as_killed(
    rooms: ServerRooms, engine: Suggesting
) -> None:
    sweep = rooms.sweep(BAYES)
    run = rooms.take(rooms.agent(sweep, "one"))["run_id"]
    rooms.intake.ask_stop(rooms.run(run))
    rooms.beat(rooms.agent(sweep, "two"))
    assert [told["state"] for told in engine.told] == ["killed"]
