"""A release of the chart on the cluster, with the plain trainer and a server of its own."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sweepctl.values.settings import chart_folder
from tests.cluster.sweeps import Sweepctl, offer_plain_trainer, write_values
from tests.testbed.cluster import Cluster

NAME = "plain"
NOTHING = "jobs,pods,statefulsets,services,configmaps,secrets,serviceaccounts,pvc"


@dataclass(frozen=True, slots=True)
class Release:
    """A release of the chart in a namespace of its own, and the command line beside it."""

    cluster: Cluster
    namespace: str
    folder: Path
    sweepctl: Sweepctl
    chart: str

    def helm(self, *arguments: str) -> str:
        done = self.cluster.run("helm", *arguments, "-n", self.namespace)
        assert done.returncode == 0, f"helm {arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def settings(self) -> tuple[str, ...]:
        files = ("--set-file", f"sweep={self.folder / 'plain.yaml'}")
        return ("-f", str(self.folder / "values.yaml"), *files)

    def install(self, *more: str) -> str:
        return self.helm("install", NAME, self.chart, *self.settings(), *more)

    def upgrade(self, *more: str) -> str:
        return self.helm("upgrade", NAME, self.chart, "--reuse-values", *more)

    def objects(self, kinds: str, component: str | None = None) -> list[dict[str, Any]]:
        selector = f"app.kubernetes.io/instance={NAME}"
        if component:
            selector += f",app.kubernetes.io/component={component}"
        found = self.cluster.get("-n", self.namespace, kinds, "-l", selector)
        return list(found["items"])

    def left(self) -> list[str]:
        """Give what there is of the release and does not go away."""
        return [
            f"{piece['kind']}/{piece['metadata']['name']}"
            for piece in self.objects(NOTHING)
            if not piece["metadata"].get("deletionTimestamp")
        ]

    def pods(self) -> dict[str, str]:
        """Give the running pods of agents: UID by name."""
        return {
            pod["metadata"]["name"]: pod["metadata"]["uid"]
            for pod in self.objects("pods", "agent")
            if pod["status"]["phase"] == "Running" and not pod["metadata"].get("deletionTimestamp")
        }

    def job(self) -> str:
        (job,) = [
            job
            for job in self.objects("jobs", "agent")
            if not job["metadata"].get("deletionTimestamp")
        ]
        return str(job["metadata"]["name"])

    def running(self) -> list[str]:
        """Give the runs that are under way and have logged something."""
        runs = self.sweepctl.runs(NAME)
        return [run["run"] for run in runs if run["state"] == "running" and run["step"] is not None]

    def wait_running(self, count: int) -> None:
        def are_running() -> bool:
            status = self.sweepctl.status(NAME)
            return status["sweep"] is not None and len(self.running()) == count

        self.cluster.wait_for(f"{count} runs are under way", are_running, every_s=1)

    def sweep(self) -> str:
        return str(self.sweepctl.status(NAME)["sweep"]["sweep"])


def release_in(cluster: Cluster, namespace: str, tmp_path: Path) -> Release:
    """Offer all that a release needs in a namespace."""
    offer_plain_trainer(cluster, namespace)
    _offer_yaml(cluster, namespace)
    key = ("--from-literal=apiKey=" + "k" * 40,)
    cluster.kubectl("-n", namespace, "create", "secret", "generic", "wandb", *key)
    values = yaml.safe_load(write_values(tmp_path).read_text())
    write_values(
        tmp_path,
        pythonPath=["/python"],
        extraVolumes=[
            *values["extraVolumes"],
            {
                "name": "python",
                "configMap": {"name": "python-yaml", "items": _yaml_items()},
            },
        ],
        extraVolumeMounts=[
            *values["extraVolumeMounts"],
            {"name": "python", "mountPath": "/python"},
        ],
    )
    # A copy: what is edited while the tests run must not get into an upgrade.
    chart = shutil.copytree(chart_folder(), tmp_path / "chart")
    return Release(cluster, namespace, tmp_path, Sweepctl(cluster, namespace, tmp_path), str(chart))


def _offer_yaml(cluster: Cluster, namespace: str) -> None:
    """Put PyYAML into a namespace: trainers' images have it, the test bed's has not."""
    data = {file.name: file.read_text() for file in _yaml_files()}
    piece = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "python-yaml"}}
    cluster.apply({**piece, "data": data}, namespace=namespace)


def _yaml_files() -> list[Path]:
    return sorted(Path(yaml.__file__).parent.glob("*.py"))


def _yaml_items() -> list[dict[str, str]]:
    return [{"key": file.name, "path": f"yaml/{file.name}"} for file in _yaml_files()]
