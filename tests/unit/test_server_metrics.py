"""What /metrics tells: read as Prometheus reads it, by a key of its own, the server's, or none."""

import json
import math
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sweepctl.server.access.allowed import ApiKeys
from sweepctl.server.store import summary_store
from sweepctl.server.store.api_forms import node_id
from sweepctl.server.web.exposition import Sample, family
from sweepctl.server.web.metrics import Metrics
from sweepctl_pod.wandb.states import RUN_OF_NOBODY
from tests.serving import ServerProcess
from tests.unit.server_in_process import InProcessServer, served

KEY, OWN, OTHER = "k" * 40, "m" * 40, "o" * 40
SPEC = {
    "method": "grid",
    "metric": {"name": "reward", "goal": "maximize"},
    "parameters": {"a": {"values": [1, 2, 3, 4]}},
}

Told = dict[str, dict[tuple[tuple[str, str], ...], float]]


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


def told(text: str) -> Told:
    """Read an answer; every family has a type and a text, and none stands there twice."""
    found: Told = {}
    names = set()
    for metric in text_string_to_metric_families(text):
        assert metric.name not in names
        assert metric.type in ("counter", "gauge", "histogram")
        assert metric.documentation
        names.add(metric.name)
        for sample in metric.samples:
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {}), "no series twice"
            found[sample.name][labels] = sample.value
    return found


def metrics_of(server: InProcessServer) -> Told:
    answer = served(server).get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return told(answer.text)


def labels(**given: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(given.items()))


def test_runs_agents_best_and_the_age_of_heartbeats_are_told(server: InProcessServer) -> None:
    sweep = server.sweep(SPEC)
    done, training, lost, _idle = (server.agent(sweep) for _ in range(4))
    for reward in (1.5, 2.5):
        run = server.take(done)["run_id"]
        line = json.dumps({"reward": reward})
        server.stream(run, files={"wandb-summary.json": {"offset": 0, "content": [line]}})
        server.end(run, 0)
    server.take(lost)
    server.take(training)
    server.wait(70, beating=(training,))
    found = metrics_of(server)
    of = {"entity": "local", "project": "p", "sweep": sweep.id}
    assert found["sweepctl_sweeps"] == {labels(state="RUNNING"): 1}
    assert found["sweepctl_runs"][labels(**of, state="finished")] == 2
    assert sum(found["sweepctl_runs"].values()) == 4
    assert found["sweepctl_runs_expected"][labels(**of)] == 4
    best = found["sweepctl_best_metric"]
    assert best == {labels(**of, metric="reward", goal="maximize"): 2.5}
    assert found["sweepctl_agents"] == {
        labels(**of, state="running"): 1,
    }
    assert found["sweepctl_oldest_heartbeat_age_seconds"] == {labels(**of): 0}
    assert found["sweepctl_writes_total"][()] >= found["sweepctl_commit_seconds_count"][()] > 0
    assert found["process_cpu_seconds_total"][()] > 0


def test_agents_that_have_ended_are_not_silent_and_one_that_left_its_trainer_alone_is(
    server: InProcessServer,
) -> None:
    sweep = server.sweep(SPEC)
    of = {"entity": "local", "project": "p", "sweep": sweep.id}
    took_its_runs, stock, died = (server.agent(sweep) for _ in range(3))
    server.end(server.take(took_its_runs)["run_id"], 0)
    server.dispatcher.heartbeat(took_its_runs.pk, [RUN_OF_NOBODY])
    server.end(server.take(stock)["run_id"], 0)
    run = server.take(died)["run_id"]
    assert metrics_of(server)["sweepctl_agents"] == {labels(**of, state="running"): 2}
    for _ in range(7):
        server.wait(10)
        server.stream(run)
    assert metrics_of(server)["sweepctl_agents"] == {labels(**of, state="silent"): 1}


def test_what_is_told_is_written_once_for_all_who_ask_meanwhile(
    server: InProcessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics(server.database, server.presence, server.clock, server.limits)
    written: list[int] = []
    begun, asked = threading.Event(), threading.Event()

    def write(self: Metrics) -> str:
        written.append(len(written))
        begun.set()
        assert asked.wait(30)
        return f"answer {written[-1]}"

    monkeypatch.setattr(Metrics, "text", write)
    answers: list[str] = []

    async def ask() -> None:
        answers.append(await metrics.answer())

    async def ask_all() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            assert await anyio.to_thread.run_sync(begun.wait, 30)
            for _ in range(50):
                tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            asked.set()

    anyio.run(ask_all)
    assert answers == ["answer 0", *["answer 1"] * 50]


def test_an_empty_server_tells_what_it_can(server: InProcessServer) -> None:
    found = metrics_of(server)
    assert "sweepctl_runs" not in found
    assert len(found["sweepctl_info"]) == 1


def test_requests_are_counted_by_what_they_ask_and_how_they_are_answered(
    server: InProcessServer,
) -> None:
    metrics = Metrics(server.database, server.presence, server.clock, server.limits)
    client = served(server, metrics=metrics)
    sweep = server.sweep()
    agent = server.agent(sweep)
    run = server.take(agent)["run_id"]
    beat = "mutation H($i: AgentHeartbeatInput!) { agentHeartbeat(input: $i) { commands } }"
    given = {"id": node_id("Agent", agent.pk), "runState": json.dumps({run: True})}
    answers = [
        ("heartbeat", client.post("/graphql", json={"query": beat, "variables": {"i": given}})),
        ("graphql", client.post("/graphql", json={"query": "{ viewer { id } }"})),
        ("graphql", client.post("/graphql", json={"query": "{"})),
        ("stream", client.post(f"/files/local/p/{run}/file_stream", json={})),
        ("file", client.get(f"/files/local/p/{run}/none")),
        ("page", client.get("/")),
        ("page", client.get("/local/p/sweeps/none")),
        ("unknown", client.post("/somewhere", json={})),
        ("health", client.get("/healthz")),
    ]
    asked = [(kind, answer.status_code) for kind, answer in answers]
    found = told(client.get("/metrics").text)
    for kind, status in asked:
        alike = asked.count((kind, status))
        counted = found["sweepctl_requests_total"][labels(request=kind, code=str(status))]
        assert counted == alike, (kind, status)
    for kind in {kind for kind, _ in asked}:
        count = found["sweepctl_request_seconds_count"][labels(request=kind)]
        assert count == sum(1 for name, _ in asked if name == kind)
        buckets = [
            (float(dict(given)["le"]), value)
            for given, value in found["sweepctl_request_seconds_bucket"].items()
            if dict(given)["request"] == kind
        ]
        values = [value for _, value in sorted(buckets)]
        assert values == sorted(values)
        assert (max(buckets)[0], values[-1]) == (math.inf, count)


def test_odd_names_of_projects_and_metrics_break_no_line(server: InProcessServer) -> None:
    name = 'a"b\\c {x="1"} é'
    spec = {**SPEC, "metric": {"name": 'm\n"1" 2', "goal": "maximize"}}
    sweep = server.sweeps.upsert({"config": json.dumps(spec), "projectName": name})[0]
    agent = server.agent(sweep)
    run = server.take(agent)["run_id"]
    with server.database.write() as tx:
        text = json.dumps({'m\n"1" 2': 0.25})
        summary_store.write_summary(tx, server.run(run).pk, text)
    server.end(run, 0)
    found = metrics_of(server)
    of = {"entity": "local", "project": name, "sweep": sweep.id}
    assert found["sweepctl_best_metric"] == {labels(**of, metric='m\n"1" 2', goal="maximize"): 0.25}


NUMBERS = [0.0, -0.0, 1.0, 2.0**60, 1e300, 0.1, -1e-9, math.inf, -math.inf, math.nan]


@pytest.mark.parametrize("number", NUMBERS)
def test_every_number_is_read_back(number: float) -> None:
    text = family("n", "gauge", "A number.", [Sample({"half": "\ud800", "x": "\\n"}, number)])
    ((read,),) = (metric.samples for metric in text_string_to_metric_families(text))
    assert read.value == number or (math.isnan(read.value) and math.isnan(number))
    assert read.labels == {"half": "?", "x": "\\n"}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


WHO: dict[str, tuple[dict[str, Any], str, dict[str, str], int]] = {
    "no key": ({}, "", {}, 401),
    "the server's key": ({}, "", bearer(KEY), 200),
    "another key": ({"keys": ApiKeys([OWN])}, "", bearer(OTHER), 401),
    "a key of its own": ({"keys": ApiKeys([OWN])}, "", bearer(OWN), 200),
    "the server's, besides its own": ({"keys": ApiKeys([OWN])}, "", bearer(KEY), 200),
    "none beside its own": ({"keys": ApiKeys([OWN])}, "", {}, 401),
    "no keys of its own": ({"keys": ApiKeys([])}, "", {}, 401),
    "open": ({"is_open": True}, "", {}, 200),
    "a key in the address": ({}, f"?key={KEY}&api_key={KEY}&token={KEY}", {}, 401),
}


@pytest.mark.parametrize(("made", "query", "sent", "status"), WHO.values(), ids=WHO)
def test_who_may_read_them(
    server: InProcessServer, made: dict[str, Any], query: str, sent: dict[str, str], status: int
) -> None:
    metrics = Metrics(server.database, server.presence, server.clock, server.limits, **made)
    client = served(server, keys=(KEY,), metrics=metrics)
    answer = client.request("GET", f"/metrics{query}", headers=sent)
    assert answer.status_code == status
    assert ("sweepctl_info" in answer.text) == (status == 200)
    assert KEY not in answer.text
    opened = client.request("GET", "/", headers=bearer(OWN))
    assert opened.status_code == 401, "a key of its own opens nothing else"


def test_the_server_takes_keys_of_its_metrics_from_a_file(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{OWN}\n")
    server = ServerProcess(tmp_path / "data", "--metrics-keys", str(keys), is_keyed=True)
    try:
        assert server.request("GET", "/metrics", headers=bearer(OWN), key=None)[0] == 200
        assert server.request("GET", "/metrics", key=None)[0] == 401
    finally:
        server.stop()
