"""A sweep's Kubernetes objects: names and labels, the plan of a Job, the plan as objects.

Pure: settings and a sweep file in, plain dictionaries out, by templates that are parsed back and
checked. It talks to no cluster. What the chart renders from the same settings is the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jinja2
import yaml

from sweepctl.manifest import pod_spec
from sweepctl.manifest.checks import check_objects
from sweepctl.manifest.pod_code import (
    PodCode,
    canonical_json,
    check_size,
    pod_code,
    script,
    short_hash,
)
from sweepctl.manifest.pod_spec import Piece, Settings
from sweepctl.manifest.yaml_text import scalar_json
from sweepctl.values.settings import Values, chart
from sweepctl_pod.errors import ExitCode, UsageError

FIELD_MANAGER = "sweepctl"
CHART = "isaac-sweep"
CONTAINER = pod_spec.CONTAINER

NAME_LABEL = "app.kubernetes.io/name"
INSTANCE_LABEL = "app.kubernetes.io/instance"
COMPONENT_LABEL = "app.kubernetes.io/component"
MANAGER_LABEL = "app.kubernetes.io/managed-by"
VERSION_LABEL = "app.kubernetes.io/version"
JOB_LABEL = "sweepctl/job"
SWEEP_ANNOTATION = "sweepctl/sweep"
GENERATION_ANNOTATION = "sweepctl/generation"

KUEUE_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
KUEUE_PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
KUEUE_ELASTIC_ANNOTATION = "kueue.x-k8s.io/elastic-job"
KUEUE_MINIMUM_ANNOTATION = "kueue.x-k8s.io/job-min-parallelism"
KUEUE_COMPLETIONS_ANNOTATION = "kueue.x-k8s.io/job-completions-equal-parallelism"

MAX_NAME = 45
"""So that `<name>-server-<10 digits>`, a label of the server's pod, has 63 characters at most."""
_IN_PLACE = ("agents", "suspend", "ttlSecondsAfterFinished")
_BESIDE = ("sweep", "sweepId", "server", "networkPolicy", "global")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ClaimPlan:
    """A PersistentVolumeClaim to be made."""

    name: str
    size: str
    access_mode: str
    storage_class: str


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """The embedded server's objects, as the template needs them."""

    name: str
    url: str
    image: str
    pull_policy: str
    pull_secrets: list[Piece]
    command: list[str]
    port: int
    keys_secret: str
    keys_key: str
    size: str
    access_mode: str
    storage_class: str
    on_delete: str
    resources: Piece
    scheduling: Piece
    max_unavailable: int
    clients: list[Piece]
    pod_labels: dict[str, str]
    pod_annotations: dict[str, str]


@dataclass(frozen=True, slots=True)
class JobPlan:
    """All that is decided about a sweep's objects; the templates only lay it out."""

    name: str
    namespace: str
    job_name: str
    agents: int
    is_suspended: bool | None
    """None where Kueue alone decides."""
    sweep_id: str
    api_url: str
    sweep_data: dict[str, str]
    job_labels: dict[str, str]
    job_annotations: dict[str, str]
    pod_labels: dict[str, str]
    pod_annotations: dict[str, str]
    backoff_limit_per_index: int
    ttl_s: int | None
    service_account: str
    makes_service_account: bool
    service_account_annotations: dict[str, str]
    grace_s: int
    image: str
    pull_policy: str
    pull_secrets: list[Piece]
    command: list[str]
    working_dir: str
    env: list[Piece]
    env_from: list[Piece]
    resources: Piece
    pod_security: Piece
    container_security: Piece
    scheduling: Piece
    init_containers: list[Piece]
    mounts: list[Piece]
    volumes: list[Piece]
    code: PodCode | None
    claims: tuple[ClaimPlan, ...]
    has_network_policy: bool
    egress: list[Piece] | None
    """None where agents may connect to everything."""
    server: ServerPlan | None

    @property
    def sweep_name(self) -> str:
        """Name the ConfigMap of the sweep file."""
        return sweep_config_name(self.name)

    @property
    def code_name(self) -> str:
        """Name the ConfigMap of the pod code."""
        return code_config_name(self.name, self.code) if self.code else ""

    def labels(self, component: str) -> dict[str, str]:
        """Give the labels of an object of this sweep."""
        return labels(self.name, component)

    def selector(self, component: str) -> dict[str, str]:
        """Give the labels that select the pods of a component."""
        return selector(self.name, component)


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
    check_name(name)
    _check_label("namespace", namespace, 63)
    changes: dict[str, object] = {}
    if sweep_id is not None:
        changes["sweepId"] = sweep_id
    if agents is not None:
        changes["agents"] = agents
    tree = values.with_(changes).tree if changes else values.tree
    if tree["server"]["enabled"] and name[0].isdigit():
        raise UsageError(
            f"--name '{name}': expected a letter first, as the server's Service takes the name",
            f"try {default_name(f'sweep-{name}')}",
        )
    code = pod_code() if tree["podCode"]["mount"] else None
    job_name = f"{name}-{job_hash(tree, sweep_text, code)}"
    api_url = _api_url(tree, name, namespace)
    pods = labels(name, "agent") | {JOB_LABEL: job_name}
    kueue_labels, kueue_annotations = _kueue(tree["kueue"])
    annotations = {GENERATION_ANNOTATION: str(tree["generation"])}
    sweep_data = {"sweep.yaml": sweep_text, "apiUrl": api_url}
    if tree["sweepId"]:
        annotations[SWEEP_ANNOTATION] = tree["sweepId"]
        sweep_data["sweepId"] = tree["sweepId"]
    check_size("the sweep file", sweep_data, None)
    return JobPlan(
        name=name,
        namespace=namespace,
        job_name=job_name,
        agents=tree["agents"],
        is_suspended=None if tree["kueue"]["queue"] else tree["suspend"],
        sweep_id=tree["sweepId"],
        api_url=api_url,
        sweep_data=sweep_data,
        job_labels={**labels(name, "agent"), **kueue_labels},
        job_annotations={**annotations, **kueue_annotations},
        pod_labels={**tree["podLabels"], **pods},
        pod_annotations=pod_spec.pod_annotations(tree),
        backoff_limit_per_index=tree["backoffLimitPerIndex"],
        ttl_s=tree["ttlSecondsAfterFinished"] or None,
        service_account=_service_account(tree, name),
        makes_service_account=tree["serviceAccount"]["create"],
        service_account_annotations=dict(tree["serviceAccount"]["annotations"]),
        grace_s=tree["graceSeconds"],
        image=pod_spec.image(tree["image"]),
        pull_policy=tree["image"]["pullPolicy"],
        pull_secrets=[{"name": secret} for secret in tree["image"]["pullSecrets"]],
        command=pod_spec.command(tree),
        working_dir=tree["workingDir"],
        env=pod_spec.environment(tree, name=name, api_url=api_url),
        env_from=list(tree["envFrom"]),
        resources=pod_spec.resources(tree),
        pod_security=pod_spec.pod_security(tree),
        container_security=pod_spec.container_security(tree),
        scheduling=pod_spec.scheduling(tree, selector(name, "agent")),
        init_containers=pod_spec.init_containers(tree),
        mounts=pod_spec.mounts(tree),
        volumes=pod_spec.volumes(
            tree, name=name, code=code, code_name=code_config_name(name, code) if code else ""
        ),
        code=code,
        claims=tuple(_claims(tree, name)),
        has_network_policy=tree["networkPolicy"]["enabled"],
        egress=_egress(tree, name),
        server=_server(tree, name, namespace) if tree["server"]["enabled"] else None,
    )


def render(plan: JobPlan) -> list[dict[str, Any]]:
    """Give the objects of a plan in the order in which they are made, the Job last."""
    templates = ["objects.yaml.j2", "job.yaml.j2"]
    if plan.server is not None:
        templates.insert(1, "server.yaml.j2")
    objects: list[dict[str, Any]] = []
    for template in templates:
        text = _templates().get_template(template).render(plan=plan, exit=ExitCode)
        objects += [part for part in yaml.load_all(text, Loader=_LOADER) if part]
    check_objects(objects)
    return objects


def job_hash(tree: Settings, sweep_text: str, code: PodCode | None) -> str:
    """Give the 8 digits by which a Job is named: a hash of all that shapes its pod template.

    The canonical JSON of the settings that do not change in place, with what else gets into the
    template. Helm computes the same: `toJson | sha256sum | trunc 8`.
    """
    left_out = (*_IN_PLACE, *_BESIDE)
    shape = {
        "chart": chart().version,
        "app": chart().app_version,
        "values": {key: value for key, value in tree.items() if key not in left_out},
        "sweep": short_hash(sweep_text),
        "sweepId": tree["sweepId"],
        "serverPort": tree["server"]["port"] if tree["server"]["enabled"] else 0,
        "code": code.hash if code else "",
        "scripts": [short_hash(script(name)) for name in ("start.sh", "fetch_code.sh")],
    }
    return short_hash(canonical_json(shape))


def labels(name: str, component: str) -> dict[str, str]:
    """Give the labels of every object of a sweep."""
    return {
        **selector(name, component),
        MANAGER_LABEL: FIELD_MANAGER,
        VERSION_LABEL: chart().app_version,
    }


def selector(name: str, component: str | None = None) -> dict[str, str]:
    """Give the labels that find the objects of a sweep, whoever made them."""
    found = {NAME_LABEL: CHART, INSTANCE_LABEL: name}
    return {**found, COMPONENT_LABEL: component} if component else found


def selector_text(name: str | None = None, component: str | None = None) -> str:
    """Write such labels as `kubectl -l` takes them; without a name those of every sweep."""
    found = selector(name or "", component)
    return ",".join(f"{key}={value}" for key, value in found.items() if value)


def sweep_config_name(name: str) -> str:
    """Name the ConfigMap of the sweep file."""
    return f"{name}-sweep"


def code_config_name(name: str, code: PodCode) -> str:
    """Name the ConfigMap of the pod code, by its content."""
    return f"{name}-code-{code.hash}"


def server_name(name: str) -> str:
    """Name the embedded server's objects."""
    return f"{name}-server"


def check_name(name: str) -> None:
    """Refuse a name that the objects' names cannot be made of."""
    _check_label("--name", name, MAX_NAME)


def is_name(text: str) -> bool:
    """Say whether a sweep may have been submitted under a name."""
    return len(text) <= MAX_NAME and _DNS_LABEL.fullmatch(text) is not None


def default_name(text: str) -> str:
    """Make a name of a sweep's name, or of its file's: what a DNS label lacks becomes `-`."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:MAX_NAME].strip("-")
    return name or "sweep"


def _check_label(what: str, text: str, limit: int) -> None:
    if _DNS_LABEL.fullmatch(text) and len(text) <= limit:
        return
    message = f"{what} '{text}': expected lower-case letters, digits and '-', {limit} at most"
    suggestion = default_name(text)[:limit].strip("-")
    raise UsageError(message, f"try {suggestion}")


def _api_url(tree: Settings, name: str, namespace: str) -> str:
    if tree["server"]["enabled"]:
        return f"http://{server_name(name)}.{namespace}.svc:{tree['server']['port']}"
    return str(tree["wandb"]["baseUrl"]).rstrip("/") or pod_spec.WANDB_CLOUD


def _kueue(kueue: Settings) -> tuple[dict[str, str], dict[str, str]]:
    """Give the labels and annotations by which Kueue takes a Job over.

    https://kueue.sigs.k8s.io/docs/tasks/run/jobs/ (queue, priority, partial admission) and
    https://kueue.sigs.k8s.io/docs/concepts/elastic_workload/.
    """
    found_labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    if kueue["queue"]:
        found_labels[KUEUE_QUEUE_LABEL] = kueue["queue"]
        if kueue["priorityClass"]:
            found_labels[KUEUE_PRIORITY_LABEL] = kueue["priorityClass"]
        if kueue["elastic"]:
            annotations[KUEUE_ELASTIC_ANNOTATION] = "true"
        elif kueue["minParallelism"]:
            annotations[KUEUE_MINIMUM_ANNOTATION] = str(kueue["minParallelism"])
            annotations[KUEUE_COMPLETIONS_ANNOTATION] = "true"
    return found_labels, annotations


def _service_account(tree: Settings, name: str) -> str:
    account = tree["serviceAccount"]
    return str(account["name"] or (name if account["create"] else "default"))


def _claims(tree: Settings, name: str) -> list[ClaimPlan]:
    found = []
    for volume in ("cache", "runs"):
        wanted = tree[volume]
        if wanted["type"] == "pvc" and not wanted["existingClaim"]:
            found.append(
                ClaimPlan(
                    f"{name}-{volume}",
                    wanted["size"],
                    wanted["accessMode"],
                    wanted["storageClass"],
                )
            )
    return found


def _egress(tree: Settings, name: str) -> list[Piece] | None:
    rules = tree["networkPolicy"]["egress"]
    if not rules:
        return None
    ports = [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    found: list[Piece] = [{"ports": ports}]
    if tree["server"]["enabled"]:
        peer = {"podSelector": {"matchLabels": selector(name, "server")}}
        port = {"port": tree["server"]["port"], "protocol": "TCP"}
        found.append({"to": [peer], "ports": [port]})
    return [*found, *rules]


def _server(tree: Settings, name: str, namespace: str) -> ServerPlan:
    server = tree["server"]
    listen = ["--data", "/data", "--listen", f"0.0.0.0:{server['port']}"]
    keys = ["--api-keys", "/etc/sweepctl/keys/api-keys"]
    silence = ["--agent-timeout", str(server["agentTimeoutSeconds"])]
    peer = {"podSelector": {"matchLabels": selector(name, "agent")}}
    placed = {**server, "runtimeClassName": "", "schedulerName": "", "topologySpread": []}
    return ServerPlan(
        name=server_name(name),
        url=_api_url(tree, name, namespace),
        image=pod_spec.image(server["image"]),
        pull_policy=server["image"]["pullPolicy"],
        pull_secrets=[{"name": secret} for secret in server["image"]["pullSecrets"]],
        command=["sweepctl", "server", *listen, *keys, *silence],
        port=server["port"],
        keys_secret=server["apiKeys"]["secretName"] or tree["wandb"]["secretName"],
        keys_key=server["apiKeys"]["secretKey"] or tree["wandb"]["secretKey"],
        size=server["persistence"]["size"],
        access_mode=server["persistence"]["accessMode"],
        storage_class=server["persistence"]["storageClass"],
        on_delete="Retain" if server["persistence"]["keep"] else "Delete",
        resources=pod_spec.quantities(server["resources"]),
        scheduling=pod_spec.scheduling(placed, {}),
        max_unavailable=server["maxUnavailable"],
        clients=[peer, *tree["networkPolicy"]["serverFrom"]],
        pod_labels={**server["podLabels"], **labels(name, "server")},
        pod_annotations=dict(server["podAnnotations"]),
    )


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("sweepctl.manifest"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    templates.filters["json"] = scalar_json
    return templates
