"""What a run's agent leaves with the run: why it did not finish, what was printed, the argv."""

import html
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from signal import SIGABRT, SIGKILL
from typing import Any

import pytest

from sweepctl_pod.run_record import RECORD_FILE, read_record
from sweepctl_pod.wandb.client import RunInfo
from sweepctl_pod.wandb.outputs import console_count, console_lines, download_file, find_file
from sweepctl_pod.wandb.summary import REASON_KEY, reason_of, runtime_s
from tests.contract.agents import SOURCES, TRAINER, World
from tests.serving import API_KEY

SECRET = "hunter2-and-some-more"


def place(run: RunInfo) -> tuple[str, str, str]:
    return ("local", "agents", run.id)


def page(world: World, run: RunInfo) -> str:
    _, _, body = world.server.request("GET", f"/local/agents/runs/{run.id}")
    return body.decode()


def record_of(world: World, run: RunInfo, folder: Path) -> dict[str, Any]:
    file = find_file(world.client, place(run), RECORD_FILE)
    assert file is not None
    download_file(world.client, file, folder / RECORD_FILE)
    text = (folder / RECORD_FILE).read_text()
    assert read_record(text) is not None
    return dict(json.loads(text))


@pytest.mark.parametrize(
    ("words", "state", "reason"),
    [
        pytest.param(
            ["say:FileNotFoundError: motions.npz", "exit:3"],
            "failed",
            "the trainer ended with exit code 3; its last line: FileNotFoundError: motions.npz",
            id="before-it-logs",
        ),
        pytest.param(["say:bye"], "failed", "the trainer opened no W&B run", id="never-logs"),
        pytest.param(
            ["log:reward", "say:bye"],
            "failed",
            "metric loss was not logged: it logged reward",
            id="logs-another",
        ),
        pytest.param(
            ["say:free(): invalid pointer", f"signal:{SIGABRT:d}"],
            "failed",
            "ended by SIGABRT; its last line: free(): invalid pointer",
            id="signal",
        ),
        pytest.param(
            ["note:start", "say:step", f"signal:{SIGKILL:d}"],
            "failed",
            "the trainer was killed from outside (SIGKILL; out of memory?)",
            id="killed-each-time",
        ),
    ],
)
def test_reason_output_and_duration_of_a_failed_run_are_at_its_server(
    words: list[str], state: str, reason: str, world: World
) -> None:
    sweep = world.sweep(world.trainer(*words))
    agent = world.start(sweep)
    agent.wait()
    run = world.run(sweep)
    assert run.state == state, agent.said
    assert reason in (reason_of(run.summary) or ""), agent.said
    assert runtime_s(run.summary) is not None
    said = [word.partition(":")[2] for word in words if word.startswith("say:")][-1]
    assert said in "\n".join(console_lines(world.client, place(run)))
    shown = page(world, run)
    assert re.search(r'class="why">[^<]*' + re.escape(reason.replace("&", "&amp;")), shown)
    if "log:reward" in words:
        assert run.summary["reward"] == 1.5


def test_later_attempt_that_finishes_takes_the_reason_away_and_its_output_follows(
    world: World,
) -> None:
    words = ["note:start", "say:hello", f"signal-once:{SIGKILL:d}", "log"]
    sweep = world.sweep(world.trainer(*words))
    agent = world.start(sweep)
    assert agent.wait() == 0, agent.said
    run = world.run(sweep)
    assert run.state == "finished"
    assert REASON_KEY not in run.summary
    assert run.summary["loss"] == 1.5
    assert [line.split()[-1] for line in console_lines(world.client, place(run))] == ["hello"] * 2


def test_trainer_that_cannot_start_leaves_its_reason(world: World) -> None:
    sweep = world.sweep(["/no/such/trainer"])
    assert world.start(sweep).wait() == 78
    run = world.run(sweep)
    assert "cannot be started: /no/such/trainer" in (reason_of(run.summary) or "")
    assert run.state == "preempted"


def test_parameters_that_make_no_command_leave_their_reason(world: World) -> None:
    parameters = {"env.gain": {"value": "a\u0000b"}}
    sweep = world.sweep(world.trainer("log"), parameters=parameters)
    world.start(sweep).wait()
    assert "NUL" in (reason_of(world.run(sweep).summary) or "")


def test_stopped_run_says_who_stopped_it(world: World) -> None:
    sweep = world.sweep(world.trainer("log", "note:start", "hang"))
    agent = world.start(sweep)
    world.wait_noted("start")
    world.stop_run(world.run(sweep))
    assert agent.wait() == 0, agent.said
    run = world.run(sweep)
    assert (run.state, reason_of(run.summary)) == ("killed", "W&B asked for it")
    assert run.summary["loss"] == 1.5


def test_long_output_is_uploaded_with_its_beginning_and_end(world: World) -> None:
    sweep = world.sweep(world.trainer("say:first", "flood:100000", "say:last", "exit:1"))
    agent = world.start(sweep)
    agent.wait()
    run = world.run(sweep)
    found = [line.partition(" ")[2] or line for line in console_lines(world.client, place(run))]
    texts = console_lines(world.client, place(run))
    assert texts[0].endswith("first")
    assert texts[-1].endswith("last")
    (gap,) = [text for text in texts if "left out" in text]
    assert str(world.work / run.id / "trainer.log") in gap
    assert sum(len(line) for line in found) < 600_000
    assert len(texts) == console_count(world.client, place(run)) > 10_000


def test_output_stays_here_where_the_user_wants_none_at_wandb(world: World) -> None:
    sweep = world.sweep(world.trainer("say:private", "exit:1"))
    world.start(sweep, WANDB_CONSOLE="off").wait()
    assert console_count(world.client, place(world.run(sweep))) == 0


def isaac(world: World, steps: str) -> dict[str, str]:
    """Put the stand-in for Isaac Lab on the PATH; give the environment in which it does so."""
    program = world.folder / "isaaclab"
    fake = Path(__file__).with_name("fake_isaaclab.py").read_text()
    program.write_text(f"#!{sys.executable}\n{fake}")
    program.chmod(0o755)
    return {
        "PATH": f"{world.folder}:{world.environ['PATH']}",
        "FAKE": steps,
        "FAKE_PLAIN": str(TRAINER),
        "FAKE_LEDGER": str(world.ledger),
    }


@pytest.mark.parametrize(
    ("options", "state"), [([], "finished"), (["--settings", "require"], "failed")]
)
def test_run_whose_settings_nobody_could_read_says_so_everywhere(
    options: list[str], state: str, world: World
) -> None:
    command = ["isaaclab", "train", "--rl_library", "rsl_rl", "${overrides}"]
    sweep = world.sweep(command)
    environ = isaac(world, "folder iterate record:garbage log end")
    agent = world.start(sweep, *options, **environ)
    agent.wait()
    run = world.run(sweep)
    assert run.state == state, agent.said
    why = reason_of(run.summary) or ""
    assert why.startswith("settings unverified: ")
    assert why in html.unescape(page(world, run))
    assert why in agent.said

    def status(form: str) -> str:
        name = f"local/agents/{sweep.id}"
        command = ["status", name, "--server", world.server.url, "-o", form]
        return subprocess.run(
            [sys.executable, "-m", "sweepctl", *command],
            env=world.environ,
            capture_output=True,
            text=True,
        ).stdout

    assert [row["reason"] for row in json.loads(status("json"))["runs"]] == [why]
    assert f"run {run.id} {state}: {why}" in status("table")


NAN_TRAINER = """
import sys, wandb
run = wandb.init()
run.log({"loss": 2.0, "other": 1})
run.log({"loss": float(sys.argv[1])})
run.finish()
"""


@pytest.mark.parametrize(
    ("value", "said"),
    [("nan", "metric loss is NaN at step 1"), ("-inf", "metric loss is -Infinity at step 1")],
)
def test_diverged_run_of_the_real_client_fails_and_keeps_what_it_logged(
    value: str, said: str, world: World
) -> None:
    script = world.folder / "train.py"
    script.write_text(NAN_TRAINER)
    sweep = world.sweep([sys.executable, str(script), value])
    agent = world.start(sweep)
    agent.wait()
    run = world.run(sweep)
    assert run.state == "failed", agent.said
    assert said in (reason_of(run.summary) or "")
    assert (run.summary["other"], run.summary["_step"]) == (1, 1)
    assert said in page(world, run)


KINDS_TRAINER = """
import numpy, wandb
run = wandb.init()
kind = run.config["env.kind"]
values = {
    "float32": [numpy.float32(0.5)],
    "array of one": [numpy.array([2.5])],
    "float16 nan": [1.0, numpy.float16("nan")],
    "text": ["0.5"],
    "truth": [numpy.bool_(True)],
    "array": [numpy.array([1.0, 2.0])],
    "nested": [{"knee": 1.0}],
    "least": [3.0, 1.0, 2.0],
    "none": [None],
}[kind]
if kind == "least":
    run.define_metric("deep.loss", summary="min,max")
for value in values:
    run.log({"deep": {"loss": value}} if kind != "least" else {"deep.loss": value})
run.finish()
"""


def test_metric_of_every_kind_that_the_real_client_sends_is_told_as_what_it_is(
    world: World,
) -> None:
    script = world.folder / "train.py"
    script.write_text(KINDS_TRAINER)
    told = {
        "float32": None,
        "array of one": None,
        "least": None,
        "float16 nan": "metric deep.loss is NaN at step 1",
        "text": 'metric deep.loss is the text "0.5" at step 0',
        "truth": "metric deep.loss is true at step 0",
        "array": "metric deep.loss is [1",
        "nested": "is a map at step 0, no number: write metric.name: deep.loss.knee",
        "none": "the sweep's metric deep.loss was not logged",
    }
    sweep = world.sweep(
        [sys.executable, str(script)],
        method="grid",
        run_cap=None,
        metric={"name": "deep.loss", "goal": "minimize"},
        parameters={"env.kind": {"values": sorted(told, key=lambda kind: told[kind] or "")}},
    )
    agent = world.start(sweep)
    agent.wait(180)
    runs = {run.config["env.kind"]: run for run in world.runs(sweep)}
    assert set(runs) == set(told), agent.said
    for kind, reason in told.items():
        state = "finished" if reason is None else "failed"
        assert (kind, runs[kind].state) == (kind, state), agent.said
        assert (reason or "") in (reason_of(runs[kind].summary) or ""), kind
    _, _, body = world.server.request("GET", f"/local/agents/sweeps/{sweep.id}")
    shown = body.decode()
    for cell in ("NaN", "&#34;0.5&#34;", "true"):
        assert re.search(f'<td class="number[^"]*">{re.escape(cell)}</td>', shown), cell


def test_reason_and_record_come_from_the_wrapper_under_the_stock_agent_too(
    world: World, make_sdk: Callable[[str], Any], tmp_path: Path
) -> None:
    trainer = world.trainer("log:reward", "say:no such asset", "exit:7")
    sweep = world.sweep([sys.executable, "-m", "sweepctl.pod.run", *trainer, "${envvar:MY_FLAG}"])
    sdk = make_sdk(world.server.url)
    sdk.environ |= {"PYTHONPATH": SOURCES, "MY_FLAG": "a=b"}
    _, out, err = sdk.end(sdk.start_agent(f"local/agents/{sweep.id}", "--count", "1"))
    run = world.run(sweep)
    assert run.state == "failed", out + err
    assert "exit code 7; its last line: no such asset" in (reason_of(run.summary) or "")
    assert run.summary["reward"] == 1.5
    assert "no such asset" in "\n".join(console_lines(world.client, place(run)))
    argv = record_of(world, run, tmp_path)["argv"]
    assert argv[: len(trainer)] == trainer
    assert argv[len(trainer)].startswith("a=b") or argv[len(trainer)] == "${envvar:MY_FLAG}"


def test_record_is_the_argv_that_was_executed_with_variables_as_written(
    world: World, tmp_path: Path
) -> None:
    command = [*world.trainer("note:start", "log"), "task=${envvar:TASK}", "none=${envvar:UNSET}"]
    sweep = world.sweep(command)
    agent = world.start(sweep, "--grammar", "hydra", TASK="Toy-Legs")
    assert agent.wait() == 0, agent.said
    run = world.run(sweep)
    record = record_of(world, run, tmp_path)
    gain = f"env.gain={run.config['env.gain']!r}"
    assert record["argv"] == [*command, gain]
    assert (record["grammar"], record["attempt"]) == ("hydra", 1)
    assert world.noted("start")[0][1:] == ["task=Toy-Legs", "none=UNSET", gain]
    assert record["host"] == run.host


@pytest.mark.parametrize(
    "word", ["${envvar:MOTION_TOKEN}", "--login=user:${envvar:MOTION_TOKEN}@host"]
)
def test_no_secret_of_the_environment_is_told(word: str, world: World, tmp_path: Path) -> None:
    script = "import os, sys; print('got', sys.argv, os.environ['WANDB_API_KEY']); sys.exit(4)"
    sweep = world.sweep([sys.executable, "-c", script, word, "1"])
    agent = world.start(sweep, MOTION_TOKEN=SECRET, SHORT_KEY="1")
    agent.wait()
    run = world.run(sweep)
    assert record_of(world, run, tmp_path)["argv"][3:5] == [word, "1"]
    console = "\n".join(console_lines(world.client, place(run)))
    assert "got" in console
    assert "***" in console
    own = "\n".join(line for line in agent.said.splitlines() if line.startswith("sweepctl: "))
    told = [console, json.dumps(run.summary), json.dumps(run.config), page(world, run), own]
    for path in world.server.data.rglob("*"):
        if path.is_file():
            told.append(path.read_bytes().decode("utf-8", "replace"))
    for secret in (SECRET, API_KEY):
        assert not [text for text in told if secret in text]


def test_secret_that_was_pasted_into_the_command_is_not_recorded(
    world: World, tmp_path: Path
) -> None:
    sweep = world.sweep([*world.trainer("log"), f"login={SECRET}", "envs=1"])
    agent = world.start(sweep, DB_PASSWORD=SECRET, SOME_KEY="1")
    assert agent.wait() == 0, agent.said
    argv = record_of(world, world.run(sweep), tmp_path)["argv"]
    assert "login=${envvar:DB_PASSWORD}" in argv
    assert "envs=1" in argv
    assert SECRET not in agent.said


def test_record_that_cannot_be_uploaded_harms_no_run(world: World) -> None:
    files = world.server.data / "files"
    sweep = world.sweep(world.trainer("log"))
    files.chmod(0o500)
    for inner in [files, *files.rglob("*")]:
        if inner.is_dir():
            inner.rmdir() if inner != files else None
    files.rmdir()
    files.write_text("no folder")
    agent = world.start(sweep)
    assert agent.wait() == 0, agent.said
    assert world.run(sweep).state == "finished"
    assert f"its {RECORD_FILE} is not at W&B" in agent.said


CRASHING_TRAINER = """
import os, signal, time, wandb
run = wandb.init()
run.log({"loss": 1.0, "reward": 2.0})
for number in range(300):
    print("step", number, flush=True)
time.sleep(2)
print("illegal memory access", flush=True)
os.kill(os.getpid(), signal.SIGSEGV)
"""


def test_last_lines_are_told_of_a_trainer_whose_client_died_with_it(world: World) -> None:
    script = world.folder / "train.py"
    script.write_text(CRASHING_TRAINER)
    sweep = world.sweep([sys.executable, str(script)])
    agent = world.start(sweep)
    agent.wait()
    run = world.run(sweep)
    assert run.state == "failed", agent.said
    assert "SIGSEGV; its last line: illegal memory access" in (reason_of(run.summary) or "")
    lines = console_lines(world.client, place(run))
    assert lines[-1] == "illegal memory access"
    assert lines.count("step 299") in (1, 2)  # as the client may have sent it, too


@pytest.mark.parametrize("is_wrapped", [False, True], ids=["our-agent", "wrapper-and-stock-agent"])
def test_real_client_is_kept_from_telling_a_secret_of_the_command(
    is_wrapped: bool, world: World, make_sdk: Callable[[str], Any]
) -> None:
    script = world.folder / "train.py"
    script.write_text(
        "import sys, wandb\nrun = wandb.init()\nrun.log({'loss': len(sys.argv[1])})\nrun.finish()\n"
    )
    trainer = [sys.executable, str(script), "--token=${envvar:MOTION_TOKEN}"]
    wrapper = [sys.executable, "-m", "sweepctl.pod.run"] if is_wrapped else []
    secret = {"MOTION_TOKEN": SECRET}
    if is_wrapped:
        # The stock agent puts the value in before the wrapper sees its command.
        sweep = world.sweep([*wrapper, *trainer])
        sdk = make_sdk(world.server.url)
        sdk.environ |= {"PYTHONPATH": SOURCES, **secret}
        _, said, err = sdk.end(sdk.start_agent(f"local/agents/{sweep.id}", "--count", "1"))
        said += err
    else:
        sweep = world.sweep(trainer)
        agent = world.start(sweep, **secret)
        agent.wait()
        said = agent.said
    run = world.run(sweep)
    assert (run.state, run.summary["loss"]) == ("finished", len(f"--token={SECRET}")), said
    for path in world.server.data.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in page(world, run)
