"""What the Kubernetes API's refusals mean; the bodies are those of a real API server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sweepctl.kube.errors import Call, FieldConflictError, explain, role_advice

SERVER = "https://10.0.0.1:6443"


def call(verb: str = "patch", namespace: str | None = "robots") -> Call:
    return Call(verb, "jobs.batch", "Job", "legs-1a2b3c4d", namespace, SERVER)


def status(message: str, reason: str = "", **details: Any) -> str:
    return json.dumps({"kind": "Status", "message": message, "reason": reason, "details": details})


DENIED = (
    'jobs.batch "legs" is forbidden: User "ann" cannot patch resource "jobs" in API group "batch"'
    ' in the namespace "robots"'
)


@pytest.mark.parametrize(
    ("code", "body", "message", "hint"),
    [
        pytest.param(
            401,
            status("Unauthorized", "Unauthorized"),
            f"the Kubernetes API at {SERVER} does not accept your credentials",
            "auth whoami",
            id="credentials",
        ),
        pytest.param(
            403,
            status(DENIED.replace('"ann"', '"system:anonymous"'), "Forbidden"),
            f"the Kubernetes API at {SERVER} got no credentials from you"
            " (for it you are system:anonymous)",
            "auth whoami",
            id="no credentials",
        ),
        pytest.param(
            403,
            status(DENIED, "Forbidden"),
            "user 'ann' may not patch jobs.batch in namespace 'robots'",
            "kubectl create role sweepctl --verb=patch --resource=jobs.batch -n robots\n"
            "kubectl create rolebinding sweepctl --role=sweepctl --user=ann -n robots",
            id="rbac",
        ),
        pytest.param(
            403,
            status(
                'pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged', "x"
            ),
            "Pod Security 'restricted' of the namespace forbids such pods: privileged",
            "kubectl get namespace robots --show-labels",
            id="pod security",
        ),
        pytest.param(
            403,
            status(
                'pods "x" is forbidden: exceeded quota: gpu, requested: requests.nvidia.com/gpu=1,'
                " used: requests.nvidia.com/gpu=8, limited: requests.nvidia.com/gpu=8"
            ),
            "quota 'gpu' is used up: a pod asks for requests.nvidia.com/gpu=1; used are 8 of 8",
            "kubectl describe quota gpu -n robots",
            id="quota",
        ),
        pytest.param(
            403,
            status('pods "x" is forbidden: no PriorityClass with name high was found'),
            "there is no PriorityClass 'high'",
            "kubectl get priorityclasses",
            id="priority class",
        ),
        pytest.param(
            403,
            status('pods "x" is forbidden: pod rejected: RuntimeClass "nvidia" not found'),
            "there is no RuntimeClass 'nvidia'",
            "kubectl get runtimeclasses",
            id="runtime class",
        ),
        pytest.param(
            404,
            status('namespaces "robots" not found', "NotFound", name="robots", kind="namespaces"),
            "namespace 'robots' does not exist",
            "kubectl create namespace robots",
            id="namespace",
        ),
        pytest.param(
            404,
            status("the server could not find the requested resource", "NotFound"),
            f"the Kubernetes API at {SERVER} knows no jobs.batch",
            "too old",
            id="resource",
        ),
        pytest.param(
            409,
            status('jobs.batch "legs" already exists', "AlreadyExists"),
            "job/legs-1a2b3c4d exists already",
            "another name",
            id="exists",
        ),
        pytest.param(
            409,
            status("object has been modified", "Conflict"),
            "job/legs-1a2b3c4d was changed by another at the same moment: object has been modified",
            "again",
            id="raced",
        ),
        pytest.param(
            422,
            status(
                "long",
                "Invalid",
                causes=[
                    {
                        "field": "spec.template",
                        "message": 'Invalid value: {"a": {"b": 1}}: field is immutable',
                    }
                ],
            ),
            "Kubernetes does not accept job/legs-1a2b3c4d: spec.template: field is immutable",
            None,
            id="invalid, without the whole object",
        ),
        pytest.param(
            503,
            "<html>busy</html>",
            f"the Kubernetes API at {SERVER} answered 503: HTTP 503",
            "again",
            id="no json",
        ),
        pytest.param(
            418,
            status("teapot"),
            "cannot patch job/legs-1a2b3c4d: the Kubernetes API answered 418: teapot",
            None,
            id="unknown",
        ),
    ],
)
def test_refusal_says_what_is_wrong_and_what_to_do(
    code: int, body: str, message: str, hint: str | None
) -> None:
    error = explain(code, body, call())
    assert error.message == message
    assert error.status == (401 if "credentials" in message else code)
    assert (error.hint is None) if hint is None else (hint in (error.hint or ""))


@pytest.mark.parametrize(
    ("code", "is_transient"),
    [(401, False), (403, False), (404, False), (409, False), (429, True), (500, True), (503, True)],
)
def test_only_a_busy_api_is_asked_again(code: int, is_transient: bool) -> None:
    assert explain(code, "{}", call()).is_transient is is_transient


def test_conflict_names_each_field_and_who_set_it() -> None:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl-edit" using batch/v1',
            "field": ".spec.parallelism",
        },
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kueue" using batch/v1',
            "field": ".spec.suspend",
        },
    ]
    error = explain(409, status("Apply failed", "Conflict", causes=causes), call())
    assert isinstance(error, FieldConflictError)
    assert error.owners == {".spec.parallelism": "kubectl-edit", ".spec.suspend": "kueue"}
    assert "--force-conflicts" in (error.hint or "")


@pytest.mark.parametrize(
    ("rules", "user", "namespace", "text"),
    [
        pytest.param(
            [("pods", ["get", "list"]), ("pods/log", ["get", "list"])],
            "system:serviceaccount:ci:bot",
            "robots",
            "kubectl create role sweepctl --verb=get,list --resource=pods,pods/log -n robots\n"
            "kubectl create rolebinding sweepctl --role=sweepctl --serviceaccount=ci:bot -n robots",
            id="one rule for a service account",
        ),
        pytest.param(
            [("jobs.batch", ["create"]), ("pods/log", ["get"])],
            "ann",
            None,
            "kubectl apply -f - <<END\n"
            "apiVersion: rbac.authorization.k8s.io/v1\n"
            "kind: ClusterRole\n"
            "metadata: {name: sweepctl}\n"
            "rules:\n"
            '- {apiGroups: ["batch"], resources: [jobs], verbs: [create]}\n'
            '- {apiGroups: [""], resources: [pods/log], verbs: [get]}\n'
            "END\n"
            "kubectl create clusterrolebinding sweepctl --clusterrole=sweepctl --user=ann",
            id="several rules",
        ),
    ],
)
def test_advice_can_be_pasted_by_an_administrator(
    rules: list[tuple[str, list[str]]], user: str, namespace: str | None, text: str
) -> None:
    assert role_advice(rules, user, namespace) == text
