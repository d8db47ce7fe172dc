"""Bayes by W&B's real `sweeps` package, in an environment of its own, and hyperband beside it."""

import json
import os
import random
import re
import signal
import statistics
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweepctl.search.next_params import next_params
from sweepctl.server.engine.search_engine import Draw, WandbEngine
from sweepctl.server.errors import EngineUnavailableError
from tests.contract.conftest import Sdk
from tests.contract.locked_python import locked_python
from tests.serving import ServerProcess, wait_for

BY_WANDB = ("--search-engine", "wandb")
METRIC = {"name": "loss", "goal": "minimize"}
PLANE = {"x": {"min": -1.0, "max": 1.0}, "y": {"min": -1.0, "max": 1.0}}
BAYES = {"method": "bayes", "metric": METRIC, "parameters": PLANE}
DRAW = Draw("s", "7", 0)
CREATE = (
    'mutation M($c: String!) { upsertSweep(input: {config: $c, entityName: "local",'
    ' projectName: "p"}) { sweep { name } configValidationWarnings } }'
)
JOIN = (
    'mutation A($s: String!) { createAgent(input: {host: "h", sweep: $s, entityName: "local",'
    ' projectName: "p"}) { agent { id } } }'
)
BEAT = (
    "mutation H($id: ID!, $r: JSONString!) {"
    ' agentHeartbeat(input: {id: $id, metrics: "{}", runState: $r}) { commands } }'
)
STATE = 'query Q($s: String!) { project(name: "p") { sweep(sweepName: $s) { state runCount } } }'


@pytest.fixture(scope="session")
def python() -> str:
    """Give a Python that has W&B's `sweeps`."""
    return str(locked_python("bayes"))


@pytest.fixture(scope="module")
def server(python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Give the tests' common server, which finds the package by SWEEPCTL_BAYES_PYTHON."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEPCTL_BAYES_PYTHON", python)
        server = ServerProcess(tmp_path_factory.mktemp("bayes") / "server", *BY_WANDB)
    yield server
    server.kill()


@pytest.fixture
def own_server(
    start_server: Callable[..., ServerProcess], python: str, monkeypatch: pytest.MonkeyPatch
) -> ServerProcess:
    """Give a server like the common one that a test may end."""
    monkeypatch.setenv("SWEEPCTL_BAYES_PYTHON", python)
    return start_server(*BY_WANDB)


def ask(server: ServerProcess, query: str, **variables: Any) -> dict[str, Any]:
    """Ask until the server does not say 503, as every client does."""

    def once() -> dict[str, Any] | None:
        status, answer = server.post("/graphql", {"query": query, "variables": variables})
        return None if status == 503 else answer

    return wait_for("an answer that is not 503", once, limit_s=240)


def create(server: ServerProcess, spec: dict[str, Any]) -> str:
    answer = ask(server, CREATE, c=json.dumps(spec))
    assert not answer.get("errors"), answer
    return str(answer["data"]["upsertSweep"]["sweep"]["name"])


class Agent:
    """Takes runs and says what came out, over the wire; it trains nothing."""

    def __init__(self, server: ServerProcess, sweep: str) -> None:
        self.server = server
        self.id = server.graphql(JOIN, {"s": sweep})["createAgent"]["agent"]["id"]

    def beat(self, *runs: str) -> list[dict[str, Any]]:
        reported = json.dumps(dict.fromkeys(runs, True))
        answer = ask(self.server, BEAT, id=self.id, r=reported)
        found: list[dict[str, Any]] = json.loads(answer["data"]["agentHeartbeat"]["commands"])
        return found

    def take(self) -> tuple[str, dict[str, Any]] | None:
        """Give a run's id and parameters; None when there are no more."""
        (command,) = wait_for("a command", self.beat, limit_s=120)
        if command["type"] == "exit":
            return None
        return command["run_id"], {name: given["value"] for name, given in command["args"].items()}

    def log(self, run: str, *losses: float, **more: Any) -> dict[str, Any]:
        lines = [json.dumps({"loss": loss, "_step": n}) for n, loss in enumerate(losses)]
        history = {"offset": 0, "content": lines}
        files = {"wandb-history.jsonl": history, "wandb-summary.json": {**history, "offset": 0}}
        return self.server.stream(f"local/p/{run}", {"files": files, **more})

    def finish(self, run: str, loss: float) -> None:
        self.log(run, loss, complete=True, exitcode=0)


def bowl(params: dict[str, Any]) -> float:
    return float((params["x"] - 0.3) ** 2 + (params["y"] + 0.6) ** 2)


def engine_pid(server: ServerProcess) -> int:
    return int(re.findall(r"sweeps 0\.3\.0 in process (\d+)", server.log)[-1])


def best_of_bayes(server: ServerProcess, runs: int) -> float:
    agent = Agent(server, create(server, {**BAYES, "run_cap": runs}))
    losses = []
    while (taken := agent.take()) is not None:
        losses.append(bowl(taken[1]))
        agent.finish(taken[0], losses[-1])
    assert len(losses) == runs
    return min(losses)


def best_of_random(seed: int, runs: int) -> float:
    spec = {"method": "random", "parameters": PLANE}
    rng = random.Random(seed)
    return min(bowl(next_params(spec, [], rng) or {}) for _ in range(runs))


def test_bayes_ends_nearer_to_the_bottom_of_a_bowl_than_random_search(
    server: ServerProcess,
) -> None:
    by_random = statistics.mean(best_of_random(seed, runs=25) for seed in range(200))
    by_bayes = statistics.mean(best_of_bayes(server, runs=25) for _ in range(3))
    assert by_bayes < by_random / 2


def test_eight_agents_that_ask_at_once_get_eight_different_runs(server: ServerProcess) -> None:
    sweep = create(server, {**BAYES, "run_cap": 12})
    first = Agent(server, sweep)
    for _ in range(3):
        taken = first.take()
        assert taken is not None
        first.finish(taken[0], bowl(taken[1]))
    agents = [Agent(server, sweep) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = [each for each in pool.map(Agent.take, agents) if each]
    assert len(found) == 8
    assert len({run for run, _ in found}) == 8
    assert len({tuple(params.items()) for _, params in found}) == 8


def test_the_cap_holds_when_more_agents_ask_at_once_than_runs_are_left(
    server: ServerProcess,
) -> None:
    sweep = create(server, {**BAYES, "run_cap": 3})

    def work(agent: Agent) -> list[str]:
        mine = []
        while (taken := agent.take()) is not None:
            mine.append(taken[0])
            agent.finish(taken[0], bowl(taken[1]))
        return mine

    agents = [Agent(server, sweep) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        taken = [run for runs in pool.map(work, agents) for run in runs]
    assert len(taken) == len(set(taken)) == 3
    assert server.graphql(STATE, {"s": sweep})["project"]["sweep"] == {
        "state": "FINISHED",
        "runCount": 3,
    }


def test_constants_and_kinds_of_values_pass_through(server: ServerProcess) -> None:
    gains = '{".*_knee_joint": 200.0, ".*": 1e-05}'
    parameters = {
        "gain": {"distribution": "uniform", "min": 0.5, "max": 2.0},
        "gain_cli_path": {"value": "env.scene.robot.actuators.legs.stiffness"},
        "gain_base_dict": {"value": gains},
        "agent.steps": {"min": 8, "max": 64},
        "agent.size": {"values": ["small", "big"]},
        "agent.lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-2},
        "agent.layers": {"values": [[32, 32], [64]]},
        "deep": {"parameters": {"a": {"min": 0.0, "max": 1.0}, "b": {"value": 1.0}}},
    }
    agent = Agent(server, create(server, {**BAYES, "parameters": parameters, "run_cap": 4}))
    count = 0
    while (taken := agent.take()) is not None:
        params = taken[1]
        kinds = {
            name: type(value) for name, value in params.items() if not name.startswith("gain_")
        }
        assert kinds == {
            "gain": float,
            "agent.steps": int,
            "agent.size": str,
            "agent.lr": float,
            "agent.layers": list,
            "deep": dict,
        }
        assert params["gain_base_dict"] == gains
        assert params["gain_cli_path"] == "env.scene.robot.actuators.legs.stiffness"
        assert params["deep"] == {"a": params["deep"]["a"], "b": 1.0}
        assert 0.5 <= params["gain"] <= 2.0
        assert 1e-5 <= params["agent.lr"] <= 1e-2
        agent.finish(taken[0], float(count))
        count += 1
    assert count == 4


def test_a_failed_run_and_a_metric_that_is_no_number_do_not_end_the_search(
    server: ServerProcess,
) -> None:
    agent = Agent(server, create(server, {**BAYES, "run_cap": 6}))
    for code, losses in ((0, [1.0]), (1, [2.0]), (0, [float("nan")]), (0, []), (0, [0.5, 0.25])):
        taken = agent.take()
        assert taken is not None
        agent.log(taken[0], *losses, complete=True, exitcode=code)
    assert agent.take() is not None


def test_the_stock_agent_trains_a_bayes_sweep(server: ServerProcess, sdk: Sdk) -> None:
    (sdk.home / "train.py").write_text(
        "import wandb\nwith wandb.init() as run:\n    run.log({'loss': run.config['x'] ** 2})\n"
    )
    path = sdk.home / "sweep.yaml"
    path.write_text(yaml.safe_dump({**BAYES, "program": "train.py", "run_cap": 1}))
    said = sdk.cli("sweep", "-p", "p", str(path))
    sweep = said.split("Creating sweep with ID: ")[1].split()[0]
    code, out, err = sdk.end(sdk.start_agent(f"local/p/{sweep}"))
    assert code == 0, out + err
    query = (
        'query Q($s: String!) { project(name: "p") { sweep(sweepName: $s) { state'
        " runs { edges { node { state config summaryMetrics } } } } } }"
    )
    found = server.graphql(query, {"s": sweep})["project"]["sweep"]
    (run,) = [edge["node"] for edge in found["runs"]["edges"]]
    assert (found["state"], run["state"]) == ("FINISHED", "finished")
    x = json.loads(run["config"])["x"]["value"]
    assert json.loads(run["summaryMetrics"])["loss"] == pytest.approx(x**2)


def test_an_engine_that_is_killed_is_started_anew(server: ServerProcess) -> None:
    agent = Agent(server, create(server, BAYES))
    taken = agent.take()
    assert taken is not None
    agent.finish(taken[0], 1.0)
    killed = engine_pid(server)
    os.kill(killed, signal.SIGKILL)
    assert agent.take() is not None
    assert engine_pid(server) != killed


def test_others_are_served_while_the_engine_hangs(server: ServerProcess) -> None:
    waiting = Agent(server, create(server, BAYES))
    other = Agent(
        server, create(server, {"method": "grid", "parameters": {"a": {"values": [1, 2]}}})
    )
    os.kill(engine_pid(server), signal.SIGSTOP)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(waiting.take()))
    thread.start()
    try:
        taken = other.take()
        assert taken is not None
        other.finish(taken[0], 1.0)
        assert not found
    finally:
        os.kill(engine_pid(server), signal.SIGCONT)
    thread.join(120)
    assert found
    assert found[0] is not None


def test_the_engine_ends_with_its_server(own_server: ServerProcess) -> None:
    create(own_server, BAYES)
    pid = engine_pid(own_server)
    own_server.kill()
    wait_for("the end of the engine", lambda: not Path(f"/proc/{pid}").exists())


def test_hyperband_stops_the_run_that_is_behind_and_no_other(server: ServerProcess) -> None:
    rules = {"type": "hyperband", "min_iter": 2, "eta": 2}
    spec = {"method": "random", "metric": METRIC, "parameters": PLANE, "early_terminate": rules}
    sweep = create(server, spec)
    agents = [Agent(server, sweep) for _ in range(4)]
    runs = []
    for agent, loss in zip(agents, (4.0, 3.0, 2.0, 1.0), strict=True):
        taken = agent.take()
        assert taken is not None
        runs.append(taken[0])
        agent.log(taken[0], loss + 1, loss, loss)
    worst = agents[0]
    stop = [{"type": "stop", "run_id": runs[0]}]
    wait_for("the stop command", lambda: worst.beat(runs[0]) == stop, limit_s=120)
    assert agents[3].beat(runs[3]) == []
    assert agents[2].beat(runs[2]) == []
    assert worst.log(runs[0], 5.0, 4.0, 4.0, 4.0) == {
        "exitcode": None,
        "limits": {},
        "stopped": True,
    }


def test_what_the_engine_cannot_do_is_refused_at_creation(server: ServerProcess) -> None:
    weighted = {"values": ["a", "b"], "probabilities": [0.5, 0.5]}
    spec = {**BAYES, "parameters": {"p": weighted, **PLANE}}
    (error,) = ask(server, CREATE, c=json.dumps(spec))["errors"]
    assert error["message"] == "p.probabilities: W&B's engine takes none; leave them out"


@pytest.mark.parametrize(
    ("named", "message"),
    [
        pytest.param("", "run `pip install 'sweepctl[bayes]'` where the server runs", id="none"),
        pytest.param("/nowhere/python", "cannot be run by /nowhere/python", id="no such file"),
        pytest.param(
            sys.executable, "it cannot be imported: ModuleNotFoundError", id="without sweeps"
        ),
    ],
)
def test_a_server_without_the_package_refuses_bayes_and_says_what_to_do(
    start_server: Callable[..., ServerProcess],
    monkeypatch: pytest.MonkeyPatch,
    named: str,
    message: str,
) -> None:
    monkeypatch.setenv("SWEEPCTL_BAYES_PYTHON", named)
    (error,) = ask(start_server(*BY_WANDB), CREATE, c=json.dumps(BAYES))["errors"]
    assert message in error["message"]


def test_agents_of_a_bayes_sweep_wait_while_the_server_lacks_the_package(
    own_server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(own_server, create(own_server, BAYES))
    own_server.kill()
    monkeypatch.setenv("SWEEPCTL_BAYES_PYTHON", "")
    own_server.start()
    variables = {"id": agent.id, "r": "{}"}
    status, answer = own_server.post("/graphql", {"query": BEAT, "variables": variables})
    assert status == 503
    assert "pip install 'sweepctl[bayes]'" in answer["error"]


def test_an_engine_that_hangs_is_ended_and_a_later_question_answered(python: str) -> None:
    log: list[str] = []
    engine = WandbEngine(python, log.append, limit_s=5, wait_limit_s=60)

    def suggestion() -> dict[str, Any] | None:
        try:
            with engine.turn() as is_mine:
                return engine.suggest(BAYES, [], DRAW) if is_mine else None
        except EngineUnavailableError:
            return None

    try:
        assert wait_for("a suggestion", suggestion, limit_s=240).keys() == {"x", "y"}
        hung = int(log[-1].split()[-1])
        os.kill(hung, signal.SIGSTOP)
        with engine.turn(), pytest.raises(EngineUnavailableError, match="no answer within 5 s"):
            engine.suggest(BAYES, [], DRAW)
        assert not Path(f"/proc/{hung}").exists()
        assert wait_for("a suggestion", suggestion, limit_s=240).keys() == {"x", "y"}
    finally:
        engine.close()
