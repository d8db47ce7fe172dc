"""The plan of a sweep's objects: what is decided about them before a template lays them out.

Pure: settings and a sweep file in, plain dictionaries out, by templates that are parsed back and
checked. It talks to no cluster. The templates are the twins of the chart's, file by file, so what
is decided here is what Helm's templates compute: hash, names, quantities, proxy, threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweepctl.manifest import names
from sweepctl.manifest.checks import check_objects
from sweepctl.manifest.objects import objects_of
from sweepctl.manifest.pod_code import PodCode, check_size, pod_code
from sweepctl.manifest.quantities import agent_resources
from sweepctl.values.rules import is_ssh
from sweepctl.values.settings import Values
from sweepctl_pod.errors import UsageError
from sweepctl_pod.trainer.environment import THREAD_LIBRARIES

SWEEP_FOLDER = "/etc/sweepctl"
"""Where the sweep file and the CA bundle are in a pod."""
_CLUSTER_HOSTS = "localhost,127.0.0.1,.svc,.cluster.local"


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What is decided about a sweep's objects; the templates take all else from the settings."""

    name: str
    namespace: str
    values: Mapping[str, Any]
    """The settings, whole and checked."""
    sweep_text: str
    """The sweep file, byte for byte."""
    code: PodCode | None
    """None where it is baked into the image."""
    job_name: str
    api_url: str
    service_account: str
    resources: Mapping[str, Mapping[str, str]]
    network: Mapping[str, str]
    """The variables of proxy and certificates."""
    threads: Mapping[str, str]
    """The variables that limit a library's threads; none where the agent divides the CPUs."""

    @property
    def sweep_id(self) -> str:
        """Give the sweep as ENTITY/PROJECT/ID; "" where the agents find or make it."""
        return str(self.values["sweepId"])

    @property
    def agents(self) -> int:
        """Give the number of agents."""
        return int(self.values["agents"])

    @property
    def has_server(self) -> bool:
        """Say whether an embedded server is among the objects."""
        return bool(self.values["server"]["enabled"])

    @property
    def server_keys(self) -> tuple[str, str]:
        """Give the Secret with the embedded server's API keys, and the key in it."""
        own, agents = self.values["server"]["apiKeys"], self.values["wandb"]
        return own["secretName"] or agents["secretName"], own["secretKey"] or agents["secretKey"]

    @property
    def server_metrics(self) -> Mapping[str, Any]:
        """Give the settings of its metrics; values of an earlier release have none."""
        nothing = {"open": False, "secretName": "", "serviceMonitor": {"enabled": False}}
        found: Mapping[str, Any] = self.values["server"].get("metrics", nothing)
        return found

    @property
    def is_server_reached(self) -> bool:
        """Say whether others than agents are meant to reach it."""
        server = self.values["server"]
        ways = (server.get("ingress", {}), server.get("httpRoute", {}))
        return any(way.get("enabled") for way in (*ways, self.server_metrics["serviceMonitor"]))

    @property
    def is_ssh(self) -> bool:
        """Say whether the code is cloned over ssh."""
        return is_ssh(self.values)

    @property
    def sweep_name(self) -> str:
        """Name the ConfigMap of the sweep file."""
        return names.sweep_config_name(self.name)

    @property
    def code_name(self) -> str:
        """Name the ConfigMap of the pod code."""
        return names.code_config_name(self.name, self.code) if self.code else ""

    @property
    def server_name(self) -> str:
        """Name the embedded server's objects."""
        return names.server_name(self.name)

    def labels(self, component: str) -> dict[str, str]:
        """Give the labels of an object of this sweep."""
        return names.labels(self.name, component)

    def selector(self, component: str) -> dict[str, str]:
        """Give the labels that select the pods of a component."""
        return names.selector(self.name, component)


def plan_job(
    values: Values,
    sweep_text: str,
    name: str,
    namespace: str,
    *,
    sweep_id: str | None = None,
    agents: int | None = None,
) -> JobPlan:
    """Decide everything about the objects of a sweep.

    `sweep_text` is the sweep file, byte for byte; `sweep_id` (ENTITY/PROJECT/ID) and `agents`
    stand before the settings of those names.
    """
    names.check_name(name)
    names.check_label("namespace", namespace, 63)
    changes: dict[str, object] = {}
    if sweep_id is not None:
        changes["sweepId"] = sweep_id
    if agents is not None:
        changes["agents"] = agents
    tree = values.with_(changes).tree if changes else values.tree
    if tree["server"]["enabled"] and name[0].isdigit():
        raise UsageError(
            f"--name '{name}': expected a letter first, as the server's Service takes the name",
            f"try {names.default_name(f'sweep-{name}')}",
        )
    code = pod_code() if tree["podCode"]["mount"] else None
    api_url = names.api_url(tree, name, namespace)
    beside = {"apiUrl": api_url, **({"sweepId": tree["sweepId"]} if tree["sweepId"] else {})}
    check_size("the sweep file", {"sweep.yaml": sweep_text, **beside}, None)
    return JobPlan(
        name=name,
        namespace=namespace,
        values=tree,
        sweep_text=sweep_text,
        code=code,
        job_name=f"{name}-{names.job_hash(tree, sweep_text, code)}",
        api_url=api_url,
        service_account=names.service_account(tree, name),
        resources=agent_resources(tree),
        network=_network(tree),
        threads=_threads(tree),
    )


def render(plan: JobPlan) -> list[dict[str, Any]]:
    """Give the objects of a plan in the order in which they are made, the Job last."""
    objects = objects_of(plan=plan, values=plan.values)
    check_objects(objects)
    return objects


def _network(values: Mapping[str, Any]) -> dict[str, str]:
    """Give the variables of proxy and certificates, in every spelling that programs read."""
    proxy = values["proxy"]
    found = {}
    if proxy["http"] or proxy["https"]:
        direct = ",".join(filter(None, [proxy["noProxy"], _CLUSTER_HOSTS]))
        found = {"HTTP_PROXY": proxy["http"], "HTTPS_PROXY": proxy["https"], "NO_PROXY": direct}
        found.update({key.lower(): value for key, value in found.items()})
    if values["caBundle"]["configMap"] or values["caBundle"]["secret"]:
        found["SSL_CERT_FILE"] = f"{SWEEP_FOLDER}/ca.crt"
        found["REQUESTS_CA_BUNDLE"] = f"{SWEEP_FOLDER}/ca.crt"
    return found


def _threads(values: Mapping[str, Any]) -> dict[str, str]:
    """Limit the threads of each library, which see the node's CPUs and not the container's."""
    if not values["threads"]:
        return {}
    return {f"{library}_NUM_THREADS": str(values["threads"]) for library in THREAD_LIBRARIES}
