"""What the doctor counts, and the pod with which it asks the server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sweepctl import manifest
from sweepctl.jobs.doctor import (
    HELPFUL,
    check_api,
    check_kueue,
    check_permissions,
    gpus_offered,
    gpus_used,
    probe_pod,
    probe_server,
)
from sweepctl.jobs.doctor_checks import Level, check_disk, check_named
from sweepctl.kube.errors import ClusterError
from sweepctl.values.settings import chart, chart_folder, load_values

GPU = "nvidia.com/gpu"


def node(name: str, gpus: int | None, *, cordoned: bool = False) -> dict[str, Any]:
    allocatable = {} if gpus is None else {GPU: str(gpus)}
    spec = {"unschedulable": True} if cordoned else {}
    return {"metadata": {"name": name}, "spec": spec, "status": {"allocatable": allocatable}}


def pod(on: str, gpus: int, phase: str = "Running") -> dict[str, Any]:
    limits = {GPU: str(gpus)} if gpus else {}
    containers = [{"resources": {"limits": limits}}, {}]
    return {"spec": {"nodeName": on, "containers": containers}, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("v1.32.9", Level.MISSING),
        ("v1.33.0", Level.OK),
        ("v1.33.4-gke.1036000", Level.OK),
        ("v1.33.1+k3s1", Level.OK),
        ("v1.100.0", Level.OK),
        ("v2.0.0", Level.OK),
    ],
)
def test_a_cluster_that_is_too_old_is_told(version: str, level: Level) -> None:
    cluster: Any = SimpleNamespace(server="https://k", context="c", version=lambda: version)
    check = check_api(cluster)
    assert check.level is level
    assert check.hint is None or check.hint == "sweepctl needs Kubernetes 1.33 or later"


def test_chart_doctor_and_both_readmes_name_one_oldest_kubernetes() -> None:
    words = f"Kubernetes {chart().oldest_kubernetes} or later"
    for folder in (chart_folder(), chart_folder().parents[1]):
        assert words in (folder / "README.md").read_text("utf-8")


def test_gpus_of_nodes_that_take_pods_are_offered() -> None:
    nodes = [node("a", 8), node("b", 4, cordoned=True), node("c", None), node("d", 0)]
    assert gpus_offered(nodes, GPU) == {"a": 8}


def test_gpus_of_pods_that_have_not_ended_are_used() -> None:
    pods = [pod("a", 2), pod("a", 1, "Pending"), pod("a", 4, "Succeeded"), pod("b", 0)]
    assert gpus_used(pods, GPU) == {"a": 3}


def test_probing_pod_is_an_agents_without_gpu_code_and_key() -> None:
    values = load_values(
        overrides={"proxy.https": "http://proxy:3128", "image.pullSecrets": ["nvcr"]}
    )
    plan = manifest.plan_job(values, "method: random\n", "doctor", "robots")
    agent = manifest.render(plan)[-1]["spec"]["template"]["spec"]
    sent = probe_pod(plan)
    spec, (container,) = sent["spec"], sent["spec"]["containers"]
    assert spec["securityContext"] == agent["securityContext"]
    assert spec["imagePullSecrets"] == [{"name": "nvcr"}]
    assert container["image"] == agent["containers"][0]["image"]
    assert "volumeMounts" not in container
    assert GPU not in container["resources"]["limits"]
    env = {each["name"]: each.get("value") for each in container["env"]}
    assert env["URL"] == "https://api.wandb.ai"
    assert env["HTTPS_PROXY"] == "http://proxy:3128"
    assert "WANDB_API_KEY" not in env


def test_probing_pod_trusts_what_an_agent_trusts() -> None:
    variable = {"name": "WANDB_INSECURE_DISABLE_SSL", "value": "true"}
    values = load_values(overrides={"caBundle.secret": "ca", "extraEnv": [variable]})
    spec = probe_pod(manifest.plan_job(values, "method: random\n", "doctor", "robots"))["spec"]
    (container,) = spec["containers"]
    env = {each["name"]: each.get("value") for each in container["env"]}
    (mount,) = container["volumeMounts"]
    (volume,) = spec["volumes"]
    (source,) = volume["projected"]["sources"]
    assert source["secret"]["name"] == "ca"
    assert env["SSL_CERT_FILE"] == f"{mount['mountPath']}/{source['secret']['items'][0]['path']}"
    assert env["WANDB_INSECURE_DISABLE_SSL"] == "true"


def test_port_forward_is_asked_about_as_old_and_new_clusters_check_it() -> None:
    # By websocket it is a GET; Kubernetes 1.35 and later check "create" on top.
    asked = {access.verb for access, _ in HELPFUL if access.full_name == "pods/portforward"}
    assert asked == {"get", "create"}


class Refusing:
    """A cluster in which a pod runs and ends, and where some calls are forbidden."""

    def __init__(self) -> None:
        ended = {"name": "agent", "state": {"terminated": {"exitCode": 0, "message": "ok"}}}
        self.pod = {"metadata": {"name": "p"}, "status": {"containerStatuses": [ended]}}

    def api_groups(self) -> dict[str, str]:
        return {"kueue.x-k8s.io": "v1beta1"}

    def list(self, *_: Any) -> None:
        raise ClusterError("user 'ann' may not list localqueues", "ask for a role", status=403)

    def create(self, *_: Any) -> dict[str, Any]:
        return self.pod

    def delete(self, *_: Any) -> None:
        raise ClusterError("user 'ann' may not delete pods", "ask for a role", status=403)


def test_queues_that_may_not_be_listed_are_a_line_and_no_end() -> None:
    cluster: Any = Refusing()
    check = check_kueue(cluster, load_values(overrides={"kueue.queue": "gpus"}), "robots")[0]
    assert (check.level, check.words) == (Level.WARNING, "user 'ann' may not list localqueues")


def test_probing_pod_that_may_not_be_removed_is_a_line_and_no_end() -> None:
    cluster: Any = Refusing()
    check = probe_server(cluster, load_values(), "robots")
    assert check.level is Level.WARNING
    assert check.words == "pod/p, which asked, stays: user 'ann' may not delete pods"


def test_user_whose_name_is_not_told_is_you() -> None:
    unknown: Any = Refusing()
    unknown.user = lambda: None
    unknown.may = lambda access, namespace: access.verb != "watch"
    (check,) = check_permissions(unknown, "robots")
    assert (check.level, check.words) == (Level.MISSING, "you may not: watch pods")


class Holding:
    """A cluster with some Secrets, ConfigMaps and nodes."""

    def __init__(self, *nodes: dict[str, Any], **objects: dict[str, str]) -> None:
        self.nodes = nodes
        self.objects = objects

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        return {"data": self.objects[name]} if name in self.objects else None

    def list(self, kind: str) -> list[dict[str, Any]]:
        return list(self.nodes)


SSH = {"code.git.repository": "git@x.org:a", "code.git.secretName": "key"}


@pytest.mark.parametrize(
    ("settings", "objects", "level", "words", "hint"),
    [
        ({}, {}, None, "", None),
        (SSH, {"key": {"ssh-privatekey": "a", "known_hosts": "b"}}, Level.OK, "'key'", None),
        (
            SSH,
            {},
            Level.MISSING,
            "code.git.secretName: there is no Secret 'key'",
            "kubectl create secret -n robots generic key --type=kubernetes.io/ssh-auth"
            " --from-file=ssh-privatekey=FILE --from-file=known_hosts=FILE",
        ),
        (
            SSH,
            {"key": {"ssh-privatekey": "a"}},
            Level.MISSING,
            "code.git.secretName: the Secret 'key' has no key 'known_hosts'",
            "it has: ssh-privatekey",
        ),
        (
            {**SSH, "code.git.knownHosts": "x.org ssh-rsa A"},
            {"key": {"ssh-privatekey": "a"}},
            Level.OK,
            "code.git.secretName: 'key'",
            None,
        ),
        (
            {"envFrom": [{"secretRef": {"name": "s3"}}]},
            {},
            Level.MISSING,
            "envFrom[0]: there is no Secret 's3'",
            "kubectl create secret -n robots generic s3 …",
        ),
        ({"envFrom": [{"secretRef": {"name": "s3", "optional": True}}]}, {}, None, "", None),
        (
            {"envFrom": [{"configMapRef": {"name": "s3"}}]},
            {},
            Level.MISSING,
            "envFrom[0]: there is no ConfigMap 's3'",
            "kubectl create configmap -n robots s3 …",
        ),
        (
            {"caBundle.configMap": "ca", "caBundle.key": "b.pem"},
            {"ca": {"ca.crt": "a"}},
            Level.MISSING,
            "caBundle.configMap: the ConfigMap 'ca' has no key 'b.pem'",
            "it has: ca.crt",
        ),
    ],
)
def test_what_the_settings_name_is_looked_for(
    settings: dict[str, Any],
    objects: dict[str, Any],
    level: Level | None,
    words: str,
    hint: str | None,
) -> None:
    cluster: Any = Holding(**objects)
    checks = check_named(cluster, load_values(overrides=settings), "robots")
    assert [check.level for check in checks] == ([] if level is None else [level])
    assert all(words in check.words and check.hint == hint for check in checks)


@pytest.mark.parametrize(
    ("offered", "settings", "level"),
    [
        (["95551679124"], {}, Level.OK),
        (["50Gi", "200000000Ki"], {}, Level.OK),
        (["50Gi"], {}, Level.MISSING),
        (["50Gi"], {"runs.size": "20Gi"}, Level.OK),
        (["50Gi"], {"runs.type": "pvc", "cache.type": "pvc"}, None),
        ([], {}, None),
    ],
)
def test_nodes_have_the_disk_that_an_agent_asks_for(
    offered: list[str], settings: dict[str, Any], level: Level | None
) -> None:
    nodes = [node(str(number), 8) for number in range(len(offered))]
    for each, size in zip(nodes, offered, strict=True):
        each["status"]["allocatable"]["ephemeral-storage"] = size
    cluster: Any = Holding(*nodes, node("small", None))
    checks = check_disk(cluster, load_values(overrides=settings))
    assert [check.level for check in checks] == ([] if level is None else [level])
