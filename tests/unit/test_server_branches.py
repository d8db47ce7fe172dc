"""Where a run's history comes from: forks, rewinds, restarts, segments that are sent one by one."""

import json
from pathlib import Path
from typing import Any

import pytest

from sweepctl.server.graphql.executor import Executor
from sweepctl.server.graphql.resolvers import RESOLVERS
from tests.unit.server_in_process import ApiClient, InProcessServer, served

UPSERT = (
    "mutation U($i: UpsertBucketInput!) { upsertBucket(input: $i)"
    " { inserted bucket { id historyLineCount } } }"
)
READ = (
    'query Q($r: String!) { project(name: "p") { run(name: $r) { state historyLineCount'
    " lastHistoryStep summaryMetrics history historyKeys logLineCount eventsLineCount } } }"
)


@pytest.fixture(scope="module")
def executor() -> Executor:
    return Executor(RESOLVERS, lambda line: None)


@pytest.fixture
def client(tmp_path: Path, executor: Executor) -> ApiClient:
    return served(InProcessServer(tmp_path), executor)


def answer(client: ApiClient, query: str, **variables: Any) -> Any:
    return client.post("/graphql", json={"query": query, "variables": variables}).json()


def start(client: ApiClient, name: str, *, host: str = "h", **more: Any) -> Any:
    wanted = {"modelName": "p", "name": name, "host": host, **more}
    return answer(client, UPSERT, i=wanted)


def fork(client: ApiClient, name: str, parent: str, step: Any) -> Any:
    own = {"branch_point": {"run_id": parent, "step": step}}
    return start(client, name, config=json.dumps({"_wandb": {"value": own}}))


def log(client: ApiClient, name: str, offset: int, *steps: int, **files: Any) -> None:
    lines = [json.dumps({"_step": step, "loss": step * 10}) for step in steps]
    blocks = {"wandb-history.jsonl": {"offset": offset, "content": lines}} if lines else {}
    blocks |= {
        {"log": "output.log", "events": "wandb-events.jsonl"}[stream]: {"offset": at, "content": c}
        for stream, (at, c) in files.items()
    }
    body = {"files": blocks}
    assert client.post(f"/files/local/p/{name}/file_stream", json=body).status_code == 200


def summarize(client: ApiClient, name: str, **values: Any) -> None:
    block = {"offset": 0, "content": [json.dumps(values)]}
    body = {"files": {"wandb-summary.json": block}}
    assert client.post(f"/files/local/p/{name}/file_stream", json=body).status_code == 200


def read(client: ApiClient, name: str) -> dict[str, Any]:
    found: dict[str, Any] = answer(client, READ, r=name)["data"]["project"]["run"]
    found["steps"] = [json.loads(line)["_step"] for line in found["history"]]
    found["summary"] = json.loads(found["summaryMetrics"])
    return found


FORKS: dict[str, tuple[float, list[int]]] = {
    "in the middle": (3, [0, 1, 2, 3]),
    "at the end": (9, [0, 1, 2, 3, 4, 5]),
    "at the start": (0, [0]),
    "between two steps": (2.9, [0, 1, 2]),
}


@pytest.mark.parametrize(("step", "steps"), FORKS.values(), ids=FORKS)
def test_a_fork_begins_with_its_parents_history_up_to_the_step(
    client: ApiClient, step: float, steps: list[int]
) -> None:
    start(client, "parent")
    log(client, "parent", 0, 0, 1, 2)
    log(client, "parent", 3, 3, 4, 5)
    made = fork(client, "child", "parent", step)["data"]["upsertBucket"]
    assert (made["inserted"], made["bucket"]["historyLineCount"]) == (True, len(steps))
    found = read(client, "child")
    assert (found["steps"], found["summary"]["loss"]) == (steps, 10 * steps[-1])
    assert set(found["historyKeys"]["keys"]) == {"_step", "loss"}
    for _ in range(2):
        log(client, "child", len(steps), 100, 101)
    assert read(client, "child")["steps"] == [*steps, 100, 101]
    assert read(client, "parent")["steps"] == [0, 1, 2, 3, 4, 5]
    assert fork(client, "child", "parent", 1)["data"]["upsertBucket"]["inserted"] is False
    assert len(read(client, "child")["history"]) == len(steps) + 2, "only a new run is forked"


def test_a_fork_of_what_is_not_there_is_refused_and_makes_no_run(client: ApiClient) -> None:
    start(client, "other")
    said = fork(client, "child", "parent", 3)
    assert "its project has no run 'parent'" in said["errors"][0]["message"]
    assert answer(client, READ, r="child")["data"]["project"]["run"] is None


def rewind(client: ApiClient, name: str, value: float, metric: str = "_step") -> Any:
    mutation = (
        "mutation R($i: RewindRunInput!) { rewindRun(input: $i)"
        " { rewoundRun { name historyLineCount project { name entity { name } } } } }"
    )
    wanted = {"runName": name, "projectName": "p", "metricName": metric, "metricValue": value}
    return answer(client, mutation, i=wanted)


def test_a_rewound_run_goes_on_after_the_step_with_the_summary_of_then(client: ApiClient) -> None:
    start(client, "r")
    log(client, "r", 0, 0, 1, 2, 3, 4, log=(0, ["a line"]))
    summarize(client, "r", loss=40, _step=4, note="by hand")
    said = rewind(client, "r", 2)["data"]["rewindRun"]["rewoundRun"]
    assert said == {
        "name": "r",
        "historyLineCount": 3,
        "project": {"name": "p", "entity": {"name": "local"}},
    }
    found = read(client, "r")
    assert (found["steps"], found["lastHistoryStep"], found["logLineCount"]) == ([0, 1, 2], 2, 1)
    assert found["summary"] == {"_step": 2, "loss": 20, "note": "by hand"}
    id = answer(client, UPSERT, i={"modelName": "p", "name": "r"})["data"]["upsertBucket"]["bucket"]
    start(client, "r", id=id["id"])
    log(client, "r", 3, 3, 4)
    assert read(client, "r")["steps"] == [0, 1, 2, 3, 4]


REWINDS = {
    "an unknown run": ("none", 1.0, "_step", "no run local/p/none"),
    "by another metric": ("r", 1.0, "loss", "to a _step, not to a 'loss'"),
}


@pytest.mark.parametrize(("name", "value", "metric", "why"), REWINDS.values(), ids=REWINDS)
def test_a_rewind_that_cannot_be_is_refused(
    client: ApiClient, name: str, value: float, metric: str, why: str
) -> None:
    start(client, "r")
    assert why in rewind(client, name, value, metric)["errors"][0]["message"]


def test_segments_that_are_synced_one_by_one_are_one_run(client: ApiClient) -> None:
    start(client, "r")
    log(client, "r", 0, 0, 1, 2, log=(0, ["a", "b"]), events=(0, ["{}"]))
    summarize(client, "r", loss=20, first="x")
    for segment in range(1, 3):
        start(client, "r")
        summarize(client, "r", loss=0, _step=3 * segment)
        for _ in range(2):
            log(client, "r", 0, 3 * segment, log=(0, ["c"]))
        log(client, "r", 1, 3 * segment + 1, 3 * segment + 2, events=(0, ["{}"]))
        summarize(client, "r", loss=10 * (3 * segment + 2), _step=3 * segment + 2)
    found = read(client, "r")
    assert found["steps"] == list(range(9))
    assert (found["logLineCount"], found["eventsLineCount"]) == (4, 3)
    assert found["summary"] == {"loss": 80, "_step": 8, "first": "x"}
    again = start(client, "r", id=run_id(client, "r"))["data"]["upsertBucket"]["bucket"]
    assert again["historyLineCount"] == 9
    log(client, "r", 9, 9, log=(4, ["d"]))
    assert read(client, "r")["steps"] == list(range(10))
    assert read(client, "r")["logLineCount"] == 5


def run_id(client: ApiClient, name: str) -> str:
    found = answer(client, UPSERT, i={"modelName": "p", "name": name})
    return str(found["data"]["upsertBucket"]["bucket"]["id"])


def test_a_run_that_begins_again_keeps_what_it_printed_before_its_first_line_of_history(
    client: ApiClient,
) -> None:
    start(client, "r")
    log(client, "r", 0, 0, 1, 2, log=(0, ["old 0", "old 1"]), events=(0, ["{}"] * 4))
    summarize(client, "r", old=1)
    start(client, "r")
    log(client, "r", 0, log=(0, ["new 0"]), events=(0, ["{}"]))
    log(client, "r", 0, log=(1, ["new 1", "new 2"]))
    summarize(client, "r", new=1)
    assert read(client, "r")["steps"] == [0, 1, 2], "it has not said yet what it is"
    for _ in range(2):
        log(client, "r", 0, 0, 1)
    summarize(client, "r", new=2)
    found = read(client, "r")
    assert (found["steps"], found["summary"]) == ([0, 1], {"new": 2})
    assert (found["logLineCount"], found["eventsLineCount"]) == (3, 1)
    log(client, "r", 2, 2, log=(3, ["new 3"]))
    assert (read(client, "r")["steps"], read(client, "r")["logLineCount"]) == ([0, 1, 2], 4)


def test_an_older_client_that_resumes_without_saying_so_goes_on_after_the_old_lines(
    client: ApiClient,
) -> None:
    start(client, "r")
    log(client, "r", 0, 0, 1, 2, log=(0, ["a"]))
    start(client, "r")
    summarize(client, "r", loss=20)
    log(client, "r", 3, 3, log=(1, ["b"]))
    log(client, "r", 4, 4, log=(2, ["c"]))
    found = read(client, "r")
    assert (found["steps"], found["logLineCount"]) == ([0, 1, 2, 3, 4], 3)
