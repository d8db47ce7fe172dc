"""Runs of the real wandb SDK: what a trainer logs is on the server, and its public API reads it."""

import json
from collections.abc import Callable
from typing import Any

from tests.contract.conftest import Sdk
from tests.serving import ServerProcess, wait_for

TRAIN = """
import os, sys, wandb
steps, code = int(sys.argv[1]), int(sys.argv[2])
run = wandb.init(project="p", config={"lr": 1e-05, "one": 1.5, "name": "ünï", "deep": {"a": [1]}})
for n in range(run.starting_step, run.starting_step + steps):
    run.log({"loss": 1 / (n + 1), "Metrics/a b": n, "nan": float("nan")})
print("a line on stdout")
print("a line on stderr", file=sys.stderr)
open("kept.txt", "w").write("kept")
run.save("kept.txt", policy="now")
run.summary["best"] = 7.25
if code:
    sys.exit(code)
run.finish()
"""

READ = """
import json, sys, wandb
run = wandb.Api().run(sys.argv[1])
rows = list(run.scan_history())
print(json.dumps({
    "state": run.state, "name": run.name, "id": run.id, "config": run.config,
    "summary": {k: v for k, v in run.summary.items() if not k.startswith("_")},
    "losses": [row["loss"] for row in rows], "steps": [row["_step"] for row in rows],
    "keyed": [row["loss"] for row in run.scan_history(keys=["loss"], page_size=7)],
    "sampled": len(run.history(samples=5, pandas=False)),
    "sampled_keys": run.history(samples=3, keys=["loss"], pandas=False),
    "events": len(run.history(stream="system", pandas=False)),
    "system": sorted(run.system_metrics), "last_step": run.lastHistoryStep,
    "files": sorted(f.name for f in run.files()),
    "kept": run.file("kept.txt").download(root="got", replace=True).read(),
    "program": run.metadata["python"],
    "log": [line.content for line in run.console_logs()],
    "tail": [line.content for line in run.console_logs(last=1)],
    "errors": [line.content for line in run.console_logs() if line.level == "error"],
}))
"""


def only_run(server: ServerProcess, project: str = "p") -> dict[str, Any]:
    (run,) = server_runs(server, project)
    return run


def server_runs(server: ServerProcess, project: str = "p") -> list[dict[str, Any]]:
    query = (
        "query Q($p: String) { project(name: $p) { runs { edges { node {"
        " id name state exitcode config summaryMetrics historyLineCount sweepName attempt"
        " history(samples: 100000) } } } } }"
    )
    found = server.graphql(query, {"p": project})["project"]
    return [edge["node"] for edge in found["runs"]["edges"]] if found else []


def test_everything_a_run_logs_can_be_read_back(server: ServerProcess, sdk: Sdk) -> None:
    sdk.run(TRAIN, "20", "0", WANDB_RUN_ID="r1", WANDB_NAME="a name 😀")
    found = sdk.ask(READ, "local/p/r1")
    assert (found["state"], found["name"], found["id"]) == ("finished", "a name 😀", "r1")
    assert found["config"] == {"lr": 1e-05, "one": 1.5, "name": "ünï", "deep": {"a": [1]}}
    assert found["losses"] == found["keyed"] == [1 / (n + 1) for n in range(20)]
    assert found["steps"] == list(range(20))
    assert found["last_step"] == 19
    assert found["sampled"] == 5
    assert [row["_step"] for row in found["sampled_keys"]] == [0, 9, 19]
    assert found["summary"]["best"] == 7.25
    assert found["summary"]["Metrics/a b"] == 19
    assert found["events"] >= 1
    assert any(key.startswith("system.") for key in found["system"])
    assert {"kept.txt", "wandb-metadata.json", "output.log", "config.yaml"} <= set(found["files"])
    assert found["kept"] == "kept"
    assert found["program"].startswith("CPython")
    assert "a line on stdout" in found["log"]
    assert "a line on stderr" in found["errors"]
    assert found["tail"] == found["log"][-1:]
    assert "unexpected" not in server.log
    assert "503" not in server.log


def test_a_trainer_that_ends_badly_has_failed_with_all_that_it_logged(
    server: ServerProcess, sdk: Sdk
) -> None:
    assert sdk.end(sdk.start(TRAIN, "2", "3"))[0] == 3
    run = only_run(server)
    assert (run["state"], run["exitcode"], run["historyLineCount"]) == ("failed", 3, 2)


def test_a_resumed_run_goes_on_with_its_steps_and_a_new_one_of_the_same_id_starts_anew(
    server: ServerProcess, sdk: Sdk
) -> None:
    sdk.run(TRAIN, "5", "0", WANDB_RUN_ID="r1", WANDB_RESUME="allow")
    sdk.run(TRAIN, "3", "0", WANDB_RUN_ID="r1", WANDB_RESUME="allow")
    found = sdk.ask(READ, "local/p/r1")
    assert found["losses"] == [1 / (n + 1) for n in range(8)]
    assert found["summary"]["best"] == 7.25
    assert found["log"].count("a line on stdout") == 2
    sdk.run(TRAIN, "4", "0", WANDB_RUN_ID="r1")
    assert sdk.ask(READ, "local/p/r1")["losses"] == [1 / (n + 1) for n in range(4)]
    assert len(server_runs(server)) == 1


def test_a_run_that_is_killed_is_crashed_after_its_silence(
    start_server: Callable[..., ServerProcess], make_sdk: Callable[[str], Sdk]
) -> None:
    server = start_server("--run-timeout-s", "3")
    child = make_sdk(server.url).start(
        "import os, wandb; r = wandb.init(project='p'); r.log({'a': 1}); print('up', flush=True);"
        " import time; time.sleep(600)"
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    assert only_run(server)["state"] == "running"
    child.kill()
    wait_for("the verdict", lambda: only_run(server)["state"] == "crashed")


def test_a_run_that_is_stopped_from_outside_ends_by_itself(server: ServerProcess, sdk: Sdk) -> None:
    child = sdk.start(
        # The client sends SIGINT, which a shell has its background jobs ignore, and they their own.
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import time, wandb\nr = wandb.init(project='p')\n"
        "while True:\n    r.log({'a': 1})\n    time.sleep(0.05)"
    )
    wait_for("the run", lambda: server_runs(server))
    sdk.run("import sys, wandb; wandb.Api().run(sys.argv[1]).stop()", run_path(server))
    assert "is asked to stop" in server.log
    code, _, _ = sdk.end(child)
    assert code != 0
    assert only_run(server)["state"] == "killed"


def run_path(server: ServerProcess) -> str:
    return f"local/p/{only_run(server)['name']}"


def test_a_run_marked_preempting_that_ends_badly_is_preempted(
    server: ServerProcess, sdk: Sdk
) -> None:
    child = sdk.start(
        "import sys, wandb; r = wandb.init(project='p'); r.mark_preempting(); sys.exit(143)"
    )
    assert sdk.end(child)[0] == 143
    assert only_run(server)["state"] == "preempted"


def test_the_public_api_changes_and_deletes_runs(server: ServerProcess, sdk: Sdk) -> None:
    sdk.run(TRAIN, "1", "0", WANDB_RUN_ID="r1")
    sdk.run(
        "import wandb; r = wandb.Api().run('local/p/r1'); r.config['more'] = 2.5;"
        " r.tags = ['x']; r.summary['late'] = 3; r.update();"
        " open('late.txt', 'w').write('late'); r.upload_file('late.txt');"
        " r.file('kept.txt').delete()"
    )
    run = only_run(server)
    assert run["state"] == "finished"
    assert json.loads(run["config"])["more"]["value"] == 2.5
    assert json.loads(run["config"])["lr"]["value"] == 1e-05
    assert json.loads(run["summaryMetrics"])["late"] == 3
    names = sdk.ask(
        "import json, wandb; r = wandb.Api().run('local/p/r1');"
        " print(json.dumps([r.tags, sorted(f.name for f in r.files())]))"
    )
    assert names[0] == ["x"]
    assert "late.txt" in names[1]
    assert "kept.txt" not in names[1]
    sdk.run("import wandb; wandb.Api().run('local/p/r1').delete()")
    assert server_runs(server) == []


def test_a_server_with_keys_takes_the_right_one_and_refuses_another(
    start_server: Callable[..., ServerProcess], make_sdk: Callable[[str], Sdk], tmp_path: Any
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("k" * 40 + "\n")
    server = start_server("--api-keys", str(keys))
    sdk = make_sdk(server.url)
    sdk.run(TRAIN, "3", "0", WANDB_API_KEY="k" * 40, WANDB_RUN_ID="r1")
    sdk.environ["WANDB_API_KEY"] = "k" * 40
    found = sdk.ask(READ, "local/p/r1")
    assert (found["state"], found["kept"]) == ("finished", "kept")
    code, out, err = sdk.end(sdk.start(TRAIN, "3", "0", WANDB_API_KEY="x" * 40))
    assert code != 0
    assert "the API key is not one of this server's" in out + err
    assert "k" * 40 not in server.log


def test_a_header_tells_the_clients_of_an_earlier_attempt_apart(
    server: ServerProcess, sdk: Sdk
) -> None:
    """The SDK sends what WANDB__EXTRA_HTTP_HEADERS holds: our agent puts the attempt there."""
    for attempt, steps in (("0", 3), ("9", 5)):
        headers = json.dumps({"X-Sweepctl-Attempt": attempt})
        child = sdk.start(
            TRAIN, str(steps), "0", WANDB_RUN_ID="r1", WANDB__EXTRA_HTTP_HEADERS=headers
        )
        sdk.end(child)
    run = only_run(server)
    assert (run["attempt"], run["historyLineCount"], run["state"]) == (0, 3, "finished")
