"""One W&B run over several attempts, with the real client and the embedded server."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.contract.locked_python import locked_python
from tests.contract.small_runs import HOOK, PACED, Small, processes_of
from tests.serving import ServerProcess, sdk_environ, wait_for

HISTORY = (
    '{ project(name: "p") { run(name: "r1") { state historyKeys'
    " history files { edges { node { name } } } summaryMetrics config } } }"
)


class Seen:
    """What W&B has of the run."""

    def __init__(self, server: ServerProcess) -> None:
        run = server.graphql(HISTORY)["project"]["run"]
        self.state = run["state"]
        self.rows = [json.loads(line) for line in run["history"]]
        self.steps = [row["_step"] for row in self.rows]
        self.files = sorted(edge["node"]["name"] for edge in run["files"]["edges"])
        self.models = [name for name in self.files if name.startswith("model_")]
        self.config = json.loads(run["config"])


def on_wandb(small: Small, server: ServerProcess) -> Small:
    small.environ = {
        **sdk_environ(server.url, small.folder / "home"),
        "WANDB_PROJECT": "p",
        "WANDB_RUN_ID": "r1",
        "WANDB_ENTITY": "local",
        "WANDB_SILENT": "false",
        "WANDB_DIR": str(small.folder),
    }
    return small


@pytest.mark.trainer
def test_run_that_was_ended_twice_has_every_step_once_and_the_models_of_an_undisturbed_one(
    make_small: Callable[..., Small], start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    server = start_server()
    small = on_wandb(make_small(), server)
    small.orders["every_s"] = 0.5
    words = ("--iterations", "60", "--interval", "10", "--logger", "wandb")
    first = small.start(*words, *PACED)
    small.reaches(12)
    first.send_signal(signal.SIGTERM)
    small.ends(143)
    seen = Seen(server)
    assert seen.steps == small.iterations()
    assert seen.models == ["model_0.pt", "model_10.pt"]

    # Whatever this attempt logs dies with it, and the models that it saves from 20 on. On a busy
    # machine it may come to its end before its next checkpoint.
    small.start(*words, *PACED, resume=small.newest)
    small.reaches(17)
    os.kill(server.pid, signal.SIGSTOP)
    small.reaches(23)
    wait_for("a checkpoint", lambda: small.manifests[-1] > 20, 300)
    for pid in processes_of(small.folder):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    small.ends(-signal.SIGKILL)
    os.kill(server.pid, signal.SIGCONT)
    last = small.manifests[-1]
    lacking = [step for step in range(last + 1) if step not in Seen(server).steps]
    assert lacking, "the client had sent everything"

    small.start(*words, resume=small.newest)
    small.end()
    assert small.lines() == [
        f"going on from checkpoint {last}, at iteration {last + 1} of 60",
        f"W&B lacked the steps {lacking[0]} to {lacking[-1]}: sent again",
    ]
    assert "less than" not in small.said(), "a warning of W&B's"
    seen = Seen(server)
    assert seen.state == "finished"
    assert seen.steps == list(range(60))
    assert all("Loss/value" in row for row in seen.rows)
    models = [f"model_{number}.pt" for number in (0, 10, 20, 30, 40, 50, 59)]
    assert seen.models == models
    assert small.models == models


LOSES_MODELS = ("--first", "from wandb.sdk.wandb_run import Run; Run.save = lambda *_, **__: None")
"""As with an attempt that is killed before W&B's client has uploaded anything."""


@pytest.mark.trainer
def test_models_that_no_attempt_could_upload_are_uploaded_though_no_iteration_is_left(
    make_small: Callable[..., Small], start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server()
    small = on_wandb(make_small(), server)
    words = ("--iterations", "30", "--interval", "10", "--logger", "wandb")
    first = small.start(*words, *LOSES_MODELS, *PACED)
    small.reaches(12)
    first.send_signal(signal.SIGTERM)
    small.ends(143)
    small.start(*words, *LOSES_MODELS, resume=small.newest)
    small.end()
    assert Seen(server).models == []

    small.start(*words, resume=small.newest)
    small.end()
    assert small.lines()[0] == "going on from checkpoint 29, at iteration 30 of 30"
    assert Seen(server).models == ["model_0.pt", "model_10.pt", "model_20.pt", "model_29.pt"]


@pytest.mark.trainer
def test_steps_that_w_and_b_has_from_a_killed_attempt_are_not_sent_again(
    make_small: Callable[..., Small], start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server()
    small = on_wandb(make_small(), server)
    words = ("--interval", "9000", "--logger", "wandb")
    small.start("--iterations", "8000", *words, *PACED)
    wait_for("a checkpoint", lambda: small.own.is_dir() and small.manifests)
    wait_for("rows at W&B", lambda: Seen(server).steps[-1:] > [5], 120)
    for pid in processes_of(small.folder):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    small.ends(-signal.SIGKILL)
    had = Seen(server).steps
    total = had[-1] + 4
    small.start("--iterations", str(total), *words, resume=small.newest)
    small.end()
    assert small.lines() == [
        f"going on from checkpoint 0, at iteration 1 of {total}",
        f"W&B has the steps 1 to {had[-1]} of an earlier attempt: not sent again",
    ]
    assert "less than" not in small.said(), "a warning of W&B's"
    assert Seen(server).steps == list(range(total))


@pytest.mark.trainer
def test_w_and_b_that_hangs_does_not_keep_a_process_that_must_leave(
    make_small: Callable[..., Small], start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server()
    small = on_wandb(make_small(), server)
    small.orders["leave_within_s"] = 8
    first = small.start("--iterations", "9000", "--logger", "wandb", *PACED)
    small.reaches(3)
    os.kill(server.pid, signal.SIGSTOP)
    began = time.monotonic()
    first.send_signal(signal.SIGTERM)
    small.ends(143)
    took_s = time.monotonic() - began
    os.kill(server.pid, signal.SIGCONT)
    assert small.manifests[-1] == small.iterations()[-1]
    assert took_s < 60, "the client itself would try for hours"


CLIENT = """
import json, os, sys
from sweepctl_pod.companion.wandb_run import HISTORY
if sys.argv[1] == "again":
    HISTORY.resume([tuple(row) for row in json.load(open("rows.json"))])
import wandb
run = wandb.init(project="p", config={"log_dir": "a"})
wandb.config.update({"train": {"attempt": sys.argv[1]}})
for step in range(int(sys.argv[2]), int(sys.argv[3])):
    wandb.log({"loss": step / 2}, step=step)
    wandb.log({"reward": float(step)}, step=step)
json.dump(HISTORY.recent(), open("rows.json", "w"))
wandb.finish(exit_code=int(sys.argv[4]))
"""


@pytest.mark.parametrize("client", ["wandb-0.22.3", "wandb-0.29.0"])
def test_older_clients_go_on_in_one_run(client: str, server: ServerProcess, tmp_path: Path) -> None:
    python = locked_python(client)
    environ = {
        **sdk_environ(server.url, tmp_path / "home"),
        "WANDB_RUN_ID": "r1",
        "WANDB_SILENT": "false",
        "PYTHONPATH": str(HOOK),
        "SWEEPCTL_COMPANION": json.dumps({"folder": str(tmp_path)}),
    }

    def log(*words: str) -> str:
        done = subprocess.run(
            [str(python), "-c", CLIENT, *words],
            env=environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    log("first", "0", "6", "143")
    # The first attempt's rows 6 to 8 died with it; of 9 and 10 the second one trains both anew.
    rows: list[Any] = json.loads((tmp_path / "rows.json").read_text())
    rows += [[step, {"loss": step / 2, "reward": float(step)}] for step in (6, 7, 8)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    said = log("again", "9", "12", "1")
    assert "W&B lacked the steps 6 to 8: sent again" in said
    assert "less than" not in said
    said = log("again", "10", "14", "0")
    assert "W&B has the steps 10 to 11 of an earlier attempt: not sent again" in said
    assert "less than" not in said
    seen = Seen(server)
    assert [(row["_step"], row["loss"], row["reward"]) for row in seen.rows] == [
        (step, step / 2, float(step)) for step in range(14)
    ]
    assert seen.config["train"]["value"] == {"attempt": "again"}
