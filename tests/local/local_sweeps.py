"""`sweepctl local` as a user starts it, with all that it starts: to watch, to kill, to wait for."""

import ast
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from tests.serving import wait_for

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "toy_legs" / "sweep.yaml"
SWEEPCTL = (sys.executable, "-m", "sweepctl")
_MARK = "SWEEPCTL_TEST_MARK"
_KINDS = {
    "server": re.compile(r"sweepctl\0server\0"),
    "agent": re.compile(r"-m\0sweepctl_pod\0"),
    "trainer": re.compile(r"/isaaclab\0train\0|/quick_trainer\.py\0"),
}


def environment(folder: Path, path: str = "") -> dict[str, str]:
    """Give an environment in which only what the test says is set, and no W&B account is seen."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WANDB_", "SWEEPCTL_", "PYTHONDONTWRITEBYTECODE", "CUDA_"))
    }
    return {
        **kept,
        "PATH": os.pathsep.join(filter(None, [path, os.environ["PATH"]])),
        "WANDB_CONFIG_DIR": str(folder / "wandb-config"),
        "NETRC": str(folder / "no-netrc"),
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


class LocalSweep:
    """One `sweepctl local` in a folder of its own; every process under it carries a mark."""

    def __init__(
        self, folder: Path, sweep: Mapping[str, Any], environ: Mapping[str, str], agents: int = 2
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.file = folder / "sweep.yaml"
        self.file.write_text(yaml.safe_dump(dict(sweep), sort_keys=False))
        self._mark = uuid.uuid4().hex
        self._environ = {**environ, _MARK: self._mark}
        self._out = folder / "local.out"
        with self._out.open("wb") as out:
            self._process = subprocess.Popen(
                [*SWEEPCTL, "local", self.file, "--agents", str(agents), "--data", self.data],
                cwd=folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        """What the command printed so far, standard error included."""
        return self._out.read_text(errors="replace")

    @property
    def agents_output(self) -> str:
        """What the agents and their trainers printed so far."""
        logs = sorted(self.data.glob("logs/*/agent-*.log"))
        return "\n".join(log.read_text(errors="replace") for log in logs)

    def wait(self, limit_s: float) -> int:
        """Wait for the command's end and give its exit code."""
        try:
            return self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not over within {limit_s:g} s:\n{self.story()}") from None

    def wait_until(self, what: str, probe: Callable[[], object], limit_s: float) -> None:
        """Wait for something to happen while the command runs; fail at once when it has ended."""

        def look() -> bool:
            ended = self._process.poll()
            if probe():
                return True
            assert ended is None, f"ended with exit code {ended} before {what}:\n{self.story()}"
            return False

        try:
            wait_for(what, look, limit_s=limit_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.story()}") from None

    def ask(self, *verb: str) -> Any:
        """Run another verb on the data of this sweep; give what it prints as JSON."""
        result = subprocess.run(
            [*SWEEPCTL, *verb, "--data", str(self.data), "-o", "json"],
            cwd=self.folder,
            env=self._environ,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def history(self, run: str) -> list[dict[str, Any]]:
        """Read what a run logged, line by line, as the server stored it."""
        uri = f"file:{self.data / 'sweepctl.sqlite'}?mode=ro"
        query = (
            "SELECT text FROM history JOIN runs ON runs.pk = history.run"
            " WHERE runs.id = ? ORDER BY line"
        )
        with closing(sqlite3.connect(uri, uri=True)) as database:
            return [json.loads(text) for (text,) in database.execute(query, (run,))]

    def preview(self, count: int) -> Any:
        """Give what `sweepctl preview` says of the sweep's file."""
        result = subprocess.run(
            [*SWEEPCTL, "preview", str(self.file), "-n", str(count), "-o", "json"],
            cwd=self.folder,
            env=self._environ,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def processes(self, kind: str | None = None) -> list[int]:
        """Find the live processes of this sweep, of one kind or all, the command's own included."""
        mark = f"{_MARK}={self._mark}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if mark not in (entry / "environ").read_bytes().split(b"\0"):
                    continue
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if kind is None or _KINDS[kind].search(command):
                found.append(int(entry.name))
        return found

    def kill(self, kind: str) -> int:
        """End one process of a kind as `kill -9` does."""
        self.wait_until(f"a live {kind}", lambda: self.processes(kind), limit_s=30)
        pid = self.processes(kind)[0]
        os.kill(pid, signal.SIGKILL)
        return pid

    def no_process_is_left(self) -> None:
        """Wait a moment until all that the sweep started is gone; fail when something stays."""
        try:
            wait_for("the end of all processes", lambda: not self.processes(), limit_s=15)
        except AssertionError:
            raise AssertionError(f"left behind: {self._shown()}\n{self.story()}") from None

    def end(self) -> None:
        """End whatever is still there: for a test that failed in the middle."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)

    def story(self) -> str:
        """Tell what was printed, for the message of a failure."""
        return f"{self.output}\n--- agents ---\n{self.agents_output[-6000:]}"

    def _shown(self) -> list[str]:
        shown = []
        for pid in self.processes():
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
            except OSError:
                continue
            shown.append(f"{pid} {command.decode(errors='replace')[:200]}")
        return shown


def overrides_of(command: list[str]) -> dict[str, object]:
    """Read the `path=value` arguments of a command line as Isaac Lab 3 reads them."""
    found = {}
    for argument in command:
        path, equals, text = argument.partition("=")
        if equals and path.startswith(("env.", "agent.")):
            try:
                found[path] = ast.literal_eval(text)
            except (SyntaxError, ValueError):
                found[path] = text
    return found


def toy_sweep(runs: int) -> dict[str, Any]:
    """Give the example's sweep with few runs, fewer environments and the fewest iterations.

    An episode must end for the metric to be logged: 100 steps, and an iteration has 16.
    """
    sweep: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    sweep["run_cap"] = runs
    command = sweep["command"]
    for flag, value in (("--num_envs", 16), ("--max_iterations", 7)):
        command[command.index(flag) + 1] = value
    return sweep


def read_record(file: Path) -> Any:
    """Read a params/*.yaml of Isaac Lab: PyYAML's types, tags ignored."""

    class Loader(yaml.SafeLoader):
        pass

    def ignore_tag(loader: Loader, suffix: str, node: yaml.Node) -> object:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        assert isinstance(node, yaml.ScalarNode)
        return loader.construct_scalar(node)

    Loader.add_multi_constructor("", ignore_tag)
    return yaml.load(file.read_text(), Loader)


def setting(record: Any, path: str) -> Any:
    """Give the setting at a dotted path below `env` or `agent`."""
    for part in path.split(".")[1:]:
        record = record[part]
    return record
