"""A cluster as a test sees it: kubectl and helm against it, and what a bed can do besides.

The same object stands for the bed and for a cluster of the user's own; what only a bed can do
(nodes to switch off, images to load, the trainer's volume) is asked of `bed`, None there.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.testbed.layout import Bed


class Timeout(Exception):
    """What was waited for did not happen."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """One Kubernetes cluster and the programs to use it with."""

    kubeconfig: Path
    programs: Mapping[str, Path]
    bed: Bed | None

    @property
    def environ(self) -> dict[str, str]:
        """The environment for a program that talks to this cluster (sweepctl, kubectl, helm)."""
        folders = dict.fromkeys(str(path.parent) for path in self.programs.values())
        search = os.pathsep.join([*folders, os.environ.get("PATH", "")])
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": search}

    def run(
        self, program: str, *arguments: str, stdin: str | None = None, timeout_s: float = 310
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl or helm; the caller looks at the exit code."""
        return subprocess.run(
            [str(self.programs.get(program, program)), *arguments],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            env=self.environ,
            timeout=timeout_s,
        )

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_s: float = 310) -> str:
        """Run kubectl and return what it printed.

        Raises:
            RuntimeError: with kubectl's message, when it fails.
        """
        done = self.run("kubectl", *arguments, stdin=stdin, timeout_s=timeout_s)
        if done.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def get(self, *arguments: str) -> Any:
        """Return `kubectl get … -o json` as data."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, *objects: Mapping[str, Any], namespace: str | None = None) -> None:
        """Apply objects, server-side."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        scope = ("-n", namespace) if namespace else ()
        self.kubectl("apply", "--server-side", "--force-conflicts", *scope, "-f", "-", stdin=text)

    def wait_for(
        self, what: str, is_so: Callable[[], Any], *, timeout_s: float = 300, every_s: float = 0.2
    ) -> Any:
        """Ask until the answer is true, and return it.

        Raises:
            Timeout: naming what did not happen.
        """
        deadline_s = time.monotonic() + timeout_s
        while not (answer := is_so()):
            if time.monotonic() > deadline_s:
                raise Timeout(f"after {timeout_s:.0f} s still not: {what}")
            time.sleep(every_s)
        return answer


def restricted_namespace(name: str) -> dict[str, Any]:
    """A namespace that admits only pods that meet Pod Security "restricted"."""
    level = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {**level, "sweepctl.test/created": "true"}},
    }


def is_ready(item: Mapping[str, Any]) -> bool:
    """Tell whether a node or a pod has the condition Ready."""
    conditions = item.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
