"""Why pods do not run, in plain words, from what Kubernetes itself says."""

from __future__ import annotations

from typing import Any

import pytest

from sweepctl.kube.pod_reasons import why_failed, why_not_created, why_pending
from tests.unit.kubernetes_objects import ago, event, pod, unscheduled

GPU = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu. preemption: 0/2 nodes are available."
TAINT = (
    "0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) had untolerated taint"
    " {node.kubernetes.io/unreachable: }. preemption: not helpful"
)


def with_key(sent: dict[str, Any]) -> dict[str, Any]:
    """Give a pod whose agent takes its API key from the Secret wandb."""
    reference = {"secretKeyRef": {"name": "wandb", "key": "token"}}
    container = {"name": "agent", "env": [{"name": "WANDB_API_KEY", "valueFrom": reference}]}
    return {**sent, "spec": {**sent["spec"], "containers": [container]}}


def test_pod_whose_clone_failed_says_what_git_said() -> None:
    said = "Host key verification failed.\nfatal: Could not read from remote repository.\n"
    sent = pod(phase="Failed")
    ended = {"exitCode": 128, "message": said}
    sent["status"]["initContainerStatuses"] = [{"name": "code", "state": {"terminated": ended}}]
    sent["status"]["containerStatuses"] = [{"name": "agent", "state": {"waiting": {}}}]
    for reason in (why_failed(sent, "legs"), why_pending(sent)):
        assert reason.words == (
            "container 'code' ended with exit code 128: Host key verification failed."
            " fatal: Could not read from remote repository."
        )
        assert (reason.hint or "").endswith(" -c code")


@pytest.mark.parametrize(
    ("sent", "words", "hint"),
    [
        pytest.param(unscheduled(GPU), "no free nvidia.com/gpu on 2 nodes", "doctor", id="no gpu"),
        pytest.param(
            unscheduled(TAINT),
            "no free nvidia.com/gpu on 3 nodes (others have taints that it does not tolerate"
            " (node.kubernetes.io/unreachable: ))",
            "doctor",
            id="gpu behind a taint",
        ),
        pytest.param(
            unscheduled("0/1 nodes are available: 1 Insufficient memory, 1 Insufficient cpu."),
            "not enough free memory, cpu on 1 node",
            "resources.requests",
            id="memory",
        ),
        pytest.param(
            unscheduled(
                "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
            ),
            "no node may take it: 2 nodes have labels that nodeSelector or affinity do not ask for",
            "nodeSelector",
            id="selector",
        ),
        pytest.param(
            unscheduled('persistentvolumeclaim "runs" not found'),
            "the claim 'runs' does not exist",
            "kubectl get pvc -n robots",
            id="claim missing",
        ),
        pytest.param(
            unscheduled(
                "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."
            ),
            "its volume claim is not bound",
            "kubectl describe pvc",
            id="claim unbound",
        ),
        pytest.param(
            unscheduled("", "SchedulingGated"),
            "held back by a scheduling gate, until a queue such as Kueue admits it",
            "workloads",
            id="gate",
        ),
        pytest.param(
            pod(
                phase="Pending",
                waiting={
                    "reason": "ImagePullBackOff",
                    "message": 'Back-off pulling image "nvcr.io/nvidia/isaac-lab:9": ErrImagePull:'
                    " rpc error: code = NotFound desc = failed to pull image: not found",
                },
            ),
            "cannot pull image nvcr.io/nvidia/isaac-lab:9: failed to pull image: not found",
            "--image",
            id="image missing",
        ),
        pytest.param(
            pod(
                phase="Pending",
                waiting={"reason": "ErrImagePull", "message": "401 Unauthorized"},
            ),
            "the registry refuses image nvcr.io/nvidia/isaac-lab:9: no access",
            "docker-registry",
            id="image forbidden",
        ),
        pytest.param(
            pod(phase="Pending", waiting={"reason": "ErrImageNeverPull", "message": "not present"}),
            "image nvcr.io/nvidia/isaac-lab:9 is not on the node and imagePullPolicy is Never",
            "pullPolicy",
            id="never pull",
        ),
        pytest.param(
            pod(phase="Pending", waiting={"reason": "InvalidImageName", "message": "..."}),
            "'nvcr.io/nvidia/isaac-lab:9' is no name of an image",
            "--image",
            id="image name",
        ),
        pytest.param(
            pod(
                phase="Pending",
                waiting={
                    "reason": "CreateContainerConfigError",
                    "message": 'secret "wandb" not found',
                },
            ),
            "the Secret 'wandb' does not exist",
            "kubectl create secret generic wandb -n robots …",
            id="another secret missing",
        ),
        pytest.param(
            with_key(
                pod(
                    phase="Pending",
                    waiting={
                        "reason": "CreateContainerConfigError",
                        "message": 'secret "wandb" not found',
                    },
                )
            ),
            "the Secret 'wandb' does not exist",
            "--create-secret, or: kubectl create secret generic wandb -n robots --from-file=token=",
            id="secret of the key missing",
        ),
        pytest.param(
            pod(
                phase="Pending",
                waiting={
                    "reason": "CreateContainerConfigError",
                    "message": 'configmap "storage" not found',
                },
            ),
            "the ConfigMap 'storage' does not exist",
            "kubectl create configmap storage -n robots …",
            id="configmap missing",
        ),
        pytest.param(
            pod(
                phase="Pending",
                waiting={
                    "reason": "CreateContainerConfigError",
                    "message": "couldn't find key apiKey in Secret robots/wandb",
                },
            ),
            "the Secret 'wandb' has no key apiKey",
            "kubectl describe secret -n robots wandb",
            id="key missing",
        ),
        pytest.param(
            pod(
                phase="Pending",
                waiting={
                    "reason": "CreateContainerConfigError",
                    "message": "container has runAsNonRoot and image will run as root",
                },
            ),
            "image nvcr.io/nvidia/isaac-lab:9 wants to run as root, which its security profile"
            " forbids",
            "set security.runAsUser",
            id="root",
        ),
        pytest.param(
            pod(phase="Pending", waiting={"reason": "ContainerCreating"}),
            "starting on node-1",
            None,
            id="starting",
        ),
    ],
)
def test_pending_pod_is_explained(sent: dict[str, Any], words: str, hint: str | None) -> None:
    reason = why_pending(sent)
    assert reason.words == words
    assert (reason.hint is None) if hint is None else (hint in (reason.hint or ""))


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        pytest.param(
            event("FailedMount", 'configmap "x" not found', name="legs-1a2b3c4d-0-abcde"),
            'a volume cannot be mounted: configmap "x" not found',
            id="mount",
        ),
        pytest.param(
            event("Pulling", "Pulling image", name="legs-1a2b3c4d-0-abcde", warns=False),
            "pulling its image on node-1: images of 20 GB take minutes",
            id="pulling",
        ),
        pytest.param(
            event("FailedMount", "not ours", name="another"),
            "starting on node-1",
            id="another pod's",
        ),
    ],
)
def test_events_tell_why_a_pod_starts_slowly(seen: dict[str, Any], words: str) -> None:
    sent = pod(phase="Pending", waiting={"reason": "ContainerCreating"})
    assert why_pending(sent, [seen]).words == words


def failed(code: int, message: str = "", **fields: Any) -> dict[str, Any]:
    terminated = {"exitCode": code, "message": message, "finishedAt": ago(3), **fields}
    return pod(phase="Failed", terminated=terminated)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        pytest.param(failed(75), "it handed its run back", id="75"),
        pytest.param(
            failed(76, "nvidia-smi lists no GPU"),
            "its node is unfit: nvidia-smi lists no GPU",
            id="76 with its reason",
        ),
        pytest.param(
            failed(78, "gave up after 3 runs that all failed"),
            "gave up after 3 runs that all failed",
            id="78 after its first runs",
        ),
        pytest.param(failed(78, "no sweep"), "configuration error: no sweep", id="78"),
        pytest.param(
            failed(137, reason="OOMKilled"),
            "out of memory: the kernel killed the trainer",
            id="oom",
        ),
        pytest.param(
            failed(1, "boom\nbang"), "the agent ended with exit code 1: boom; bang", id="1"
        ),
        pytest.param(
            pod(phase="Failed", node="n", reason="Evicted", message="low on disk"),
            "Evicted low on disk",
            id="evicted by the kubelet",
        ),
        pytest.param(
            pod(
                phase="Failed",
                terminated={"exitCode": 75},
                conditions=[
                    {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "EvictionByEvictionAPI",
                    }
                ],
            ),
            "its node was needed or lost: evicted, as when a node is drained",
            id="drained",
        ),
    ],
)
def test_failed_pod_is_explained(sent: dict[str, Any], words: str) -> None:
    assert why_failed(sent, "legs").words == words


@pytest.mark.parametrize(
    ("message", "words"),
    [
        pytest.param(
            'Error creating: pods "legs-0-" is forbidden: exceeded quota: gpu, requested:'
            " requests.nvidia.com/gpu=1, used: requests.nvidia.com/gpu=2, limited:"
            " requests.nvidia.com/gpu=2",
            "quota 'gpu' is used up: a pod asks for requests.nvidia.com/gpu=1; used are 2 of 2",
            id="quota",
        ),
        pytest.param(
            'Error creating: pods "legs-0-" is forbidden: violates PodSecurity "restricted:latest":'
            ' runAsNonRoot != true (pod or container "agent" must set it)',
            "Pod Security 'restricted' of the namespace forbids such pods: runAsNonRoot != true"
            ' (pod or container "agent" must set it)',
            id="pod security",
        ),
        pytest.param(
            'Error creating: pods "legs-0-" is forbidden: failed quota: all: must specify'
            " limits.cpu for: agent",
            "quota 'all' demands that pods specify limits.cpu for: agent",
            id="quota demands",
        ),
        pytest.param(
            'Error creating: pods "x" is forbidden: error looking up service account robots/legs:'
            ' serviceaccount "legs" not found',
            "the ServiceAccount 'legs' does not exist",
            id="service account",
        ),
        pytest.param(
            "Error creating: admission webhook said no",
            "Kubernetes refuses its pods: admission webhook said no",
            id="unknown",
        ),
    ],
)
def test_refused_pods_are_explained_by_the_jobs_events(message: str, words: str) -> None:
    seen = event("FailedCreate", message, kind="Job", name="legs-1a2b3c4d")
    reason = why_not_created([seen], "robots")
    assert reason is not None
    assert reason.words == words


def test_other_events_of_a_job_explain_nothing() -> None:
    seen = event("SuccessfulCreate", "Created pod", kind="Job", name="legs-1a2b3c4d", warns=False)
    assert why_not_created([seen], "robots") is None
