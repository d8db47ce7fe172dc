"""What a real API server refuses, and what stops pods, in plain words with what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.sweeps import (
    Sweepctl,
    offer_plain_trainer,
    write_sweep,
    write_values,
)
from tests.serving import ServerProcess
from tests.testbed.cluster import Cluster
from tests.testbed.layout import GPU_RESOURCE, Bed
from tests.testbed.server_image import offer_server_image

pytestmark = pytest.mark.cluster

KEY = "0123456789012345678901234567890123456789"
MADE = "jobs,statefulsets,services,serviceaccounts,persistentvolumeclaims"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server outside the cluster, where submit creates its sweeps; no pod comes that far."""
    server = ServerProcess(tmp_path_factory.mktemp("server") / "data")
    yield server.url
    server.kill()


@pytest.fixture
def sweepctl(cluster: Cluster, namespace: str, tmp_path: Path, url: str) -> Sweepctl:
    """The command line, with a sweep and settings without a server of its own in its folder."""
    offer_plain_trainer(cluster, namespace)
    write_sweep(tmp_path, [1.0])
    write_values(tmp_path, server={"enabled": False}, wandb={"baseUrl": url})
    make_secret(cluster, namespace)
    return Sweepctl(cluster, namespace, tmp_path)


def make_secret(cluster: Cluster, namespace: str) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "wandb"},
        "stringData": {"apiKey": KEY},
    }
    cluster.apply(secret, namespace=namespace)


def submit(*more: str) -> tuple[str, ...]:
    return ("submit", "plain.yaml", "-f", "values.yaml", *more)


def quota(**hard: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "all"},
        "spec": {"hard": hard},
    }


REFUSED = {
    "no such namespace": (
        ("-n", "none-such"),
        1,
        r"error: namespace 'none-such' does not exist\n.*kubectl create namespace none-such",
    ),
    "no such context": (("--context", "gpu"), 1, r"error: no context 'gpu' in .*\n  it has: \w+"),
    "no agents": (("--agents", "0"), 2, r"--agents:1:1: agents: expected a number from 1 to \d+"),
    "minus one agent": (("--agents", "-1"), 2, r"--agents:1:1: agents: expected a number from 1"),
    "10,000 agents": (("--agents", "10000"), 2, r"--agents:1:1: agents: expected a number from 1"),
    "a name that is no label": (("--name", "Plain_1"), 2, r"--name 'Plain_1'.*\n  try plain-1"),
    "a name too long": (("--name", "a" * 46), 2, r"45 at most\n  try a{45}\n"),
    "a misspelt setting": (("--set", "agent=3"), 2, r"--set:1:1: .*agent"),
    "pod security": (
        ("--set", "security.profile=baseline"),
        1,
        r"error: Pod Security 'restricted' of the namespace forbids such pods: .*runAsNonRoot",
    ),
    "no priority class": (
        ("--set", "priorityClassName=none-such"),
        1,
        r"error: there is no PriorityClass 'none-such'\n  choose one of: kubectl get",
    ),
    "no runtime class": (
        ("--set", "runtimeClassName=none-such"),
        1,
        r"error: there is no RuntimeClass 'none-such'\n  choose one of: kubectl get",
    ),
    "no secret": (
        ("--set", "wandb.secretName=none-such"),
        1,
        r"error: the Secret 'none-such' with the API key does not exist in namespace '\S+'\n"
        r"  make it from your own W&B login with --create-secret",
    ),
    "no key in the secret": (
        ("--set", "wandb.secretKey=token"),
        1,
        r"error: the Secret 'wandb' has no key 'token' \(it has: apiKey\)",
    ),
    "no such sweep": (
        ("--sweep", "local/plain/none"),
        1,
        r"error: no sweep local/plain/none at http://127.0.0.1:\d+",
    ),
    "no such server": (
        ("--server", "http://127.0.0.1:9"),
        1,
        r"error: cannot reach http://127.0.0.1:9: connection refused",
    ),
    "no login for a secret": (
        ("--set", "wandb.secretName=other", "--create-secret"),
        2,
        r"error: --create-secret: there is no W&B login for http://127.0.0.1:\d+ here\n"
        r"  set WANDB_API_KEY, or ",
    ),
}


@pytest.mark.parametrize(("flags", "code", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_and_nothing_is_made(
    sweepctl: Sweepctl, flags: tuple[str, ...], code: int, message: str
) -> None:
    done = sweepctl(*submit(*flags))
    assert re.search(message, done.stderr, re.S), done.stderr
    assert (done.returncode, done.stdout) == (code, "")
    assert "Traceback" not in done.stderr
    assert KEY not in done.stderr
    made = sweepctl.cluster.get("-n", sweepctl.namespace, MADE)["items"]
    assert [item["metadata"]["name"] for item in made if item["kind"] != "ServiceAccount"] == []


def test_used_up_quota_is_refused_with_its_numbers(sweepctl: Sweepctl) -> None:
    hard = {f"requests.{GPU_RESOURCE}": "0"}
    sweepctl.cluster.apply(quota(**hard), namespace=sweepctl.namespace)

    def is_known() -> Any:
        found = sweepctl.cluster.get("-n", sweepctl.namespace, "resourcequota", "all")
        return found.get("status", {}).get("hard")

    sweepctl.cluster.wait_for("the quota is in force", is_known)
    done = sweepctl(*submit())
    assert done.returncode == 1
    assert (
        f"error: quota 'all' is used up: a pod asks for requests.{GPU_RESOURCE}=1; used are 0 of 0"
        in done.stderr
    )


NO_CLUSTER = {
    "no kubeconfig": ({"KUBECONFIG": ""}, "error: no kubeconfig: there is no "),
    "a file that is not there": ({"KUBECONFIG": "none-such"}, "error: no kubeconfig: KUBECONFIG"),
    "another kind of file": ({"KUBECONFIG": "plain.yaml"}, "is no usable kubeconfig"),
}


@pytest.mark.parametrize(("environ", "message"), NO_CLUSTER.values(), ids=NO_CLUSTER)
def test_missing_configuration_is_named(
    sweepctl: Sweepctl, environ: Mapping[str, str], message: str
) -> None:
    done = sweepctl(*submit(), environ=environ)
    assert (done.returncode, message in done.stderr) == (1, True), done.stderr
    assert "Traceback" not in done.stderr


def kubeconfig(sweepctl: Sweepctl, **user: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(sweepctl.cluster.kubeconfig.read_text())
    if user:
        found["users"][0]["user"] = dict(user)
    return found


def test_api_out_of_reach_is_named(sweepctl: Sweepctl) -> None:
    config = kubeconfig(sweepctl)
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    (sweepctl.folder / "away").write_text(yaml.safe_dump(config))
    done = sweepctl(*submit(), environ={"KUBECONFIG": "away"})
    assert done.returncode == 1
    assert "error: cannot reach the Kubernetes API at https://127.0.0.1:9: " in done.stderr
    assert "kubectl cluster-info" in done.stderr


def test_forbidden_says_which_verb_on_which_resource_and_what_to_ask_for(
    sweepctl: Sweepctl,
) -> None:
    cluster, namespace = sweepctl.cluster, sweepctl.namespace
    cluster.kubectl("-n", namespace, "create", "serviceaccount", "ann")
    token = cluster.kubectl("-n", namespace, "create", "token", "ann").strip()
    config = kubeconfig(sweepctl, token=token)
    (sweepctl.folder / "ann").write_text(yaml.safe_dump(config))
    as_ann = {"KUBECONFIG": "ann"}
    user = f"system:serviceaccount:{namespace}:ann"
    done = sweepctl(*submit(), environ=as_ann)
    assert done.returncode == 1
    assert f"error: user '{user}' may not get configmaps in namespace '{namespace}'" in done.stderr
    assert f"kubectl create role sweepctl --verb=get --resource=configmaps -n {namespace}" in (
        done.stderr
    )
    config["users"][0]["user"]["token"] = "none"
    (sweepctl.folder / "nobody").write_text(yaml.safe_dump(config))
    done = sweepctl("list", environ={"KUBECONFIG": "nobody"})
    assert (done.returncode, "does not accept your credentials" in done.stderr) == (1, True)

    # What the doctor advises an administrator to type is enough for all verbs.
    advice = sweepctl("doctor", "--no-probe", "-o", "json", environ=as_ann)
    assert advice.returncode == 1
    (missing,) = [
        check
        for check in json.loads(advice.stdout)
        if check["check"] == "permissions" and check["level"] == "missing"
    ]
    script = missing["hint"].partition("\n")[2]
    typed = cluster.run("bash", "-euc", script)
    assert typed.returncode == 0, typed.stderr
    assert "ok      permissions" in sweepctl("doctor", "--no-probe", environ=as_ann).stdout
    done = sweepctl(*submit(), environ=as_ann)
    assert done.returncode == 0, done.stderr
    assert sweepctl("status", "plain", environ=as_ann).returncode == 0
    assert sweepctl("scale", "plain", "2", environ=as_ann).returncode == 0
    assert sweepctl("pause", "plain", environ=as_ann).returncode == 0
    done = sweepctl("delete", "plain", "--yes", environ=as_ann)
    assert done.returncode == 0, done.stderr


WAITING = {
    "no such image": (
        ("--image", "testbed.invalid/none:1"),
        r"image testbed.invalid/none:1 is not on the node and imagePullPolicy is Never",
    ),
    "an image that cannot be pulled": (
        # No name to look up: the node's own loopback refuses at once.
        ("--image", "127.0.0.1:9/none:1", "--set", "image.pullPolicy=Always"),
        r"cannot pull image 127.0.0.1:9/none:1: ",
    ),
    "a resource that no node has": (
        ("--set", "gpuResource=example.com/gpu"),
        r"no free example.com/gpu on \d+ nodes",
    ),
    "more GPUs than a node has": (("--gpus-per-agent", "64"), rf"no free {GPU_RESOURCE} on \d+"),
    "no such node": (
        ("--set", "nodeSelector.zone=moon"),
        r"no node may take it: \d+ nodes have labels that nodeSelector or affinity do not ask for",
    ),
    "no such claim": (
        ("--set", "runs.type=pvc,runs.existingClaim=none-such"),
        r"the claim 'none-such' does not exist",
    ),
}


@pytest.mark.parametrize(("flags", "words"), WAITING.values(), ids=WAITING)
def test_status_says_why_a_pod_does_not_start(
    sweepctl: Sweepctl, flags: tuple[str, ...], words: str
) -> None:
    sweepctl.answer(*submit(*flags))

    def is_said() -> bool:
        (agent,) = sweepctl.status("plain")["agents"]
        return bool(agent["hint"] and re.search(words, agent["reason"] or ""))

    sweepctl.cluster.wait_for(f"status says: {words}", is_said, every_s=1)
    shown = sweepctl.answer("status", "plain")
    assert re.search(rf"^agent 0 Pending: {words}", shown, re.M), shown


def test_status_says_that_the_secret_went_missing(sweepctl: Sweepctl) -> None:
    cluster, zone = sweepctl.cluster, f"zone={sweepctl.namespace}"
    delete = ("-n", sweepctl.namespace, "delete", "secret", "wandb")
    sweepctl.answer(*submit("--set", f"nodeSelector.{zone}"))
    cluster.kubectl(*delete)
    refused = sweepctl(*submit("--set", f"nodeSelector.{zone}"))
    assert "the Secret 'wandb' with the API key does not exist" in refused.stderr

    def is_said() -> bool:
        (agent,) = sweepctl.status("plain")["agents"]
        return bool(agent["reason"] == "the Secret 'wandb' does not exist")

    node = cluster.get("nodes")["items"][0]["metadata"]["name"]
    cluster.kubectl("label", "node", node, zone)
    try:
        cluster.wait_for("status says so", is_said, every_s=1)
    finally:
        cluster.kubectl("label", "node", node, "zone-")


def test_quota_that_stops_further_pods_is_told_by_status(sweepctl: Sweepctl) -> None:
    hard = {f"requests.{GPU_RESOURCE}": "1"}
    sweepctl.cluster.apply(quota(**hard), namespace=sweepctl.namespace)
    found = ("-n", sweepctl.namespace, "resourcequota", "all")
    sweepctl.cluster.wait_for(
        "the quota is in force", lambda: sweepctl.cluster.get(*found).get("status", {}).get("hard")
    )
    sweepctl.answer(*submit("--agents", "2", "--set", "nodeSelector.zone=moon"))

    def is_said() -> bool:
        reasons = [agent["reason"] or "" for agent in sweepctl.status("plain")["agents"]]
        return any(reason.startswith("quota 'all' is used up") for reason in reasons)

    sweepctl.cluster.wait_for("status says so", is_said, every_s=1)


def test_unknown_sweep_lists_those_there_are(sweepctl: Sweepctl) -> None:
    sweepctl.answer(*submit("--set", "nodeSelector.zone=moon"))
    for verb in ("status", "logs", "pause", "stop", "wait"):
        done = sweepctl(verb, "plan")
        assert (done.returncode, "did you mean plain? it has: plain" in done.stderr) == (1, True)


def test_unfit_node_ends_with_76_and_its_reason(
    sweepctl: Sweepctl, cluster: Cluster, the_bed: Bed
) -> None:
    """The test bed's GPUs are not real: a preflight that looks for one finds none."""
    offer_server_image(cluster, the_bed)
    write_values(sweepctl.folder, preflight={"gpu": "auto"})
    sweepctl.answer("submit", "plain.yaml", "-f", "values.yaml")

    def is_said() -> dict[str, Any] | None:
        (agent,) = sweepctl.status("plain")["agents"]
        return agent if agent["state"] == "Waiting" else None

    agent = sweepctl.cluster.wait_for("the agent gives its node up", is_said, every_s=1)
    assert agent["reason"].startswith("its node is unfit: ")
    assert agent["hint"].startswith("keep pods away from it: kubectl cordon node-")
    assert agent["replacement_due_s"] <= 10
    pods = sweepctl.cluster.get(
        "-n", sweepctl.namespace, "pods", "-l", "app.kubernetes.io/component=agent"
    )["items"]
    codes = {
        status["state"]["terminated"]["exitCode"]
        for pod in pods
        for status in pod["status"].get("containerStatuses", ())
        if "terminated" in status["state"]
    }
    assert codes == {76}


def test_doctor_looks_at_everything(sweepctl: Sweepctl, the_bed: Bed) -> None:
    done = sweepctl("doctor", "-f", "values.yaml", "-o", "json", "--server", "http://127.0.0.1:9")
    checks = {check["check"]: check for check in json.loads(done.stdout)}
    assert done.returncode == 1
    assert checks["API"]["level"] == "ok"
    assert checks["namespace"]["message"].endswith("Pod Security enforces 'restricted'")
    assert checks["permissions"]["level"] == "ok"
    total = sum(node.gpus for node in the_bed.nodes)
    assert f"nodes offer {total} {GPU_RESOURCE}, " in checks["GPUs"]["message"]
    assert checks["API key"]["level"] == "ok"
    assert checks["Kueue"]["message"] == "not installed, not asked for"
    probe = checks["server from a pod"]
    assert probe["level"] == "missing"
    assert "refused" in probe["message"]
    pods = ("-n", sweepctl.namespace, "pods")
    sweepctl.cluster.wait_for("no pod is left", lambda: not sweepctl.cluster.get(*pods)["items"])
