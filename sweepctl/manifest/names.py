"""What a sweep's objects are called, and the labels by which they are found.

Pure. The chart's _names.tpl decides the same. Names that a person gives are checked here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sweepctl.manifest.hash import canonical_json, short_hash
from sweepctl.manifest.pod_code import PodCode, script
from sweepctl.values.settings import chart
from sweepctl_pod.errors import UsageError

FIELD_MANAGER = "sweepctl"
CHART = "isaac-sweep"
CONTAINER = "agent"
WANDB_CLOUD = "https://api.wandb.ai"

NAME_LABEL = "app.kubernetes.io/name"
INSTANCE_LABEL = "app.kubernetes.io/instance"
COMPONENT_LABEL = "app.kubernetes.io/component"
MANAGER_LABEL = "app.kubernetes.io/managed-by"
VERSION_LABEL = "app.kubernetes.io/version"
SWEEP_ANNOTATION = "sweepctl/sweep"
GENERATION_ANNOTATION = "sweepctl/generation"

KUEUE_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
KUEUE_ELASTIC_ANNOTATION = "kueue.x-k8s.io/elastic-job"

MAX_NAME = 45
"""So that `<name>-server-<10 digits>`, a label of the server's pod, has 63 characters at most."""
_IN_PLACE = ("agents", "suspend", "ttlSecondsAfterFinished")
_BESIDE = ("sweep", "sweepId", "server", "networkPolicy", "global")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.ASCII)


def server_name(name: str) -> str:
    """Name the embedded server's objects."""
    return f"{name}-server"


def service_account(values: Mapping[str, Any], name: str) -> str:
    """Name the service account of agents and server."""
    account = values["serviceAccount"]
    return str(account["name"] or (name if account["create"] else "default"))


def api_url(values: Mapping[str, Any], name: str, namespace: str) -> str:
    """Give the address of the W&B server that the agents use."""
    if values["server"]["enabled"]:
        return f"http://{server_name(name)}.{namespace}.svc:{values['server']['port']}"
    return str(values["wandb"]["baseUrl"]).rstrip("/") or WANDB_CLOUD


def image(settings: Mapping[str, Any]) -> str:
    """Name an image: by its digest when there is one, else by its tag."""
    if settings["digest"]:
        return f"{settings['repository']}@{settings['digest']}"
    return f"{settings['repository']}:{settings['tag']}"


def selector(name: str, component: str | None = None) -> dict[str, str]:
    """Give the labels that find the objects of a sweep, whoever made them."""
    found = {NAME_LABEL: CHART, INSTANCE_LABEL: name}
    return {**found, COMPONENT_LABEL: component} if component else found


def selector_text(name: str | None = None, component: str | None = None) -> str:
    """Write such labels as `kubectl -l` takes them; without a name those of every sweep."""
    found = selector(name or "", component)
    return ",".join(f"{key}={value}" for key, value in found.items() if value)


def labels(name: str, component: str) -> dict[str, str]:
    """Give the labels of every object of a sweep."""
    return {
        **selector(name, component),
        MANAGER_LABEL: FIELD_MANAGER,
        VERSION_LABEL: chart().app_version,
    }


def sweep_config_name(name: str) -> str:
    """Name the ConfigMap of the sweep file."""
    return f"{name}-sweep"


def code_config_name(name: str, code: PodCode) -> str:
    """Name the ConfigMap of the pod code, by its content."""
    return f"{name}-code-{code.hash}"


def job_hash(values: Mapping[str, Any], sweep_text: str, code: PodCode | None) -> str:
    """Give the 8 digits by which a Job is named: a hash of all that shapes its pod template.

    The canonical JSON of the settings that do not change in place, with what else gets into the
    template. Helm computes the same: `toJson | sha256sum | trunc 8`.
    """
    left_out = (*_IN_PLACE, *_BESIDE)
    shape = {
        "chart": chart().version,
        "app": chart().app_version,
        "values": {key: value for key, value in values.items() if key not in left_out},
        "sweep": short_hash(sweep_text),
        "sweepId": values["sweepId"],
        "serverPort": values["server"]["port"] if values["server"]["enabled"] else 0,
        "code": code.hash if code else "",
        "scripts": [short_hash(script(name)) for name in ("start.sh", "fetch_code.sh")],
    }
    return short_hash(canonical_json(shape))


def check_name(name: str) -> None:
    """Refuse a name that the objects' names cannot be made of."""
    check_label("--name", name, MAX_NAME)


def check_label(what: str, text: str, limit: int) -> None:
    """Refuse a text that is no DNS label of so many characters at most."""
    if _DNS_LABEL.fullmatch(text) and len(text) <= limit:
        return
    message = f"{what} '{text}': expected lower-case letters, digits and '-', {limit} at most"
    suggestion = default_name(text)[:limit].strip("-")
    raise UsageError(message, f"try {suggestion}")


def is_name(text: str) -> bool:
    """Say whether a sweep may have been submitted under a name."""
    return len(text) <= MAX_NAME and _DNS_LABEL.fullmatch(text) is not None


def default_name(text: str) -> str:
    """Make a name of a sweep's name, or of its file's: what a DNS label lacks becomes `-`."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:MAX_NAME].strip("-")
    return name or "sweep"
