"""Fixtures of the contract tests: children that use the real wandb SDK against a real server."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests import needs
from tests.clients import Cells
from tests.contract.agents import ROOT, World
from tests.contract.small_runs import (
    OTHER_LIBRARIES,
    Small,
    SmallOther,
    end_all,
)
from tests.serving import ServerProcess, sdk_environ

AGENT_LAUNCHER = """
import sys
from wandb import wandb_agent
wandb_agent.Agent.POLL_INTERVAL = 0.2
from wandb.cli.cli import cli
cli(sys.argv[1:])
"""
"""The stock command line, its agent asking every 0.2 s instead of every 5 s."""


class Sdk:
    """Runs scripts and the stock command line with the real wandb SDK, each in a child."""

    def __init__(self, url: str, home: Path) -> None:
        self.environ = sdk_environ(url, home)
        self.home = home
        self._children: list[subprocess.Popen[str]] = []

    def start(self, script: str, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start a script that uses wandb; what it prints is its stdout."""
        child = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            env={**self.environ, **environ},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._children.append(child)
        return child

    def close(self) -> None:
        """End the children that a test left running."""
        for child in self._children:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            for pipe in (child.stdout, child.stderr):
                if pipe is not None:
                    pipe.close()

    def run(self, script: str, *arguments: str, **environ: str) -> str:
        """Run a script to its good end and give its stdout."""
        code, out, err = self.end(self.start(script, *arguments, **environ))
        assert code == 0, f"{out}\n{err}"
        return out

    def ask(self, script: str, *arguments: str) -> Any:
        """Run a script that prints one JSON document last and give the document."""
        return json.loads(self.run(script, *arguments).strip().splitlines()[-1])

    def cli(self, *arguments: str, fails: bool = False) -> str:
        """Run the stock `wandb` command line and give all that it says."""
        child = self.start(AGENT_LAUNCHER, *arguments, WANDB_SILENT="false")
        code, out, err = self.end(child)
        assert (code != 0) == fails, f"exit code {code}\n{out}\n{err}"
        return out + err

    def start_agent(self, sweep: str, *options: str) -> subprocess.Popen[str]:
        """Start the stock agent of a sweep."""
        return self.start(AGENT_LAUNCHER, "agent", *options, sweep, WANDB_SILENT="false")

    @staticmethod
    def end(child: subprocess.Popen[str], limit_s: float = 120.0) -> tuple[int, str, str]:
        """Wait for a child's end and give its exit code and what it said."""
        try:
            out, err = child.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            out, err = child.communicate(timeout=30)
            raise AssertionError(f"no end within {limit_s:g} s\n{out}\n{err}") from None
        return child.returncode, out, err


@pytest.fixture
def make_sdk(tmp_path: Path) -> Iterator[Callable[[str], Sdk]]:
    """Give the function that makes an SDK for a server's address, with a home of its own."""
    made: list[Sdk] = []

    def make(url: str) -> Sdk:
        made.append(Sdk(url, tmp_path / f"home-{len(made)}"))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def sdk(server: ServerProcess, make_sdk: Callable[[str], Sdk]) -> Sdk:
    """Give the SDK for this test's server."""
    return make_sdk(server.url)


@pytest.fixture
def cells(record_property: Callable[[str, object], None]) -> Cells:
    """Give what takes down which features are ok with which versions of the client."""
    return Cells(record_property)


@pytest.fixture
def world(
    start_server: Callable[..., ServerProcess], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[World]:
    """Give a world around a running server; what is left running in it ends with the test.

    `@pytest.mark.parametrize("world", [[options…]], indirect=True)` gives the server options.
    """
    world = World(start_server(*getattr(request, "param", [])), tmp_path)
    yield world
    world.end()


@pytest.fixture
def make_small(tmp_path: Path) -> Iterator[Callable[..., Small]]:
    """Give the function that makes a small training: of a generation of rsl_rl, or of another."""
    needs.trainer()
    made: list[Small] = []

    def make(generation: str = "5") -> Small:
        kind = SmallOther if generation in OTHER_LIBRARIES else Small
        made.append(kind(tmp_path / f"run-{len(made)}", generation))
        return made[-1]

    yield make
    for each in made:
        end_all(each)


@pytest.fixture
def real(world: World) -> World:
    """Give a world with the real trainer of examples/toy_legs."""
    needs.trainer()
    world.environ["PATH"] = f"{ROOT / 'examples/toy_legs/.venv/bin'}:{world.environ['PATH']}"
    world.environ["HOME"] = str(Path.home())  # the compiled kernels are kept there
    world.environ["WANDB_ERROR_REPORTING"] = "false"
    return world


@pytest.fixture
def two_cpus(real: World) -> World:
    """Let the real trainer run in two processes on CPUs, which it counts as GPUs."""
    real.environ["SWEEPCTL_TASKS"] = "two_cpus"
    real.environ["PYTHONPATH"] += f":{Path(__file__).parent}"
    real.environ["CUDA_VISIBLE_DEVICES"] = "0,1"
    real.environ["SWEEPCTL_CPUS"] = "6"
    script = real.folder / "scripts" / "rsl_rl" / "train.py"
    script.parent.mkdir(parents=True)
    script.write_text(
        "import sys\nfrom isaaclab_rl.entrypoints import run_train_cli\n"
        "if __name__ == '__main__':\n"
        "    sys.exit(run_train_cli(['--rl_library', 'rsl_rl', *sys.argv[1:]]))\n"
    )
    return real
