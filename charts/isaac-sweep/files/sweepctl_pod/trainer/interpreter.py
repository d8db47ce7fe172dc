"""The trainer's own Python: where it is, and the questions that only it can answer (in_trainer.py).

The agent runs on whatever Python the image has, and may lack PyYAML; the trainer's has it, through
Hydra. A question is one short child process; without an answer it gives None or an error that says
what to do, never a traceback.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.overrides import Grammar
from sweepctl_pod.trainer.bucket import Bucket, Own
from sweepctl_pod.trainer.in_trainer import MARK
from sweepctl_pod.trainer.launchers import TrainerKind, arguments_of, python_of, scripts_of
from sweepctl_pod.trainer.resolve import default_grammar, library_of, trainer_for

_SCRIPT = Path(__file__).with_name("in_trainer.py")
_USUAL_PYTHONS = (
    ("/opt/isaaclab-venv/bin/python",),
    ("/isaac-sim/python.sh",),
    ("/isaac-sim/kit/python/bin/python3",),
)
"""Isaac Lab's images: 3.x kit-less, 2.x, and Kit's own."""

QUESTION_LIMIT_S = 120.0
RECORD_LIMIT_S = 20.0
DESCRIBE_LIMIT_S = 10.0
SETTINGS_LIMIT_S = 600.0


class NoYamlError(SweepctlError):
    """No Python was found that has PyYAML."""


class TrainerPython:
    """The Python that runs a command's trainer, and others that may stand in to read YAML."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def grammar(self, command: Sequence[object]) -> Grammar:
        """Choose the grammar by what is installed; where nothing answers, by the command.

        Isaac Lab 3.x has `_parse_val` in isaaclab_tasks/utils/hydra.py.
        """
        for python in self._candidates(command):
            found = self._ask(python, ["features"])
            if isinstance(found, dict):
                if found.get("isaaclab"):
                    return Grammar.LITERAL if found.get("literal") else Grammar.HYDRA
                break
        return default_grammar(command)

    def describe(self, argv: Sequence[str]) -> dict[str, Any] | None:
        """Ask the trainer's Python which it is and where its packages are."""
        for python in self._candidates(argv):
            found = self._ask(python, ["python"], limit_s=DESCRIBE_LIMIT_S)
            if isinstance(found, dict):
                return found
        return None

    def read_yaml(self, text: str) -> Any:
        """Read YAML with the first Python found that can."""
        tried = []
        own = (sys.executable,)
        for python in dict.fromkeys([own, *self._candidates(()), ("python3",), ("python",)]):
            found = self._ask(python, ["yaml", "-"], stdin=text)
            if isinstance(found, list):
                return found[0]
            if isinstance(found, dict):
                raise SweepctlError(f"this is no YAML: {found.get('error')}")
            tried.append(python[0])
        raise NoYamlError(
            f"no Python here can read YAML (tried {', '.join(tried)})",
            "name one that has PyYAML in SWEEPCTL_TRAINER_PYTHON",
        )

    def read_params(self, command: Sequence[object], folder: Path) -> dict[str, object]:
        """Read the trainer's own record of its configuration; SweepctlError when that fails."""
        files = [folder / "params" / "env.yaml", folder / "params" / "agent.yaml"]
        if missing := [file.name for file in files if not os.path.isfile(file)]:
            raise SweepctlError(f"{folder}/params has no {' and no '.join(missing)}")
        trouble = "no Python here has PyYAML"
        for python in (*self._candidates(command), (sys.executable,), ("python3",)):
            began = time.monotonic()
            found = self._ask(python, ["yaml", *map(str, files)], limit_s=RECORD_LIMIT_S)
            if isinstance(found, list) and all(isinstance(part, dict) for part in found):
                return {"env": found[0], "agent": found[1]}
            if isinstance(found, list):
                raise SweepctlError(f"{folder}/params holds no maps")
            if isinstance(found, dict):
                raise SweepctlError(f"{folder}/params is no YAML: {found.get('error')}")
            if time.monotonic() - began >= RECORD_LIMIT_S:
                trouble = f"it was not read within {RECORD_LIMIT_S:g} s"
        raise SweepctlError(f"{folder}/params: {trouble}")

    def unknown_settings(
        self, argv: Sequence[str], paths: Sequence[str]
    ) -> dict[str, list[str]] | None:
        """Give the paths that name no setting, with the names there are; None without an answer.

        Empty where the trainer's packages cannot be asked.
        """
        question = json.dumps(
            {"library": library_of(argv), "arguments": arguments_of(argv), "paths": list(paths)}
        )
        for python in self._candidates(argv):
            found = self._ask(python, ["settings"], stdin=question, limit_s=SETTINGS_LIMIT_S)
            if isinstance(found, dict):
                return {} if "error" in found else found
        return None

    def bucket(self, command: Sequence[object], own: Own | None = None) -> Bucket:
        """Give what reaches a bucket with the trainer's packages; `own` starts its processes."""
        words = ["python" if word == "${interpreter}" else str(word) for word in command]

        def pythons() -> list[tuple[str, ...]]:
            own = self._python_of_script(words[0]) if words else None
            found = [*self._candidates(words), *([own] if own else []), ("python",), ("python3",)]
            return [python for python in found if self._which(python[0])]

        return Bucket(pythons, self._environ, own) if own else Bucket(pythons, self._environ)

    def _candidates(self, command: Sequence[object]) -> list[tuple[str, ...]]:
        """List the Pythons that may be the trainer's, the likeliest first."""
        words = [str(word) for word in command]
        found: list[tuple[str, ...]] = []
        if named := self._environ.get("SWEEPCTL_TRAINER_PYTHON"):
            found.append((named,))
        if (python := python_of(words)) is not None:
            found.append(python)
        for script in scripts_of(words) or ["isaaclab"]:
            if (python := self._python_of_script(script)) is not None:
                found.append(python)
        if not words or trainer_for(words) is not TrainerKind.PLAIN:
            if folder := self._environ.get("ISAACLAB_PATH"):
                found.append((os.path.join(folder, "isaaclab.sh"), "-p"))
            found += _USUAL_PYTHONS
        return [python for python in dict.fromkeys(found) if self._which(python[0])]

    def _which(self, program: str) -> str | None:
        return shutil.which(program, path=self._environ.get("PATH"))

    def _python_of_script(self, launcher: str) -> tuple[str, ...] | None:
        """Read which Python an installed script is for: its first line, else the one beside it."""
        path = self._which(launcher)
        if path is None:
            return None
        with suppress(OSError):
            with open(path, "rb") as file:
                first = os.fsdecode(file.readline(1000)).strip()
            named = first.removeprefix("#!").split()
            if first.startswith("#!") and len(named) == 1 and "python" in os.path.basename(first):
                return (named[0],)
        beside = os.path.join(os.path.dirname(path), "python")
        return (beside,) if os.access(beside, os.X_OK) else None

    def _ask(
        self,
        python: Sequence[str],
        question: Sequence[str],
        *,
        stdin: str = "",
        limit_s: float = QUESTION_LIMIT_S,
    ) -> Any:
        try:
            process = subprocess.Popen(
                [*python, str(_SCRIPT), *question],
                env=dict(self._environ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            return None
        try:
            output, _ = process.communicate(stdin.encode(), timeout=limit_s)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return None
        answers = [line for line in output.splitlines() if line.startswith(MARK.encode())]
        try:
            return json.loads(answers[-1][len(MARK) :]) if answers else None
        except ValueError:
            return None
