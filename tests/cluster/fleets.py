"""The two fleets of a campaign: a release of ours, and a Job of stock `wandb agent` pods beside it.

The stock Job is the release's own, with the command and the name changed: the same image, volumes,
environment, trainer and rules for failed pods, and the same kind of sweep at the same server.
"""

from __future__ import annotations

import copy
import itertools
import json
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.campaign import Fleet
from tests.cluster.light import NAME, Light

STOCK = "stock"
Fleets = dict[str, Fleet]
_WANDB = "/opt/isaaclab-venv/bin/wandb"
_DEFAULT_GRACE_S = 30
"""What Kubernetes gives a pod that asks for nothing."""


@dataclass
class OurFleet:
    """The release, by helm as a user has it."""

    light: Light
    instance: str = NAME
    _generations: Any = field(default_factory=lambda: itertools.count(2))

    @property
    def agents(self) -> int:
        return self.light.shape.agents

    def pause(self) -> None:
        self.light.upgrade("--set", "suspend=true")

    def resume(self) -> None:
        self.light.upgrade("--set", "suspend=false")

    def scale(self, agents: int) -> None:
        self.light.upgrade("--set", f"agents={agents}")

    def renew(self) -> None:
        """Change what the pods are: the same as another image, and the Job gets another name."""
        number = next(self._generations)
        self.light.upgrade("--set-string", f"podAnnotations.generation={number}")

    def is_over(self) -> bool:
        return _is_over(self.light, self.instance)


@dataclass
class StockFleet:
    """Pods of W&B's own agent."""

    light: Light
    sweep: str
    agents: int
    job: dict[str, Any]
    instance: str = STOCK

    @staticmethod
    def beside(light: Light, sweep: str, agents: int) -> StockFleet:
        """Make the Job of the release's."""
        selector = f"app.kubernetes.io/instance={NAME},app.kubernetes.io/component=agent"
        (found,) = light.cluster.get("-n", light.namespace, "jobs", "-l", selector)["items"]
        job = _stock_job(found, sweep)
        job["spec"] |= {"completions": agents, "parallelism": agents}
        return StockFleet(light, sweep, agents, job)

    def start(self) -> None:
        self.light.cluster.apply(self.job, namespace=self.light.namespace)

    def pause(self) -> None:
        self._patch({"suspend": True})

    def resume(self) -> None:
        self._patch({"suspend": False})

    def scale(self, agents: int) -> None:
        self._patch({"completions": agents, "parallelism": agents})

    def renew(self) -> None:
        self.light.kubectl("delete", "job", STOCK, "--wait=true")
        self.start()

    def is_over(self) -> bool:
        return _is_over(self.light, self.instance)

    def _patch(self, spec: dict[str, Any]) -> None:
        change = json.dumps({"spec": spec})
        self.light.kubectl("patch", "job", STOCK, "--type=merge", "-p", change)


def _is_over(light: Light, instance: str) -> bool:
    selector = f"app.kubernetes.io/instance={instance},app.kubernetes.io/component=agent"
    jobs = light.cluster.get("-n", light.namespace, "jobs", "-l", selector)["items"]
    conditions = [c for job in jobs for c in job["status"].get("conditions", ())]
    return any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions)


def _stock_job(found: dict[str, Any], sweep: str) -> dict[str, Any]:
    own = copy.deepcopy(found["spec"])
    for key in ("selector", "manualSelector"):
        own.pop(key, None)
    labels = {
        "app.kubernetes.io/name": STOCK,
        "app.kubernetes.io/instance": STOCK,
        "app.kubernetes.io/component": "agent",
    }
    own["template"]["metadata"] = {"labels": labels}
    pod = own["template"]["spec"]
    # It never leaves when it is told to: it holds its GPU for as long as it is let.
    pod["terminationGracePeriodSeconds"] = _DEFAULT_GRACE_S
    (agent,) = pod["containers"]
    agent["command"] = [_WANDB, "agent", sweep]
    agent.pop("args", None)
    for constraint in pod.get("topologySpreadConstraints", ()):
        constraint["labelSelector"] = {"matchLabels": labels}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": STOCK, "labels": labels},
        "spec": own,
    }
