"""What the doctor counts, and the pod with which it asks the server."""

from __future__ import annotations

from typing import Any

from sweepctl import manifest
from sweepctl.doctor import gpus_offered, gpus_used, probe_pod
from sweepctl.values import load_values

GPU = "nvidia.com/gpu"


def node(name: str, gpus: int | None, *, cordoned: bool = False) -> dict[str, Any]:
    allocatable = {} if gpus is None else {GPU: str(gpus)}
    spec = {"unschedulable": True} if cordoned else {}
    return {"metadata": {"name": name}, "spec": spec, "status": {"allocatable": allocatable}}


def pod(on: str, gpus: int, phase: str = "Running") -> dict[str, Any]:
    limits = {GPU: str(gpus)} if gpus else {}
    containers = [{"resources": {"limits": limits}}, {}]
    return {"spec": {"nodeName": on, "containers": containers}, "status": {"phase": phase}}


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
