"""What the Kubernetes API's refusals mean, in words, with the command that helps.

Pure: from an HTTP status and the `Status` object in its body to a ClusterError. The texts that it
takes apart are those of Kubernetes' own authorizer, quota, Pod Security and apply.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweepctl_pod.errors import SweepctlError

_TRANSIENT = frozenset({429, 500, 502, 503, 504})


class ClusterError(SweepctlError):
    """Kubernetes refused, failed or was out of reach; `status` is None when nothing answered."""

    def __init__(
        self,
        message: str,
        hint: str | None = None,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, hint)
        self.status = status
        self.retry_after_s = retry_after_s

    @property
    def is_transient(self) -> bool:
        """Whether the same call may succeed later with nothing changed by anybody."""
        return self.status is None or self.status in _TRANSIENT

    @property
    def is_forbidden(self) -> bool:
        """Whether the user's roles do not allow the call."""
        return self.status == 403


class SetupError(ClusterError):
    """The user's own configuration names no cluster that can be used."""

    @property
    def is_transient(self) -> bool:
        """Never: a person has to change the configuration."""
        return False


class FieldConflictError(ClusterError):
    """Server-side apply found fields that others own; `owners` maps field to manager."""

    def __init__(self, what: str, owners: Mapping[str, str]) -> None:
        fields = ", ".join(f"{field} (set by {owner})" for field, owner in owners.items())
        super().__init__(
            f"{what}: others have set fields that submit sets: {fields}",
            "take them over with --force-conflicts, or undo the other change",
            status=409,
        )
        self.owners = dict(owners)


@dataclass(frozen=True, slots=True)
class Call:
    """What was being asked of the API: for the words of an error."""

    verb: str
    resource: str
    kind: str
    name: str | None
    namespace: str | None
    server: str

    @property
    def what(self) -> str:
        """Name the object as kubectl does."""
        kind = self.kind.lower()
        return f"{kind}/{self.name}" if self.name else self.resource.partition(".")[0]


def explain(status: int, body: str, call: Call, retry_after_s: float | None = None) -> ClusterError:
    """Turn a refusal of the API into an error that says what to do."""
    answer = _status_object(body)
    message = str(answer.get("message") or "").strip() or f"HTTP {status}"
    if status == 401:
        return _unknown_user("does not accept your credentials", call)
    if status == 403:
        return _forbidden(message, call)
    if status == 404:
        return _missing(message, answer, call)
    if status == 409:
        return _conflict(message, answer, call)
    if status == 422:
        return ClusterError(
            f"Kubernetes does not accept {call.what}: {_causes(answer) or _short(message)}",
            status=status,
        )
    if status in _TRANSIENT:
        return ClusterError(
            f"the Kubernetes API at {call.server} answered {status}: {_short(message)}",
            "it may be busy or starting: try again",
            status=status,
            retry_after_s=retry_after_s,
        )
    return ClusterError(
        f"cannot {call.verb} {call.what}: the Kubernetes API answered {status}: {_short(message)}",
        status=status,
    )


def unreachable(server: str, reason: str) -> ClusterError:
    """Say that nothing answered."""
    return ClusterError(
        f"cannot reach the Kubernetes API at {server}: {reason}",
        "check that the cluster runs and that your network or VPN reaches it: kubectl cluster-info",
    )


def first_line(error: object) -> str:
    """Give the first line of what an error says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def short_reason(error: object) -> str:
    """Say in a few words why a connection failed."""
    text = first_line(error)
    for known in (
        "Connection refused",
        "Connection broken",
        "Connection reset by peer",
        "Remote end closed connection",
        "timed out",
        "Name or service not known",
        "No route to host",
        "Network is unreachable",
        "Temporary failure in name resolution",
        "certificate verify failed",
    ):
        if known.lower() in text.lower():
            return known.lower()
    return text


def role_advice(
    rules: Sequence[tuple[str, Sequence[str]]], user: str | None, namespace: str | None
) -> str:
    """Write what an administrator types to allow `rules`: (resource, verbs) each."""
    role, binding, where = (
        ("role", "rolebinding", f" -n {namespace}")
        if namespace
        else ("clusterrole", "clusterrolebinding", "")
    )
    bind = f"kubectl create {binding} sweepctl --{role}=sweepctl {_subject(user)}{where}"
    if len({tuple(verbs) for _, verbs in rules}) == 1:
        names = ",".join(resource for resource, _ in rules)
        what = f"--verb={','.join(rules[0][1])} --resource={names}"
        return f"kubectl create {role} sweepctl {what}{where}\n{bind}"
    lines = [
        f"kubectl apply{where} -f - <<END",
        "apiVersion: rbac.authorization.k8s.io/v1",
        f"kind: {'Role' if namespace else 'ClusterRole'}",
        "metadata: {name: sweepctl}",
        "rules:",
    ]
    for resource, verbs in rules:
        name, _, sub = resource.partition("/")
        plural, _, group = name.partition(".")
        full = f"{plural}/{sub}" if sub else plural
        rule = f'apiGroups: ["{group}"], resources: [{full}], verbs: [{", ".join(verbs)}]'
        lines.append(f"- {{{rule}}}")
    return "\n".join([*lines, "END", bind])


def pod_refusal(message: str, namespace: str | None) -> tuple[str, str] | None:
    """Give what an admission plug-in's refusal of a pod means and what helps, if it is known."""
    where = f" -n {namespace}" if namespace else ""
    quota = re.search(
        r"exceeded quota: ([^,]+), requested: (.+?), used: (.+?), limited: (.+?)\s*$", message
    )
    if quota:
        name, asked, used, limited = quota.groups()
        return (
            f"quota '{name}' is used up: a pod asks for {asked}; used are"
            f" {used.rpartition('=')[2]} of {limited.rpartition('=')[2]}",
            f"ask for a higher quota or free some: kubectl describe quota {name}{where}",
        )
    demanded = re.search(r"failed quota: ([^:]+): must specify (.+)$", message)
    if demanded:
        return (
            f"quota '{demanded[1]}' demands that pods specify {demanded[2]}",
            "set them in the values: resources.requests and resources.limits",
        )
    security = re.search(r'violates PodSecurity "([^":]+)(?::[^"]*)?": (.+)$', message, re.S)
    if security:
        return (
            f"Pod Security '{security[1]}' of the namespace forbids such pods: {security[2]}",
            "drop the settings that it names, or use another namespace;"
            " the level of this one: kubectl get namespace"
            + (f" {namespace}" if namespace else "")
            + " --show-labels",
        )
    missing = re.search(r'serviceaccount "([^"]+)" not found', message)
    if missing:
        return (
            f"the ServiceAccount '{missing[1]}' does not exist",
            f"run the same submit again, or: kubectl create serviceaccount {missing[1]}{where}",
        )
    priority = re.search(r"no PriorityClass with name (\S+) was found", message)
    if priority:
        return (
            f"there is no PriorityClass '{priority[1]}'",
            "choose one of: kubectl get priorityclasses",
        )
    runtime = re.search(r'RuntimeClass "?([^"\s]+)"? not found', message)
    if runtime:
        return (
            f"there is no RuntimeClass '{runtime[1]}'",
            "choose one of: kubectl get runtimeclasses, or leave runtimeClassName empty",
        )
    return None


def _unknown_user(words: str, call: Call) -> ClusterError:
    return ClusterError(
        f"the Kubernetes API at {call.server} {words}",
        "renew your login to the cluster, then try: kubectl auth whoami",
        status=401,
    )


def _forbidden(message: str, call: Call) -> ClusterError:
    known = pod_refusal(message, call.namespace)
    if known:
        return ClusterError(*known, status=403)
    denied = re.search(
        r'User "([^"]*)" cannot (\S+) resource "([^"]*)" in API group "([^"]*)"'
        r'(?: in the namespace "([^"]*)")?',
        message,
    )
    if not denied:
        return ClusterError(
            f"Kubernetes refuses to {call.verb} {call.what}: {_short(message)}", status=403
        )
    user, verb, resource, group, namespace = denied.groups()
    if user == "system:anonymous":
        return _unknown_user(f"got no credentials from you (for it you are {user})", call)
    plural, _, subresource = resource.partition("/")
    full = plural + (f".{group}" if group else "") + (f"/{subresource}" if subresource else "")
    where = f" in namespace '{namespace}'" if namespace else ""
    return ClusterError(
        f"user '{user}' may not {verb} {full}{where}",
        "ask an administrator for:\n" + role_advice([(full, [verb])], user, namespace),
        status=403,
    )


def _missing(message: str, answer: Mapping[str, Any], call: Call) -> ClusterError:
    details = answer.get("details") or {}
    if details.get("kind") == "namespaces" or re.match(r'namespaces "', message):
        name = details.get("name") or call.namespace
        return ClusterError(
            f"namespace '{name}' does not exist",
            f"choose another with -n, or: kubectl create namespace {name}",
            status=404,
        )
    if "could not find the requested resource" in message:
        return ClusterError(
            f"the Kubernetes API at {call.server} knows no {call.resource}",
            "the cluster is too old for it, or lacks an add-on",
            status=404,
        )
    where = f" in namespace '{call.namespace}'" if call.namespace else ""
    return ClusterError(f"there is no {call.what}{where}", status=404)


def _conflict(message: str, answer: Mapping[str, Any], call: Call) -> ClusterError:
    owners = {}
    for cause in (answer.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "FieldManagerConflict":
            owner = re.search(r'conflict with "([^"]*)"', str(cause.get("message")))
            owners[str(cause.get("field"))] = owner[1] if owner else "another manager"
    if owners:
        return FieldConflictError(call.what, owners)
    if "AlreadyExists" in str(answer.get("reason")):
        hint = "it may still be going away: wait until it is gone, or choose another name"
        return ClusterError(f"{call.what} exists already", hint, status=409)
    return ClusterError(
        f"{call.what} was changed by another at the same moment: {_short(message)}",
        "run the same command again",
        status=409,
    )


def _causes(answer: Mapping[str, Any]) -> str:
    causes = (answer.get("details") or {}).get("causes") or []
    texts = [f"{cause.get('field')}: {_short(str(cause.get('message')))}" for cause in causes]
    return "; ".join(dict.fromkeys(texts))


def _short(message: str) -> str:
    """Cut an answer that quotes a whole object."""
    message = " ".join(message.split())
    message = re.sub(r"Invalid value: \{.*\}: ", "", message)
    return message if len(message) <= 400 else f"{message[:397]}..."


def _status_object(body: str) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {"message": "" if "<" in body else body}
    return answer if isinstance(answer, dict) else {}


def _subject(user: str | None) -> str:
    account = re.fullmatch(r"system:serviceaccount:([^:]+):([^:]+)", user or "")
    if account:
        return f"--serviceaccount={account[1]}:{account[2]}"
    return f"--user={user or 'YOU'}"
