"""The same sweep file under W&B's own agent: `python -m sweepctl.pod.run` in `command`."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import sweepctl_pod
from sweepctl.manifest.pod_code import MOUNT_PATH, pod_code
from tests.contract.agents import World
from tests.images.test_dockerfile import ROOT, copied

SDK_TRAINER = """
import os, sys, wandb
with wandb.init() as run:
    gain = run.config["env.gain"]
    assert f"env.gain={gain!r}" in sys.argv, sys.argv
    if "--silent" not in sys.argv:
        run.log({"loss": gain})
print("trained", run.id, sys.argv[1:])
"""


@dataclass(frozen=True)
class Layout:
    """Where the wrapper's code is: the Python that runs it, its environment, its folder."""

    python: tuple[str, ...]
    environ: Mapping[str, str]
    folder: Path

    def home_of_the_code(self, environ: Mapping[str, str]) -> Path:
        """Ask this Python where it finds the wrapper."""
        words = "import sweepctl_pod.wrapper as wrapper, sweepctl.pod.run; print(wrapper.__file__)"
        done = subprocess.run(
            [*self.python, "-c", words], env=environ, capture_output=True, text=True, check=True
        )
        return Path(done.stdout.strip())


def installed(folder: Path) -> Layout:
    """Give the code as it is installed beside the `sweepctl` command."""
    return Layout((sys.executable,), {}, Path(sweepctl_pod.__file__).parent)


def mounted(folder: Path) -> Layout:
    """Lay the code out as the ConfigMap's volume does, for a Python that has nothing else."""
    code = pod_code()
    return _laid_out(folder, {path: code.files[key] for key, path in code.paths()})


def baked(folder: Path) -> Layout:
    """Lay the code out as images/Dockerfile does, for a Python that has nothing else."""
    places = {place.removeprefix(f"{MOUNT_PATH}/"): source for place, source in copied().items()}
    return _laid_out(
        folder, {place: (ROOT / source).read_text() for place, source in places.items()}
    )


def _laid_out(folder: Path, files: Mapping[str, str]) -> Layout:
    for place, text in files.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text)
    return Layout((sys.executable, "-S"), {"PYTHONPATH": str(folder)}, folder)


@pytest.mark.parametrize("lay_out", [installed, mounted, baked])
@pytest.mark.parametrize(
    ("words", "state", "said"),
    [
        pytest.param([], "finished", "finished: loss = ", id="good"),
        pytest.param(["--silent"], "failed", "metric loss was not logged", id="no-metric"),
    ],
)
def test_stock_agent_runs_the_wrapper_and_the_wrapper_judges(
    words: list[str],
    state: str,
    said: str,
    lay_out: Callable[[Path], Layout],
    world: World,
    make_sdk: Callable[[str], Any],
) -> None:
    layout = lay_out(world.folder / "code")
    script = world.folder / "train.py"
    script.write_text(SDK_TRAINER)
    trainer = [sys.executable, str(script), *words]
    sweep = world.sweep([*layout.python, "-m", "sweepctl.pod.run", *trainer])
    sdk = make_sdk(world.server.url)
    sdk.environ.pop("PYTHONPATH", None)
    sdk.environ |= layout.environ
    assert layout.home_of_the_code(sdk.environ).is_relative_to(layout.folder)
    agent = sdk.start_agent(f"local/agents/{sweep.id}", "--count", "1")
    _, out, err = sdk.end(agent)
    assert said in out + err
    assert world.run(sweep).state == state, out + err


def test_our_agent_runs_the_same_file_without_a_second_process(world: World) -> None:
    wrapped = ["${env}", "python", "-m", "sweepctl.pod.run", *world.trainer("note:start", "log")]
    sweep = world.sweep(wrapped)
    agent = world.start(sweep)
    assert agent.wait() == 0, agent.said
    assert world.run(sweep).state == "finished"
    assert "pod.run" not in agent.said


def test_real_sdk_in_the_trainer_logs_to_the_run_that_the_agent_was_given(world: World) -> None:
    script = world.folder / "train.py"
    script.write_text(SDK_TRAINER)
    sweep = world.sweep([sys.executable, str(script)], run_cap=2)
    agent = world.start(sweep)
    assert agent.wait() == 0, agent.said
    runs = world.runs(sweep)
    assert [run.state for run in runs] == ["finished"] * 2, agent.said
    for run in runs:
        assert run.is_started
        assert run.summary["loss"] == run.config["env.gain"]


def test_killed_wrapper_takes_its_trainer_along(world: World) -> None:
    sweep = world.sweep(["true"])
    parameters = world.folder / "config.yaml"
    parameters.write_text("wandb_version: 1\nenv.gain: {value: 1.5}\n")
    command = [sys.executable, "-m", "sweepctl.pod.run", *world.trainer("note:start", "hang")]
    process = world.start_command(
        command,
        WANDB_SWEEP_ID=sweep.id,
        WANDB_RUN_ID="byhand02",
        WANDB_ENTITY="local",
        WANDB_PROJECT="agents",
        WANDB_SWEEP_PARAM_PATH=str(parameters),
    )
    world.wait_noted("start")
    process.send(signal.SIGKILL)
    process.wait()
    world.nothing_is_left()


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        pytest.param({}, "WANDB_SWEEP_ID, WANDB_RUN_ID", id="by-hand"),
        pytest.param(
            {
                "WANDB_SWEEP_ID": "s",
                "WANDB_RUN_ID": "r",
                "WANDB_SWEEP_PARAM_PATH": "/no/such/file",
            },
            "cannot read /no/such/file",
            id="no-file",
        ),
    ],
)
def test_wrapper_without_an_agent_says_what_it_needs(
    environ: dict[str, str], said: str, world: World
) -> None:
    command = [sys.executable, "-m", "sweepctl.pod.run", "true"]
    process = world.start_command(command, **environ)
    assert process.wait() in (1, 2)
    assert said in process.said
    assert "Traceback" not in process.said


def test_wrapper_reads_the_parameters_as_the_stock_agent_writes_them(world: World) -> None:
    sweep = world.sweep(["true"])
    parameters = world.folder / "config.yaml"
    parameters.write_text(
        "wandb_version: 1\n\nenv.gain:\n  value: 1.0e-05\nname:\n  desc: null\n  value: a\n"
    )
    command = [sys.executable, "-m", "sweepctl.pod.run", *world.trainer("note:start", "log")]
    process = world.start_command(
        command,
        WANDB_SWEEP_ID=sweep.id,
        WANDB_RUN_ID="byhand01",
        WANDB_ENTITY="local",
        WANDB_PROJECT="agents",
        WANDB_SWEEP_PARAM_PATH=str(parameters),
    )
    process.wait()
    assert world.noted("start") == [["byhand01", "env.gain=1e-05"]], process.said
    written = json.loads((world.work / "byhand01" / "config.yaml").read_text())
    assert written["env.gain"] == {"desc": None, "value": 1e-05}
