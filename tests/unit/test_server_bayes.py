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

from sweepctl.server.engine.dispatch import Command
from sweepctl.server.engine.search_engine import Draw, Engines, SearchEngine
from sweepctl.server.store import sweep_store
from sweepctl.server.store.sweep_store import RegisteredAgent, Sweep
from tests.unit.server_in_process import InProcessServer

BAYES = {
    "method": "bayes",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"x": {"min": 0.0, "max": 1.0}, "k": {"value": "{}"}},
}


class Suggesting(SearchEngine):
    """An engine that has always time and counts up; `meanwhile` happens as it works."""

    def __init__(self) -> None:
        super().__init__(None, lambda line: None)
        self.count = 0
        self.meanwhile: Callable[[], object] | None = None
        self.told: list[Mapping[str, Any]] = []

    @contextmanager
    def turn(self) -> Iterator[bool]:
        yield True

    def check(self, spec: Mapping[str, Any]) -> list[str]:
        return []

    def suggest(
        self, spec: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], draw: Draw
    ) -> dict[str, Any]:
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
def server(tmp_path: Path, engine: Suggesting) -> InProcessServer:
    server = InProcessServer(tmp_path)
    engines = Engines(engine, engine)
    server.dispatcher = replace(server.dispatcher, engines=engines)
    server.sweeps = replace(server.sweeps, engines=engines)
    return server


def pause(server: InProcessServer, sweep: Sweep, agent: RegisteredAgent) -> None:
    server.set_state(sweep, "PAUSED")


def cancel(server: InProcessServer, sweep: Sweep, agent: RegisteredAgent) -> None:
    server.set_state(sweep, "CANCELED")


def configure(server: InProcessServer, sweep: Sweep, agent: RegisteredAgent) -> None:
    changed = {**BAYES, "run_cap": 1, "parameters": {"z": {"min": 0.0, "max": 1.0}}}
    server.sweeps.upsert({"id": sweep.id, "config": json.dumps(changed)})


def delete_agent(server: InProcessServer, sweep: Sweep, agent: RegisteredAgent) -> None:
    with server.database.write() as tx:
        tx.execute("DELETE FROM agents WHERE pk = ?", (agent.pk,))


def serve_another(server: InProcessServer, sweep: Sweep, agent: RegisteredAgent) -> None:
    assert server.beat(server.agent(sweep, "other"))[0]["type"] == "run"


def serve_the_same(server: InProcessServer, sweep: Sweep, agent: RegisteredAgent) -> None:
    assert server.beat(agent)[0]["type"] == "run"


MEANWHILE: dict[
    str, tuple[Callable[[InProcessServer, Sweep, RegisteredAgent], None], list[Command], int]
] = {
    "paused": (pause, [], 0),
    "canceled": (cancel, [{"type": "exit"}], 0),
    "configured anew": (configure, [], 0),
    "agent is gone": (delete_agent, [], 0),
    "the last run went to another": (serve_another, [{"type": "exit"}], 1),
    "the agent asked again": (serve_the_same, [], 1),
}


@pytest.mark.parametrize(("happens", "commands", "count"), MEANWHILE.values(), ids=MEANWHILE)
def test_a_suggestion_is_dropped_when_it_no_longer_holds(
    server: InProcessServer,
    engine: Suggesting,
    happens: Callable[[InProcessServer, Sweep, RegisteredAgent], None],
    commands: list[Command],
    count: int,
) -> None:
    sweep = server.sweep({**BAYES, "run_cap": 1})
    agent = server.agent(sweep)
    engine.meanwhile = lambda: happens(server, sweep, agent)
    assert server.beat(agent) == commands
    assert len(server.runs(sweep)) == count


def test_a_run_that_was_handed_back_meanwhile_goes_out_before_a_new_one(
    server: InProcessServer, engine: Suggesting
) -> None:
    sweep = server.sweep(BAYES)
    first, second = server.agent(sweep, "one"), server.agent(sweep, "two")
    taken = server.take(first)["run_id"]

    def hand_back() -> None:
        server.stream(taken, preempting=True)
        server.end(taken, 143)
        server.beat(first, "not-its-own")

    engine.meanwhile = hand_back
    (command,) = server.beat(second)
    assert command["run_id"] == taken
    assert len(server.runs(sweep)) == 1


def test_the_database_takes_writes_while_the_engine_works(
    server: InProcessServer, engine: Suggesting
) -> None:
    sweep = server.sweep(BAYES)
    trains = server.agent(sweep, "one")
    taken = server.take(trains)["run_id"]
    engine.meanwhile = lambda: server.end(taken, 0)
    assert server.beat(server.agent(sweep, "two"))[0]["type"] == "run"
    assert server.states(sweep) == ["finished", "pending"]


def test_a_capped_bayes_sweep_finishes_without_asking_the_engine_again(
    server: InProcessServer, engine: Suggesting
) -> None:
    sweep = server.sweep({**BAYES, "run_cap": 1})
    agent = server.agent(sweep)
    server.end(server.take(agent)["run_id"], 0)
    assert server.beat(agent) == [{"type": "exit"}]
    assert server.state(sweep) == "FINISHED"
    assert engine.count == 1


def log(server: InProcessServer, run: str, offset: int, *losses: float) -> None:
    lines = [json.dumps({"loss": loss, "_step": n}) for n, loss in enumerate(losses, offset)]
    summary = {"offset": 0, "content": lines[-1:]}
    history = {"offset": offset, "content": lines}
    server.stream(run, files={"wandb-history.jsonl": history, "wandb-summary.json": summary})


def test_the_engine_is_told_states_parameters_and_the_extremes_of_the_metric(
    server: InProcessServer, engine: Suggesting
) -> None:
    sweep = server.sweep(BAYES)
    done, trains, asks = (server.agent(sweep, host) for host in ("one", "two", "three"))
    first, second = server.take(done)["run_id"], server.take(trains)["run_id"]
    log(server, first, 0, 3.0, 1.0, math.nan, 2.0)
    server.end(first, 0)
    server.beat(asks)
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


def test_a_history_is_read_on_and_anew_when_its_run_begins_anew(server: InProcessServer) -> None:
    sweep = server.sweep(BAYES)
    agent = server.agent(sweep)
    taken = server.take(agent)
    run = taken["run_id"]

    def losses() -> list[float]:
        with server.database.read() as rows:
            current = sweep_store.sweep_by_pk(rows, sweep.pk)
            (told,) = server.dispatcher.results.logged(rows, current)
        return list(told.values)

    log(server, run, 0, 3.0, 2.0)
    assert losses() == [3.0, 2.0]
    log(server, run, 2, 1.0)
    log(server, run, 2, 1.0)
    assert losses() == [3.0, 2.0, 1.0]
    server.begin(taken)
    assert losses() == []
    log(server, run, 0, 9.0)
    assert losses() == [9.0]


def test_a_run_that_is_asked_to_stop_counts_as_killed(
    server: InProcessServer, engine: Suggesting
) -> None:
    sweep = server.sweep(BAYES)
    run = server.take(server.agent(sweep, "one"))["run_id"]
    server.intake.ask_stop(server.run(run))
    server.beat(server.agent(sweep, "two"))
    assert [told["state"] for told in engine.told] == ["killed"]
