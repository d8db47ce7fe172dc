"""Bayes by the server's own engine, over the wire: nothing is installed besides."""

import os
import random
import re
import signal
import statistics
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sweepctl.search.next_params import next_params
from tests.contract.test_bayes import BAYES, PLANE, Agent, bowl, create
from tests.serving import ServerProcess, wait_for

GRID = {"method": "grid", "parameters": {"a": {"values": [1, 2]}}}


@pytest.fixture
def server(
    start_server: Callable[..., ServerProcess], monkeypatch: pytest.MonkeyPatch
) -> ServerProcess:
    monkeypatch.delenv("SWEEPCTL_BAYES_PYTHON", raising=False)
    return start_server()


def engine_pid(server: ServerProcess) -> int:
    return int(re.findall(r"optuna [\d.]+ in process (\d+)", server.log)[-1])


def searched(server: ServerProcess, **more: Any) -> list[dict[str, Any]]:
    agent = Agent(server, create(server, {**BAYES, "run_cap": 25, **more}))
    found = []
    while (taken := agent.take()) is not None:
        found.append(taken[1])
        agent.finish(taken[0], bowl(taken[1]))
    assert len(found) == 25
    return found


def test_it_ends_nearer_to_the_bottom_of_a_bowl_than_random_search(server: ServerProcess) -> None:
    spec = {"method": "random", "parameters": PLANE}
    by_random = statistics.mean(
        min(bowl(next_params(spec, [], rng) or {}) for _ in range(25))
        for rng in map(random.Random, range(200))
    )
    described = ({"description": f"sweepctl-seed: {seed}"} for seed in range(3))
    by_bayes = statistics.mean(min(map(bowl, searched(server, **each))) for each in described)
    assert by_bayes < by_random


@pytest.mark.parametrize("method", ["bayes", "random"])
def test_a_sweep_with_the_same_seed_has_the_same_parameters(
    server: ServerProcess, method: str
) -> None:
    same = {"method": method, "description": "as published, sweepctl-seed: 7 (2026)"}
    first = searched(server, **same)
    server.stop()
    server.start()
    assert searched(server, **same) == first
    assert searched(server, method=method, description="sweepctl-seed: 8") != first


def test_a_servers_seed_is_for_sweeps_that_name_none(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server("--seed", "7")
    named = searched(server, description="sweepctl-seed: 7")
    assert searched(server) == named
    assert searched(server, description="sweepctl-seed: 8") != named


def test_sixteen_first_asks_at_once_are_sixteen_runs(server: ServerProcess) -> None:
    sweep = create(server, BAYES)
    agents = [Agent(server, sweep) for _ in range(16)]
    with ThreadPoolExecutor(16) as pool:
        found = [each for each in pool.map(Agent.take, agents) if each]
    assert len({run for run, _ in found}) == 16
    assert len({tuple(params.items()) for _, params in found}) == 16


def test_a_sweep_keeps_its_engine_when_new_ones_get_another(server: ServerProcess) -> None:
    agent = Agent(server, create(server, BAYES))
    server.stop()
    server.options = (*server.options, "--search-engine", "wandb")
    server.start()
    assert agent.take() is not None
    assert engine_pid(server)


def test_heartbeats_are_answered_while_the_engine_hangs_and_it_ends_with_its_server(
    server: ServerProcess,
) -> None:
    first = Agent(server, create(server, BAYES))
    trains = first.take()
    assert trains is not None
    waiting, other = Agent(server, create(server, BAYES)), Agent(server, create(server, GRID))
    pid = engine_pid(server)
    os.kill(pid, signal.SIGSTOP)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(waiting.take()))
    thread.start()
    assert first.beat(trains[0]) == []
    assert other.take() is not None
    assert not found
    os.kill(pid, signal.SIGCONT)
    thread.join(120)
    assert found
    assert found[0] is not None
    os.kill(pid, signal.SIGKILL)
    first.finish(trains[0], 1.0)
    assert first.take() is not None
    again = engine_pid(server)
    assert again != pid
    server.kill()
    wait_for("the end of the engine", lambda: not os.path.exists(f"/proc/{again}"))
