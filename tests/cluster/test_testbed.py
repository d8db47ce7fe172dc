"""Proof of the test bed itself: what the other tests of this folder take for granted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import needs
from tests.testbed import audit, lifecycle, simulated
from tests.testbed.cluster import Cluster, is_ready
from tests.testbed.images import build_image
from tests.testbed.layout import GPU_RESOURCE, KUBERNETES_VERSION, Bed
from tests.testbed.pods import UNTIL_TERMINATED, pod, pod_spec
from tests.testbed.trainer import CACHE_CLAIM, CLAIM, offer_trainer

pytestmark = pytest.mark.cluster


def indexed_job(name: str, agents: int, spec: dict[str, Any]) -> dict[str, Any]:
    """A Job with the rules of design §7."""
    ignore = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {
            "action": "Ignore",
            "onExitCodes": {"containerName": "agent", "operator": "In", "values": [75, 76]},
        },
    ]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "completionMode": "Indexed",
            "completions": agents,
            "parallelism": agents,
            "backoffLimitPerIndex": 6,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": ignore},
            "template": {"spec": spec},
        },
    }


def pods(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster.get("-n", namespace, "pods")["items"]
    return found


def running(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    """The pods that run and are not about to end."""
    return [
        p
        for p in pods(cluster, namespace)
        if p["status"]["phase"] == "Running" and "deletionTimestamp" not in p["metadata"]
    ]


def wait_for_phase(cluster: Cluster, namespace: str, name: str, phase: str) -> None:
    def is_so() -> bool:
        now = cluster.get("-n", namespace, "pod", name)["status"]["phase"]
        if now == "Failed" != phase:
            log = cluster.run("kubectl", "-n", namespace, "logs", name).stdout
            raise AssertionError(f"pod {name} failed:\n{log[-2000:]}")
        return bool(now == phase)

    cluster.wait_for(f"pod {name} is {phase}", is_so)


def wait_for_first_line(cluster: Cluster, namespace: str, name: str) -> None:
    """Wait until a pod's program has its signal handler (UNTIL_TERMINATED says so)."""
    command = ("kubectl", "-n", namespace, "logs", name)
    cluster.wait_for("its first line", lambda: cluster.run(*command).stdout == "here\n")


def test_every_node_is_ready_and_offers_gpus(cluster: Cluster, the_bed: Bed) -> None:
    nodes = {n["metadata"]["name"]: n for n in cluster.get("nodes")["items"]}
    assert len(the_bed.nodes) >= 2
    for node in the_bed.nodes:
        assert is_ready(nodes[node.name])
        assert nodes[node.name]["status"]["allocatable"][GPU_RESOURCE] == str(node.gpus)


def test_indexed_job_gives_every_agent_its_own_gpu(
    cluster: Cluster, the_bed: Bed, namespace: str
) -> None:
    show = "import os; print(os.environ['JOB_COMPLETION_INDEX'], os.environ['%s'])"
    spec = pod_spec(["python3", "-c", show % "NVIDIA_VISIBLE_DEVICES"], gpus=1)
    cluster.apply(indexed_job("sweep", 3, spec), namespace=namespace)
    complete = ("wait", "--for=condition=complete", "job/sweep", "--timeout=300s")
    cluster.kubectl("-n", namespace, *complete)
    printed = [
        cluster.kubectl("-n", namespace, "logs", p["metadata"]["name"]).split()
        for p in pods(cluster, namespace)
    ]
    assert sorted(index for index, _ in printed) == ["0", "1", "2"]
    assert len({gpu for _, gpu in printed}) == 3


def test_device_plugin_tells_a_container_its_devices(
    cluster: Cluster, the_bed: Bed, namespace: str
) -> None:
    show = ["python3", "-c", "import os; print(os.environ['NVIDIA_VISIBLE_DEVICES'])"]
    node = the_bed.nodes[0]
    cluster.apply(pod("two", pod_spec(show, gpus=2, node=node.name)), namespace=namespace)
    wait_for_phase(cluster, namespace, "two", "Succeeded")
    given = cluster.kubectl("-n", namespace, "logs", "two").strip().split(",")
    offered = {f"GPU-{node.name}-{i}" for i in range(node.gpus)}
    assert len(given) == 2
    assert set(given) <= offered


def test_pod_that_asks_for_more_gpus_than_a_node_has_stays_pending(
    cluster: Cluster, the_bed: Bed, namespace: str
) -> None:
    too_many = max(node.gpus for node in the_bed.nodes) + 1
    cluster.apply(pod("greedy", pod_spec(["true"], gpus=too_many)), namespace=namespace)

    def why() -> str | None:
        status = cluster.get("-n", namespace, "pod", "greedy")["status"]
        return next((c["message"] for c in status.get("conditions", ()) if "message" in c), None)

    assert f"Insufficient {GPU_RESOURCE}" in cluster.wait_for("the scheduler says why", why)


def test_namespace_refuses_a_pod_that_breaks_pod_security(cluster: Cluster, namespace: str) -> None:
    spec = pod_spec(["true"])
    spec["containers"][0]["securityContext"] = {"privileged": True}
    done = cluster.run(
        "kubectl", "-n", namespace, "apply", "-f", "-", stdin=json.dumps(pod("bad", spec))
    )
    assert done.returncode != 0
    assert 'violates PodSecurity "restricted' in done.stderr


def test_logs_exec_and_cp_reach_a_running_container(
    cluster: Cluster, the_bed: Bed, namespace: str, tmp_path: Path
) -> None:
    spec = pod_spec(["python3", "-c", UNTIL_TERMINATED])
    spec["volumes"] = [{"name": "work", "emptyDir": {}}]
    spec["containers"][0]["volumeMounts"] = [{"name": "work", "mountPath": "/work"}]
    cluster.apply(pod("one", spec), namespace=namespace)
    wait_for_phase(cluster, namespace, "one", "Running")
    wait_for_first_line(cluster, namespace, "one")
    assert cluster.kubectl("-n", namespace, "exec", "one", "--", "id", "-u").strip() == "1000"
    sent, received = tmp_path / "sent", tmp_path / "received"
    sent.write_bytes(bytes(range(256)))
    cluster.kubectl("-n", namespace, "cp", str(sent), "one:/work/file")
    cluster.kubectl("-n", namespace, "cp", "one:/work/file", str(received))
    assert received.read_bytes() == sent.read_bytes()


def test_service_is_reached_by_name_from_a_pod_of_the_other_node(
    cluster: Cluster, the_bed: Bed, namespace: str
) -> None:
    here, there = the_bed.nodes[0].name, the_bed.nodes[1].name
    serve = ["python3", "-m", "http.server", "8000", "--directory", "/etc"]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8000}]},
    }
    cluster.apply(
        pod("web", pod_spec(serve, node=here), {"app": "web"}), service, namespace=namespace
    )
    wait_for_phase(cluster, namespace, "web", "Running")
    fetch = f"""
import time, urllib.request
for attempt in range(200):
    try:
        url = "http://web.{namespace}.svc/debian_version"
        print(urllib.request.urlopen(url, timeout=5).read().decode())
        break
    except OSError as error:
        print(error, flush=True)
        time.sleep(0.1)
else:
    raise SystemExit(1)
"""
    cluster.apply(
        pod("other-node", pod_spec(["python3", "-c", fetch], node=there)),
        pod("same-node", pod_spec(["python3", "-c", fetch], node=here)),
        namespace=namespace,
    )
    for name in ("other-node", "same-node"):
        wait_for_phase(cluster, namespace, name, "Succeeded")
        assert "12." in cluster.kubectl("-n", namespace, "logs", name)


def test_volume_is_written_on_one_node_and_read_on_the_other(
    cluster: Cluster, the_bed: Bed, namespace: str
) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "shared"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    cluster.apply(claim, namespace=namespace)
    for node, command in zip(
        the_bed.nodes, ("echo kept > /data/file", "grep kept /data/file"), strict=False
    ):
        spec = pod_spec(["sh", "-c", command], node=node.name)
        spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "shared"}}]
        spec["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        cluster.apply(pod(node.name, spec), namespace=namespace)
        wait_for_phase(cluster, namespace, node.name, "Succeeded")


def test_volumes_that_a_namespace_leaves_are_wiped_and_free_again(
    cluster: Cluster, the_bed: Bed, namespace: str
) -> None:
    """Its stock would end else, and a later claim of any test would never be bound."""
    size = {"requests": {"storage": "1Gi"}}
    spec = {"accessModes": ["ReadWriteMany"], "resources": size}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": spec}
    cluster.apply({**claim, "metadata": {"name": "data"}}, namespace=namespace)

    def bound() -> Any:
        return cluster.get("-n", namespace, "pvc", "data")["spec"].get("volumeName")

    volume = cluster.wait_for("the claim has a volume", bound)
    (the_bed.volumes / volume / "left").mkdir()
    (the_bed.volumes / volume / "left" / "behind").touch()
    cluster.kubectl("-n", namespace, "delete", "pvc", "data")

    def is_wiped() -> bool:
        found = cluster.get("pv", volume)
        is_another_s = found["spec"].get("claimRef", {}).get("namespace") not in (None, namespace)
        is_free = found["status"]["phase"] == "Available" or is_another_s
        return is_free and not (the_bed.volumes / volume / "left").exists()

    cluster.wait_for("it is empty, and another claim may have it", is_wiped)


def test_dockerfile_becomes_an_image_that_a_pod_mounts_as_a_volume(
    cluster: Cluster, the_bed: Bed, namespace: str, tmp_path: Path
) -> None:
    name = f"testbed.invalid/{namespace}:1"
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY task.py /task/task.py\n")
    (tmp_path / "task.py").write_text("print('from the image')\n")
    image = build_image(name, tmp_path, tmp_path / "image.tar")
    lifecycle.load_image(cluster, the_bed, image)
    spec = pod_spec(["python3", "/code/task/task.py"])
    spec["volumes"] = [{"name": "code", "image": {"reference": name, "pullPolicy": "Never"}}]
    spec["containers"][0]["volumeMounts"] = [{"name": "code", "mountPath": "/code"}]
    cluster.apply(pod("mounts", spec), namespace=namespace)
    wait_for_phase(cluster, namespace, "mounts", "Succeeded")
    assert cluster.kubectl("-n", namespace, "logs", "mounts") == "from the image\n"


def test_evicted_agent_is_replaced_and_counts_as_no_failure(
    cluster: Cluster, the_bed: Bed, namespace: str
) -> None:
    spec = pod_spec(["python3", "-c", UNTIL_TERMINATED], gpus=1)
    cluster.apply(indexed_job("sweep", 1, spec), namespace=namespace)

    def names() -> list[str]:
        return [p["metadata"]["name"] for p in running(cluster, namespace)]

    (first,) = cluster.wait_for("the agent runs", names)
    wait_for_first_line(cluster, namespace, first)
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": first, "namespace": namespace},
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{first}/eviction"
    cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
    (second,) = cluster.wait_for(
        "another agent runs", lambda: [name for name in names() if name != first]
    )
    assert second.startswith("sweep-0-")
    status = cluster.get("-n", namespace, "job", "sweep")["status"]
    assert status.get("failed", 0) == 0
    assert status.get("failedIndexes", "") == ""


def test_agents_that_a_pause_ended_with_75_come_back_without_a_failure_on_record(
    cluster: Cluster, the_bed: Bed, namespace: str
) -> None:
    """What `pause` rests on: the Job controller lets go of the pods that it deletes itself."""
    spec = pod_spec(["python3", "-c", UNTIL_TERMINATED])
    cluster.apply(indexed_job("sweep", 2, spec), namespace=namespace)

    def patch(suspend: bool) -> None:
        text = json.dumps({"spec": {"suspend": suspend}})
        cluster.kubectl("-n", namespace, "patch", "job", "sweep", "--type=merge", "-p", text)

    def job_status() -> dict[str, Any]:
        status: dict[str, Any] = cluster.get("-n", namespace, "job", "sweep")["status"]
        return status

    for _ in range(2):
        cluster.wait_for("both agents are ready", lambda: job_status().get("ready") == 2)
        agents = [p["metadata"]["name"] for p in pods(cluster, namespace)]
        for agent in agents:
            wait_for_first_line(cluster, namespace, agent)
        patch(suspend=True)
        cluster.wait_for("no pod is left", lambda: not pods(cluster, namespace))
        patch(suspend=False)
    cluster.wait_for("both agents are ready", lambda: job_status().get("ready") == 2)
    assert job_status().get("failed", 0) == 0
    for item in pods(cluster, namespace):
        assert (
            "batch.kubernetes.io/job-index-ignored-failure-count"
            not in (item["metadata"]["annotations"])
        )


def test_programs_have_the_pinned_versions(cluster: Cluster, the_bed: Bed) -> None:
    server = json.loads(cluster.kubectl("version", "-o", "json"))
    assert server["serverVersion"]["gitVersion"] == f"v{KUBERNETES_VERSION}"
    assert server["clientVersion"]["gitVersion"] == f"v{KUBERNETES_VERSION}"
    assert cluster.run("helm", "version", "--short").stdout.startswith("v4.3.1")
    manifest = json.dumps(pod("any", pod_spec(["true"])))
    done = cluster.run("kubeconform", "-skip", "Pod", "-summary", stdin=manifest)
    assert "Skipped: 1" in done.stdout


def test_simulated_nodes_appear_run_a_job_and_go(
    cluster: Cluster, the_bed: Bed, namespace: str
) -> None:
    spec = pod_spec(["true"], gpus=8)
    spec["tolerations"] = [simulated.TOLERATION]
    spec["nodeSelector"] = {simulated.MARK: "fake"}
    try:
        simulated.simulate(cluster, the_bed, 100)
        cluster.apply(indexed_job("many", 40, spec), namespace=namespace)
        cluster.wait_for(
            "40 agents are ready",
            lambda: cluster.get("-n", namespace, "job", "many")["status"].get("ready") == 40,
        )
        at = {p["spec"]["nodeName"] for p in pods(cluster, namespace)}
        assert len(at) == 40
        ends, leaves = (p["metadata"]["name"] for p in pods(cluster, namespace)[:2])
        on_command = "sweepctl.test/exit-code=0"
        cluster.kubectl("-n", namespace, "annotate", "pod", ends, on_command)
        cluster.kubectl("-n", namespace, "delete", "pod", leaves, "--wait=false")

        def has_ended_and_been_replaced() -> bool:
            status = cluster.get("-n", namespace, "job", "many")["status"]
            return bool(status.get("succeeded") == 1 and status.get("ready") == 39)

        cluster.wait_for("one agent ended, one was replaced", has_ended_and_been_replaced)
        assert leaves not in {p["metadata"]["name"] for p in running(cluster, namespace)}
        cluster.kubectl("-n", namespace, "delete", "job", "many", "--cascade=foreground")
        cluster.wait_for("no pod is left", lambda: not pods(cluster, namespace))
    finally:
        simulated.simulate(cluster, the_bed, 0)
    assert simulated.node_names(cluster) == []


def test_audit_log_counts_the_writes_of_a_command(
    cluster: Cluster, the_bed: Bed, namespace: str
) -> None:
    cluster.kubectl("-n", namespace, "create", "configmap", "one")
    cluster.kubectl("-n", namespace, "label", "configmap", "one", "a=b")
    cluster.kubectl("-n", namespace, "get", "configmap", "one")
    cluster.run("kubectl", "-n", namespace, "create", "configmap", "one")
    cluster.kubectl("-n", namespace, "create", "configmap", "two", "--dry-run=server")
    found = [
        (write.verb, write.resource, write.code, write.is_dry_run)
        for write in audit.writes(the_bed, namespace=namespace, user_agent="kubectl")
        if write.resource == "configmaps"
    ]
    assert found == [
        ("create", "configmaps", 201, False),
        ("patch", "configmaps", 200, False),
        ("create", "configmaps", 409, False),
        ("create", "configmaps", 201, True),
    ]


@pytest.mark.trainer
def test_isaac_lab_trains_in_a_restricted_pod(
    cluster: Cluster, the_bed: Bed, namespace: str
) -> None:
    needs.got(offer_trainer, cluster, the_bed, namespace, {"HOME": str(Path.home())})
    command = ["isaaclab", "train", "--rl_library", "rsl_rl", "--task", "Toy-Legs"]
    command += ["--num_envs", "16", "--device", "cpu", "agent.device=cpu", "--max_iterations", "1"]
    spec = pod_spec(command, gpus=1)
    environ = {
        "HOME": "/work",
        "USER": "agent",
        "GIT_PYTHON_REFRESH": "quiet",
        "PYTHONPATH": "/opt/trainer/code",
        "WARP_CACHE_PATH": "/caches/warp",
        "WANDB_MODE": "offline",
    }
    claims = {"trainer": CLAIM, "caches": CACHE_CLAIM}
    spec["volumes"] = [
        *({"name": k, "persistentVolumeClaim": {"claimName": v}} for k, v in claims.items()),
        {"name": "work", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
    ]
    spec["containers"][0] |= {
        "workingDir": "/work",
        "env": [{"name": k, "value": v} for k, v in environ.items()],
        "volumeMounts": [
            {"name": "trainer", "mountPath": "/opt/trainer", "readOnly": True},
            {"name": "caches", "mountPath": "/caches"},
            {"name": "work", "mountPath": "/work"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    cluster.apply(pod("training", spec), namespace=namespace)
    cluster.kubectl(
        *("-n", namespace, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/training"),
        *("--timeout=900s",),
        timeout_s=910,
    )
    assert "Training time:" in cluster.kubectl("-n", namespace, "logs", "training")
