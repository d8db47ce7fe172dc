"""Trouble on the way: a killed server, lost answers, many agents at once, a full disk."""

import contextlib
import json
import os
import random
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sweepctl_pod.wandb.client import ApiError, Connection, SweepInfo, WandbClient
from sweepctl_pod.wandb.outputs import end_body, find_file
from tests import needs
from tests.contract.conftest import Sdk
from tests.contract.faulty_proxy import FaultyProxy
from tests.serving import API_KEY, ServerProcess, wait_for

FULL = r"disk is full|No space left|File too large|disk I/O error"

LOGGING = """
import pathlib, time, wandb
run = wandb.init(project="p", id="r1")
stop = pathlib.Path("stop")
count = 0
while not stop.exists():
    run.log({"n": count})
    print("line", count)
    count += 1
    time.sleep(0.01)
run.finish()
print("logged", count)
"""


def history(server: ServerProcess) -> list[int]:
    query = '{ project(name: "p") { run(name: "r1") { state history(samples: 100000) } } }'
    project = server.graphql(query)["project"]
    run = project["run"] if project else None
    return [json.loads(line)["n"] for line in run["history"]] if run else []


def test_a_server_killed_while_a_run_logs_has_every_line_once_in_the_end(
    server: ServerProcess, sdk: Sdk
) -> None:
    child = sdk.start(LOGGING)
    wait_for("lines", lambda: history(server), limit_s=60)
    acknowledged = history(server)
    server.kill()
    server.start()
    assert history(server) == acknowledged, "what was acknowledged is on the disk"
    wait_for("more lines", lambda: len(history(server)) > len(acknowledged), limit_s=90)
    server.kill()
    server.start()
    (sdk.home / "stop").touch()
    code, out, err = sdk.end(child)
    assert code == 0, err
    count = int(out.split("logged ")[1])
    assert history(server) == list(range(count))
    assert "run r1 is finished (exit code 0)" in server.log


def test_lost_answers_double_no_line_and_no_run(
    server: ServerProcess, make_sdk: Callable[[str], Sdk]
) -> None:
    asked: dict[str, int] = {}

    def spoil(path: str, body: bytes) -> str | None:
        if not path.endswith("file_stream") and b"UpsertBucket" not in body:
            return None
        kind = path.rpartition("/")[2]
        asked[kind] = asked.get(kind, 0) + 1
        return ("drop", "502")[asked[kind] // 2 % 2] if asked[kind] % 2 else None

    proxy = FaultyProxy(server.url, spoil)
    try:
        sdk = make_sdk(proxy.url)
        child = sdk.start(LOGGING)
        wait_for("lines", lambda: history(server), limit_s=60)
        (sdk.home / "stop").touch()
        code, out, err = sdk.end(child)
        assert code == 0, err
    finally:
        proxy.close()
    count = int(out.split("logged ")[1])
    assert history(server) == list(range(count))
    assert {path.rpartition("/")[2] for path in proxy.spoiled} == {"graphql", "file_stream"}
    runs = server.graphql('{ project(name: "p") { runCount run(name: "r1") { state } } }')
    assert runs["project"] == {"runCount": 1, "run": {"state": "finished"}}


def client_of(url: str) -> WandbClient:
    return WandbClient(Connection(base_url=url, api_key=API_KEY, entity="local"))


def create(server: ServerProcess, **spec: Any) -> SweepInfo:
    return client_of(server.url).create_sweep("local", "p", json.dumps(spec))


def train(url: str, sweep: SweepInfo, host: str, taken: list[Any]) -> None:
    """Take runs until told to leave, as a small agent whose trainings take no time."""
    client = client_of(url)
    agent = retried(lambda: client.register_agent("local", "p", sweep.id, host))
    while True:
        commands = retried(lambda: client.heartbeat(agent, []))
        for command in commands:
            if command["type"] == "exit":
                return
            if command["type"] in ("run", "resume"):
                finish(client, command)
                taken.append(command["args"]["a"]["value"])
        if not commands:
            time.sleep(0.05)


def finish(client: WandbClient, command: dict[str, Any]) -> None:
    place = ("local", "p", command["run_id"])
    retried(lambda: client.post_file_stream(*place, end_body(0), command["attempt"]))


def retried(ask: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while True:
        try:
            return ask()
        except ApiError as error:
            if not error.is_transient or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def run_agents(url: str, sweep: SweepInfo, count: int) -> list[Any]:
    taken: list[Any] = []
    threads = [
        threading.Thread(target=train, args=(url, sweep, f"h{n}", taken)) for n in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    return taken


def outcome(server: ServerProcess, sweep: SweepInfo) -> tuple[str, list[str], list[Any]]:
    runs = list(client_of(server.url).runs("local", "p", sweep.id))
    state = client_of(server.url).sweep("local", "p", sweep.id).state
    return state, [run.state for run in runs], [run.config["a"] for run in runs]


def test_two_agents_take_each_of_fifty_points_once(server: ServerProcess) -> None:
    sweep = create(server, method="grid", parameters={"a": {"values": list(range(50))}})
    taken = run_agents(server.url, sweep, 2)
    assert sorted(taken) == list(range(50))
    assert outcome(server, sweep) == ("FINISHED", ["finished"] * 50, list(range(50)))


def test_lost_answers_to_agents_lose_and_double_no_run(server: ServerProcess) -> None:
    chance = random.Random(1)

    def spoil(path: str, body: bytes) -> str | None:
        # Not every so many: three agents in step would lose the same run each time.
        return chance.choices(["drop", "502", None], [1, 1, 4])[0] if b"Heartbeat" in body else None

    sweep = create(server, method="grid", parameters={"a": {"values": list(range(50))}})
    proxy = FaultyProxy(server.url, spoil)
    try:
        taken = run_agents(proxy.url, sweep, 3)
    finally:
        proxy.close()
    assert len(proxy.spoiled) > 10
    assert sorted(taken) == list(range(50))
    assert outcome(server, sweep) == ("FINISHED", ["finished"] * 50, list(range(50)))


def test_a_server_killed_again_and_again_loses_and_doubles_no_run(server: ServerProcess) -> None:
    sweep = create(server, method="grid", parameters={"a": {"values": list(range(60))}})
    done = threading.Event()

    def kill_and_start() -> None:
        for _ in range(4):
            if done.wait(0.3):
                return
            server.kill()
            server.start()

    killing = threading.Thread(target=kill_and_start)
    killing.start()
    try:
        run_agents(server.url, sweep, 2)
    finally:
        done.set()
        killing.join()
    assert outcome(server, sweep) == ("FINISHED", ["finished"] * 60, list(range(60)))


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """Give a folder on a file system of 3 MB, and the function that makes room on it."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        needs.lacks("no right to mount a small file system")
    ballast = folder / "ballast"
    ballast.write_bytes(b"x" * (1 << 20))
    try:
        yield folder / "data", ballast.unlink
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_a_passing_trouble(
    tmp_path: Path, start_server: Callable[..., ServerProcess]
) -> None:
    with small_disk(tmp_path / "small") as (data, make_room):
        server = start_server(data=data)
        try:
            fill_and_free(server, make_room, kinds=1)
        finally:
            server.kill()


def test_a_data_file_that_may_not_grow_is_a_passing_trouble(
    start_server: Callable[..., ServerProcess],
) -> None:
    """The same without the right to mount: the limit on the size of files is the disk's end."""
    server = start_server()
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    # The database cannot tell this from a broken disk, the upload can.
    make_room = lambda: resource.prlimit(server.pid, resource.RLIMIT_FSIZE, unlimited)  # noqa: E731
    fill_and_free(server, make_room, kinds=2)


def fill_and_free(server: ServerProcess, make_room: Callable[[], object], *, kinds: int) -> None:
    """Post until nothing fits, see that nothing is half there, make room and go on."""
    sweep = create(server, method="grid", parameters={"a": {"values": [1, 2]}})
    client = client_of(server.url)
    agent = client.register_agent("local", "p", sweep.id, "h")
    (command,) = client.heartbeat(agent, [])
    run = f"local/p/{command['run_id']}"
    upload = upload_url(server, command["run_id"])
    lines = [json.dumps({"_step": n, "text": "x" * 1000}) for n in range(100)]
    posted, status = 0, 200
    answer: object = None
    while status == 200:
        assert posted < 10_000
        body = {"files": {"wandb-history.jsonl": {"offset": posted, "content": lines}}}
        status, answer = server.post(f"/files/{run}/file_stream", body)
        posted += 100 if status == 200 else 0
    assert status == 503, answer
    assert server.request("GET", "/healthz")[0] == 200
    assert line_count(server, command["run_id"]) == posted
    ended = {**body, "complete": True, "exitcode": 0}
    assert server.post(f"/files/{run}/file_stream", ended)[0] == 503
    status, headers, _ = server.request("PUT", upload, b"y" * (4 << 20), key=None)
    assert status == 503
    assert headers["retry-after"]
    info = client.run("local", "p", command["run_id"])
    assert info is not None
    assert info.state == "running"
    assert find_file(client, ("local", "p", command["run_id"]), "output.log") is None
    for _ in range(20):
        assert server.post(f"/files/{run}/file_stream", ended)[0] == 503
    told = [line for line in server.log.splitlines() if re.search(FULL, line)]
    assert 1 <= len(told) <= kinds, "once each, not by each request"
    make_room()
    server.stream(run, ended, attempt=1)
    assert line_count(server, command["run_id"]) == posted + 100
    assert server.request("PUT", upload, b"small", key=None)[0] == 200
    run_agents(server.url, sweep, 1)
    assert outcome(server, sweep)[:2] == ("FINISHED", ["finished"] * 2)
    assert "Traceback" not in server.log
    wait_for("the end of the trouble", lambda: "over, after 2" in server.log)
    assert len(re.findall(FULL, server.log)) <= 2 * kinds


def upload_url(server: ServerProcess, run: str) -> str:
    query = (
        'mutation M($r: String!) { createRunFiles(input: {entityName: "local", projectName:'
        ' "p", runName: $r, files: ["big"]}) { files { uploadUrl } } }'
    )
    created = server.graphql(query, {"r": run})["createRunFiles"]
    return str(created["files"][0]["uploadUrl"])


def line_count(server: ServerProcess, run: str) -> int:
    query = 'query Q($r: String!) { project(name: "p") { run(name: $r) { historyLineCount } } }'
    return int(server.graphql(query, {"r": run})["project"]["run"]["historyLineCount"])


def test_sigterm_ends_the_server_in_good_order(server: ServerProcess) -> None:
    create(server, method="grid", parameters={"a": {"values": [1]}})
    assert server.stop() == 0
    assert server.log.endswith("sweepctl server: ended\n")
    server.start()
    found = server.graphql('{ project(name: "p") { totalSweeps } }')
    assert found["project"]["totalSweeps"] == 1


def test_a_taken_port_is_refused_with_its_name(server: ServerProcess, tmp_path: Path) -> None:
    listen = server.url.removeprefix("http://")
    command = [sys.executable, "-m", "sweepctl.server", "--data", str(tmp_path / "other")]
    ended = subprocess.run([*command, "--listen", listen], capture_output=True, text=True)
    assert ended.returncode == 1
    assert f"cannot listen on {listen}: Address already in use" in ended.stderr
    assert "Traceback" not in ended.stderr
