"""A sweep's objects: what the settings make of them, and what must hold whatever is set."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from sweepctl import manifest
from sweepctl.manifest.checks import check_objects
from sweepctl.values.settings import chart, chart_folder, load_values
from sweepctl_pod.errors import SweepctlError, UsageError
from tests.unit.kubernetes_models import unknown_fields

SWEEP = "method: grid\nparameters: {agent.seed: {values: [1, 2]}}\n"
Objects = dict[str, dict[str, Any]]


def objects_of(*sets: str, files: tuple[str, ...] = (), **how: Any) -> Objects:
    """Render a sweep `legs`; give the objects by kind, with the component where there are two."""
    plan = manifest.plan_job(load_values(files, sets), SWEEP, "legs", "team", **how)
    found: Objects = {}
    for piece in manifest.render(plan):
        name = piece["metadata"]["name"].removeprefix("legs-")
        unique = piece["kind"] in ("Job", "StatefulSet", "ServiceAccount", "Service")
        found[piece["kind"] if unique else f"{piece['kind']}/{name.partition('-')[0]}"] = piece
    return found


def job_of(*sets: str, **how: Any) -> dict[str, Any]:
    return objects_of(*sets, **how)["Job"]


def pod_of(*sets: str, **how: Any) -> dict[str, Any]:
    pod = job_of(*sets, **how)["spec"]["template"]["spec"]
    assert isinstance(pod, dict)
    return pod


def agent_of(*sets: str, **how: Any) -> dict[str, Any]:
    (container,) = pod_of(*sets, **how)["containers"]
    assert isinstance(container, dict)
    return container


def env_of(*sets: str, **how: Any) -> dict[str, Any]:
    env = agent_of(*sets, **how)["env"]
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in env}


def at(piece: Mapping[str, Any], path: str) -> Any:
    found: Any = piece
    for step in path.split("."):
        if isinstance(found, list):
            found = next((item for item in found if item["name"] == step), None)
        else:
            found = found.get(step) if isinstance(found, dict) else None
    return found


def test_what_is_made_for_a_sweep_in_the_order_in_which_it_is_made() -> None:
    assert list(objects_of()) == ["ServiceAccount", "ConfigMap/sweep", "ConfigMap/code", "Job"]


def test_what_is_made_with_everything() -> None:
    wanted = objects_of(
        "server.enabled=true", "networkPolicy.enabled=true", "cache.type=pvc", "runs.type=pvc"
    )
    assert list(wanted) == [
        "ServiceAccount",
        "ConfigMap/sweep",
        "ConfigMap/code",
        "PersistentVolumeClaim/cache",
        "PersistentVolumeClaim/runs",
        "NetworkPolicy/agent",
        "Service",
        "PodDisruptionBudget/server",
        "NetworkPolicy/server",
        "StatefulSet",
        "Job",
    ]


def test_the_server_is_reached_from_outside_by_ingress_or_gateway() -> None:
    wanted = objects_of(
        "server.enabled=true",
        "server.ingress.enabled=true",
        "server.ingress.className=nginx",
        "server.ingress.hosts={a.example.org,b.example.org}",
        "server.ingress.tlsSecretName=tls",
        "server.httpRoute.enabled=true",
        "server.httpRoute.parentRefs[0].name=public",
        "server.httpRoute.parentRefs[0].port=443",
    )
    ingress, route = wanted["Ingress/server"]["spec"], wanted["HTTPRoute/server"]["spec"]
    assert ingress["ingressClassName"] == "nginx"
    assert ingress["tls"] == [{"secretName": "tls", "hosts": ["a.example.org", "b.example.org"]}]
    assert [rule["host"] for rule in ingress["rules"]] == ["a.example.org", "b.example.org"]
    (path,) = ingress["rules"][0]["http"]["paths"]
    service = wanted["Service"]["metadata"]["name"]
    assert path["backend"]["service"] == {"name": service, "port": {"name": "http"}}
    assert route["parentRefs"] == [{"name": "public", "port": 443}]
    assert "hostnames" not in route
    assert route["rules"] == [{"backendRefs": [{"name": service, "port": 8080}]}]
    anywhere = objects_of("server.enabled=true", "server.ingress.enabled=true")["Ingress/server"]
    (rule,) = anywhere["spec"]["rules"]
    assert "host" not in rule, "any"


def test_prometheus_is_given_the_key_of_the_metrics_alone() -> None:
    wanted = objects_of(
        "server.enabled=true",
        "server.metrics.secretName=metrics",
        "server.metrics.serviceMonitor.enabled=true",
        "server.metrics.serviceMonitor.labels.release=prometheus",
    )
    monitor = wanted["ServiceMonitor/server"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= (
        wanted["Service"]["metadata"]["labels"].items()
    )
    (endpoint,) = monitor["spec"]["endpoints"]
    credentials = {"name": "metrics", "key": "metricsKey"}
    assert endpoint["authorization"] == {"type": "Bearer", "credentials": credentials}
    pod = wanted["StatefulSet"]["spec"]["template"]["spec"]
    words = pod["containers"][0]["command"]
    assert words[words.index("--metrics-keys") + 1] == "/etc/sweepctl/metrics/metrics-keys"
    assert "--open-metrics" not in words
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "metrics-keys"]
    assert volume["secret"]["items"] == [{"key": "metricsKey", "path": "metrics-keys"}]
    opened = objects_of("server.enabled=true", "server.metrics.open=true")["StatefulSet"]
    assert "--open-metrics" in opened["spec"]["template"]["spec"]["containers"][0]["command"]


REACHED: dict[str, tuple[list[str], bool]] = {
    "by agents alone": ([], False),
    "by an ingress": (["server.ingress.enabled=true"], True),
    "by a gateway": (
        ["server.httpRoute.enabled=true", "server.httpRoute.parentRefs[0].name=g"],
        True,
    ),
    "by prometheus": (
        ["server.metrics.serviceMonitor.enabled=true", "server.metrics.open=true"],
        True,
    ),
    "by who is named": (
        [
            "server.ingress.enabled=true",
            "networkPolicy.serverFrom[0].podSelector.matchLabels.app=nginx",
        ],
        False,
    ),
}


@pytest.mark.parametrize(("sets", "is_open"), REACHED.values(), ids=REACHED)
def test_the_network_policy_lets_in_whoever_is_to_reach_the_server(
    sets: list[str], is_open: bool
) -> None:
    wanted = objects_of("server.enabled=true", "networkPolicy.enabled=true", *sets)
    (rule,) = wanted["NetworkPolicy/server"]["spec"]["ingress"]
    assert ({"namespaceSelector": {}} in rule["from"]) == is_open


def test_nothing_is_made_that_exists_or_is_not_wanted() -> None:
    wanted = objects_of(
        "serviceAccount.create=false",
        "podCode.mount=false",
        "runs.type=pvc",
        "runs.existingClaim=data",
    )
    assert list(wanted) == ["ConfigMap/sweep", "Job"]
    assert wanted["Job"]["spec"]["template"]["spec"]["serviceAccountName"] == "default"


def test_the_job_is_indexed_and_each_agent_stands_and_falls_alone() -> None:
    spec = job_of("agents=5", "backoffLimitPerIndex=3")["spec"]
    assert (spec["completionMode"], spec["parallelism"], spec["completions"]) == ("Indexed", 5, 5)
    assert spec["backoffLimitPerIndex"] == 3
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["podFailurePolicy"]["rules"] == [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {
            "action": "FailIndex",
            "onExitCodes": {"containerName": "agent", "operator": "In", "values": [78]},
        },
        {
            "action": "Ignore",
            "onExitCodes": {"containerName": "agent", "operator": "In", "values": [75, 76]},
        },
    ]
    assert not {"successPolicy", "activeDeadlineSeconds", "backoffLimit"} & set(spec)


def test_the_api_key_is_in_no_object() -> None:
    env = env_of("wandb.secretName=keys", "wandb.secretKey=k")
    assert env["WANDB_API_KEY"] == {"secretKeyRef": {"name": "keys", "key": "k"}}


@pytest.mark.parametrize("setting", ["checkpoint", "seed"])
def test_a_setting_that_an_older_release_lacks_has_its_default(setting: str) -> None:
    assert env_of(f"{setting}=null") == env_of()


def test_the_pods_environment_is_the_contract_with_the_pod_code() -> None:
    assert env_of("resources.requests.cpu=null") == {
        "SWEEPCTL_NAME": "legs",
        "SWEEPCTL_NODE": {"fieldRef": {"fieldPath": "spec.nodeName"}},
        "SWEEPCTL_CHECKPOINT_COMPANION": "on",
        "SWEEPCTL_CHECKPOINT_EVERY_S": "600",
        "SWEEPCTL_CHECKPOINT_KEEP": "2",
        "SWEEPCTL_NAMESPACE": {"fieldRef": {"fieldPath": "metadata.namespace"}},
        "SWEEPCTL_JOB_UID": {
            "fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/controller-uid']"}
        },
        "SWEEPCTL_SWEEP_FILE": "/etc/sweepctl/sweep.yaml",
        "SWEEPCTL_WORK": "/work",
        "SWEEPCTL_GRACE_S": "120",
        "SWEEPCTL_GRAMMAR": "auto",
        "SWEEPCTL_SETTINGS": "report",
        "SWEEPCTL_PREFLIGHT_GPU": "auto",
        "SWEEPCTL_MAX_INITIAL_FAILURES": "3",
        "SWEEPCTL_CACHE": "/home/agent/.cache/sweepctl",
        "WANDB_BASE_URL": "https://api.wandb.ai",
        "WANDB_API_KEY": {"secretKeyRef": {"name": "wandb", "key": "apiKey"}},
        "HOME": "/home/agent",
        "USER": "agent",
        "PYTHONUNBUFFERED": "1",
        "GIT_PYTHON_REFRESH": "quiet",
        "WARP_CACHE_PATH": "/home/agent/.cache/warp",
    }


DIGEST = "sha256:" + "a" * 64
CPU = {"resourceFieldRef": {"containerName": "agent", "resource": "requests.cpu", "divisor": "1"}}
RESTRICTED_POD = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "fsGroup": 1000,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.mark.parametrize(
    ("setting", "variable", "value"),
    [
        ("sweepId=team/legs/ab12", "SWEEPCTL_SWEEP", "team/legs/ab12"),
        ("interpreter=/opt/py", "SWEEPCTL_PYTHON", "/opt/py"),
        ("pythonPath={/a,/b}", "SWEEPCTL_PYTHONPATH", "/a:/b"),
        ("pythonPath={/a,/b}", "PYTHONPATH", None),
        ("assetRoot=/assets", "ISAACSIM_ASSET_ROOT", "/assets"),
        ("graceSeconds=300", "SWEEPCTL_GRACE_S", "300"),
        ("grammar=hydra", "SWEEPCTL_GRAMMAR", "hydra"),
        ("settings=require", "SWEEPCTL_SETTINGS", "require"),
        ("agents=1", "SWEEPCTL_MAX_INITIAL_FAILURES", "3"),
        ("maxInitialFailures=0", "SWEEPCTL_MAX_INITIAL_FAILURES", "0"),
        ("preflight.gpu=off", "SWEEPCTL_PREFLIGHT_GPU", "off"),
        ("preflight.gpu=false", "SWEEPCTL_PREFLIGHT_GPU", "off"),
        ("gpus=0", "SWEEPCTL_PREFLIGHT_GPU", "off"),
        ("wandb.baseUrl=https://w.org/", "WANDB_BASE_URL", "https://w.org"),
        ("server.enabled=true", "WANDB_BASE_URL", "http://legs-server.team.svc:8080"),
        (
            "server.enabled=true,server.port=9000",
            "WANDB_BASE_URL",
            "http://legs-server.team.svc:9000",
        ),
        ("wandb.entity=e", "WANDB_ENTITY", "e"),
        ("wandb.project=p", "WANDB_PROJECT", "p"),
        ("cache.home=/h", "HOME", "/h"),
        ("cache.home=/h", "WARP_CACHE_PATH", "/h/.cache/warp"),
        ("threads=6", "OMP_NUM_THREADS", "6"),
        ("threads=6", "OPENBLAS_NUM_THREADS", "6"),
        ("threads=6", "SWEEPCTL_CPUS", None),
        ("agents=2", "SWEEPCTL_CPUS", CPU),
        ("agents=2", "OMP_NUM_THREADS", None),
        ("resources.requests.cpu=null", "SWEEPCTL_CPUS", None),
        ("code.tasks={legs.tasks,/code}", "SWEEPCTL_TASKS", "legs.tasks:/code"),
        ("cache.home=/h", "SWEEPCTL_CACHE", "/h/.cache/sweepctl"),
        ("image.tag=a", "SWEEPCTL_IMAGE", None),
        (f"image.digest={DIGEST}", "SWEEPCTL_IMAGE", DIGEST),
        (f"image.digest={DIGEST},command={{sh}}", "SWEEPCTL_IMAGE", None),
        ("code.mountPath=/c", "SWEEPCTL_CODE", None),
        ("code.git.repository=https://g/r,code.mountPath=/c", "SWEEPCTL_CODE", "/c"),
        ("code.claim.name=c", "SWEEPCTL_CODE", "/code"),
        ("code.git.repository=https://g/r", "SWEEPCTL_CODE_REVISION", "git"),
        (f"code.image.reference=r@{DIGEST}", "SWEEPCTL_CODE_REVISION", f"r@{DIGEST}"),
        ("code.image.reference=r:1", "SWEEPCTL_CODE_REVISION", None),
        ("code.claim.name=c", "SWEEPCTL_CODE_REVISION", None),
        ("security.profile=baseline", "OMNI_KIT_ALLOW_ROOT", "1"),
        ("security.profile=restricted", "OMNI_KIT_ALLOW_ROOT", None),
        ("proxy.https=http://p:1", "HTTPS_PROXY", "http://p:1"),
        ("proxy.https=http://p:1", "https_proxy", "http://p:1"),
        ("proxy.https=http://p:1", "HTTP_PROXY", None),
        ("proxy.http=http://p:1", "no_proxy", "localhost,127.0.0.1,.svc,.cluster.local"),
        (
            r"proxy.http=http://p:1,proxy.noProxy=a\,b",
            "NO_PROXY",
            "a,b,localhost,127.0.0.1,.svc,.cluster.local",
        ),
        ("proxy.noProxy=a", "NO_PROXY", None),
        ("caBundle.configMap=ca", "SSL_CERT_FILE", "/etc/sweepctl/ca.crt"),
        ("caBundle.secret=ca", "REQUESTS_CA_BUNDLE", "/etc/sweepctl/ca.crt"),
        ("extraEnv[0].name=ACCEPT_EULA,extraEnv[0].value=Y", "ACCEPT_EULA", "Y"),
    ],
)
def test_a_setting_reaches_the_pods_environment(setting: str, variable: str, value: object) -> None:
    assert env_of(setting).get(variable) == value


def test_every_variable_that_the_job_sets_is_closed_to_extra_env() -> None:
    everything = [
        *("interpreter=/p", "pythonPath={/a}", "assetRoot=/a", "threads=1", "proxy.http=http://p"),
        *("proxy.https=http://p", "caBundle.secret=a", "security.profile=baseline"),
        *("wandb.entity=e", "wandb.project=p", "sweepId=a/b/c"),
    ]
    rules = chart().schema["properties"]["extraEnv"]["items"]["properties"]["name"]
    pattern, closed = rules["not"]["anyOf"]
    assert pattern == {"pattern": "^SWEEPCTL_"}
    own = {name for name in env_of(*everything) if not name.startswith("SWEEPCTL_")}
    # A key is refused by a rule of its own, which says how to make a Secret.
    assert own - {"WANDB_API_KEY"} <= set(closed["enum"])
    assert set(closed["enum"]) - own == {
        "JOB_COMPLETION_INDEX",  # set by Kubernetes
        "PYTHONPATH",  # put together in the container, from what is set here and by the image
        "WANDB_RUN_ID",  # set for each run
        "WANDB_SWEEP_ID",
    }


@pytest.mark.parametrize(
    ("sets", "path", "value"),
    [
        pytest.param([], "image", "nvcr.io/nvidia/isaac-lab:3.0.0", id="image by tag"),
        pytest.param(
            ["image.digest=sha256:" + "a" * 64],
            "image",
            "nvcr.io/nvidia/isaac-lab@sha256:" + "a" * 64,
            id="image by digest",
        ),
        pytest.param(["image.pullPolicy=Never"], "imagePullPolicy", "Never", id="pull policy"),
        pytest.param([], "workingDir", "/work", id="working folder"),
        pytest.param(["workingDir="], "workingDir", None, id="the image's working folder"),
        pytest.param(["command={a,b}"], "command", ["a", "b"], id="command"),
        pytest.param(
            ["gpus=2", "gpuResource=amd.com/gpu"],
            "resources.limits",
            {"memory": "32Gi", "amd.com/gpu": "2"},
            id="GPUs",
        ),
        pytest.param(["gpus=0"], "resources.limits", {"memory": "32Gi"}, id="no GPU"),
        pytest.param(
            ["resources.requests.cpu=2"],
            "resources.requests",
            {"cpu": "2", "memory": "16Gi", "ephemeral-storage": "70Gi"},
            id="a quantity without quotes",
        ),
        pytest.param(
            ["envFrom[0].prefix=S3_,envFrom[0].secretRef.name=a,envFrom[1].configMapRef.name=b"],
            "envFrom",
            [{"prefix": "S3_", "secretRef": {"name": "a"}}, {"configMapRef": {"name": "b"}}],
            id="variables of a Secret",
        ),
        pytest.param([], "envFrom", None, id="no variables but the Job's own"),
        pytest.param(
            ["security.readOnlyRootFilesystem=true"],
            "securityContext",
            {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            id="restricted container",
        ),
        pytest.param(
            ["security.profile=baseline"],
            "securityContext",
            {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": False},
            id="baseline container",
        ),
        pytest.param(
            [],
            "volumeMounts.pod-code",
            {"name": "pod-code", "mountPath": "/opt/sweepctl", "readOnly": True},
            id="pod code",
        ),
        pytest.param(
            ["podCode.mount=false"], "volumeMounts.pod-code", None, id="pod code baked in"
        ),
        pytest.param(
            [],
            "volumeMounts.cache",
            {"name": "cache", "mountPath": "/home/agent", "subPath": "home"},
            id="HOME on the cache volume",
        ),
        pytest.param(
            ["cache.perAgent=true"],
            "volumeMounts.cache",
            {
                "name": "cache",
                "mountPath": "/home/agent",
                "subPathExpr": "$(JOB_COMPLETION_INDEX)/home",
            },
            id="a cache of each agent's own",
        ),
        pytest.param(
            ["code.git.repository=https://x.org/a"],
            "volumeMounts.code",
            {"name": "code", "mountPath": "/code", "subPath": "repository"},
            id="code from git",
        ),
        pytest.param(
            ["code.image.reference=me/task:1", "code.mountPath=/t"],
            "volumeMounts.code",
            {"name": "code", "mountPath": "/t", "readOnly": True},
            id="code from an image",
        ),
        pytest.param(
            ["code.claim.name=a", "code.claim.subPath=x/y"],
            "volumeMounts.code",
            {"name": "code", "mountPath": "/code", "readOnly": True, "subPath": "x/y"},
            id="code from a claim",
        ),
        pytest.param([], "volumeMounts.code", None, id="no code of one's own"),
        pytest.param(
            ["extraVolumeMounts[0].name=runs,extraVolumeMounts[0].mountPath=/r"],
            "volumeMounts.runs",
            {"name": "runs", "mountPath": "/work"},
            id="extra mounts come last",
        ),
    ],
)
def test_a_setting_reaches_the_agents_container(sets: list[str], path: str, value: object) -> None:
    assert at(agent_of(*sets), path) == value


@pytest.mark.parametrize(
    ("sets", "path", "value"),
    [
        pytest.param([], "securityContext", RESTRICTED_POD, id="restricted"),
        pytest.param(
            ["security.profile=baseline", "security.fsGroup=5"],
            "securityContext",
            {
                "fsGroup": 5,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            id="baseline keeps the image's user",
        ),
        pytest.param([], "automountServiceAccountToken", False, id="no token"),
        pytest.param(["graceSeconds=60"], "terminationGracePeriodSeconds", 60, id="grace"),
        pytest.param(
            ["image.pullSecrets={a,b}"],
            "imagePullSecrets",
            [{"name": "a"}, {"name": "b"}],
            id="pull secrets",
        ),
        pytest.param([], "imagePullSecrets", None, id="no pull secret"),
        pytest.param(["priorityClassName=p"], "priorityClassName", "p", id="priority class"),
        pytest.param(["runtimeClassName=nvidia"], "runtimeClassName", "nvidia", id="runtime class"),
        pytest.param(["nodeSelector.a=b"], "nodeSelector", {"a": "b"}, id="node selector"),
        pytest.param([], "nodeSelector", None, id="no node selector"),
        pytest.param(["tolerations[0].key=k"], "tolerations", [{"key": "k"}], id="tolerations"),
        pytest.param(
            [
                "topologySpread[0].maxSkew=1,topologySpread[0].topologyKey=zone"
                ",topologySpread[0].whenUnsatisfiable=ScheduleAnyway"
            ],
            "topologySpreadConstraints",
            [
                {
                    "maxSkew": 1,
                    "topologyKey": "zone",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {
                        "matchLabels": {
                            "app.kubernetes.io/name": "isaac-sweep",
                            "app.kubernetes.io/instance": "legs",
                            "app.kubernetes.io/component": "agent",
                        }
                    },
                }
            ],
            id="a spread counts the sweep's agents",
        ),
        pytest.param(
            ["cache.size=5Gi"],
            "volumes.cache",
            {"name": "cache", "emptyDir": {"sizeLimit": "5Gi"}},
            id="cache in the pod",
        ),
        pytest.param(
            ["runs.type=pvc"],
            "volumes.runs",
            {"name": "runs", "persistentVolumeClaim": {"claimName": "legs-runs"}},
            id="runs on a claim",
        ),
        pytest.param(
            ["runs.type=pvc", "runs.existingClaim=data"],
            "volumes.runs",
            {"name": "runs", "persistentVolumeClaim": {"claimName": "data"}},
            id="runs on a claim that exists",
        ),
        pytest.param(
            ["shmSize=2Gi"],
            "volumes.shm",
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
            id="shared memory",
        ),
        pytest.param(
            ["caBundle.secret=ca", "caBundle.key=b.pem"],
            "volumes.sweep.projected.sources",
            [
                {
                    "configMap": {
                        "name": "legs-sweep",
                        "items": [{"key": "sweep.yaml", "path": "sweep.yaml"}],
                    }
                },
                {"secret": {"name": "ca", "items": [{"key": "b.pem", "path": "ca.crt"}]}},
            ],
            id="certificates beside the sweep file",
        ),
        pytest.param(
            ["code.image.reference=me/task:1"],
            "volumes.code",
            {"name": "code", "image": {"reference": "me/task:1", "pullPolicy": "IfNotPresent"}},
            id="code from an image",
        ),
        pytest.param(
            ["code.claim.name=a"],
            "volumes.code",
            {"name": "code", "persistentVolumeClaim": {"claimName": "a"}},
            id="code from a claim",
        ),
        pytest.param([], "initContainers", None, id="nothing before the agent"),
        pytest.param(
            ["sidecars[0].name=s,sidecars[0].image=i"],
            "initContainers.s",
            {
                "name": "s",
                "image": "i",
                "restartPolicy": "Always",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": False,
                    "capabilities": {"drop": ["ALL"]},
                },
            },
            id="a sidecar is native and confined",
        ),
        pytest.param(
            [
                "sidecars[0].name=s,sidecars[0].image=i,sidecars[0].securityContext.runAsUser=7",
                "sidecars[0].securityContext.readOnlyRootFilesystem=true",
            ],
            "initContainers.s.securityContext",
            {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
                "runAsUser": 7,
            },
            id="a sidecar's own confinement stands, the rest is as for the agent",
        ),
        pytest.param(
            ["initContainers[0].name=s,initContainers[0].image=i"],
            "initContainers.s",
            {
                "name": "s",
                "image": "i",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": False,
                    "capabilities": {"drop": ["ALL"]},
                },
            },
            id="a container before the agent is confined",
        ),
        pytest.param(["schedulerName=volcano"], "schedulerName", "volcano", id="scheduler"),
        pytest.param([], "schedulerName", None, id="the cluster's own scheduler"),
        pytest.param(
            ["code.git.repository=https://x.org/a"],
            "initContainers.code.image",
            "nvcr.io/nvidia/isaac-lab:3.0.0",
            id="git of the trainer's image",
        ),
        pytest.param(
            ["code.git.repository=https://x.org/a", "code.git.image=g:1"],
            "initContainers.code.image",
            "g:1",
            id="git of another image",
        ),
    ],
)
def test_a_setting_reaches_the_pod(sets: list[str], path: str, value: object) -> None:
    assert at(pod_of(*sets), path) == value


def test_the_clone_gets_name_and_password_by_reference_and_trusts_the_bundle() -> None:
    (clone,) = pod_of(
        "code.git.repository=https://x.org/a",
        "code.git.ref=v1",
        "code.git.secretName=me",
        "caBundle.configMap=ca",
        "proxy.https=http://p:1",
    )["initContainers"]
    env = {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in clone["env"]}
    assert env["CODE_REPOSITORY"] == "https://x.org/a"
    assert env["CODE_REF"] == "v1"
    assert env["GIT_PASSWORD"]["secretKeyRef"] == {
        "name": "me",
        "key": "password",
        "optional": False,
    }
    assert env["GIT_USERNAME"]["secretKeyRef"]["optional"] is True
    assert env["GIT_SSL_CAINFO"] == "/etc/sweepctl/ca.crt"
    assert env["HTTPS_PROXY"] == "http://p:1"


SSH = ("code.git.repository=git@x.org:me/a.git", "code.git.secretName=key")


def test_the_users_own_containers_start_after_sidecars_and_the_clone() -> None:
    own = ["sidecars", "initContainers"]
    sets = [f"{key}[0].name={key.lower()},{key}[0].image=i" for key in own]
    names = [each["name"] for each in pod_of(*SSH, *sets)["initContainers"]]
    assert names == ["sidecars", "code", "initcontainers"]


@pytest.mark.parametrize(
    "repository", ["git@x.org:me/a.git", "ssh://git@x.org:2222/me/a.git", "ssh://x.org/~me/a"]
)
def test_the_clone_over_ssh_gets_the_key_by_a_file_and_the_trainer_does_not(
    repository: str,
) -> None:
    pod = pod_of(*SSH, f"code.git.repository={repository}", "code.git.knownHosts=x.org ssh-rsa A")
    (clone,) = pod["initContainers"]
    env = {entry["name"]: entry.get("value") for entry in clone["env"]}
    assert "GIT_PASSWORD" not in env
    assert env["CODE_REPOSITORY"] == repository
    assert env["CODE_KNOWN_HOSTS"] == "x.org ssh-rsa A"
    (folder,) = (m for m in clone["volumeMounts"] if m["mountPath"] == env["CODE_KEY"])
    volume = at(pod, f"volumes.{folder['name']}")["projected"]
    sources = [source["secret"] for source in volume["sources"] if "secret" in source]
    assert [(source["items"][0]["key"], source["optional"]) for source in sources] == [
        ("ssh-privatekey", False),
        ("known_hosts", True),
    ]
    assert {source["name"] for source in sources} == {"key"}
    (agent,) = pod["containers"]
    assert folder["name"] not in [mount["name"] for mount in agent["volumeMounts"]]


def test_the_clone_over_ssh_runs_as_a_user_that_has_a_name() -> None:
    """ssh ends at once with "No user exists for uid 2000" where /etc/passwd lacks it."""
    template = job_of(*SSH, "security.runAsUser=2000")["spec"]["template"]
    assert template["metadata"]["annotations"] == {
        "sweepctl/passwd": "git:x:2000:1000::/tmp:/bin/sh"
    }
    (clone,) = template["spec"]["initContainers"]
    passwd = {"mountPath": "/etc/passwd", "subPath": "passwd", "readOnly": True}
    assert {"name": "code-key", **passwd} in clone["volumeMounts"]
    own = job_of(*SSH, "security.profile=baseline")["spec"]["template"]
    assert "annotations" not in own["metadata"]
    (clone,) = own["spec"]["initContainers"]
    assert "/etc/passwd" not in [mount["mountPath"] for mount in clone["volumeMounts"]]


@pytest.mark.parametrize(
    ("sets", "asked"),
    [
        pytest.param([], "70Gi", id="cache and runs"),
        pytest.param(["runs.type=pvc"], "20Gi", id="cache"),
        pytest.param(["runs.type=pvc", "cache.type=pvc"], None, id="nothing on the node"),
        pytest.param(["runs.size=1.5Gi", "cache.size=512Mi"], "2Gi", id="fractions"),
        pytest.param(["runs.size=20G", "cache.size=1k"], "19075Mi", id="rounded up"),
        pytest.param(["runs.size=9P", "cache.size=900000P"], "1073741824Gi", id="an exbibyte"),
        pytest.param(
            [
                "extraVolumes[0].name=a,extraVolumes[0].emptyDir.sizeLimit=2Gi",
                "extraVolumes[1].name=b,extraVolumes[1].emptyDir.sizeLimit=4Gi",
                "extraVolumes[1].emptyDir.medium=Memory",
                "extraVolumes[2].name=c,extraVolumes[2].emptyDir.medium=",
            ],
            "72Gi",
            id="the user's own emptyDir, but not in memory",
        ),
        pytest.param(["resources.requests.ephemeral-storage=5Gi"], "5Gi", id="the user's own"),
        pytest.param(["resources.requests.ephemeral-storage=0"], "0", id="none"),
        pytest.param(
            ["resources.limits.ephemeral-storage=9Gi"], None, id="as much as the user's limit"
        ),
    ],
)
def test_an_agent_asks_for_the_room_that_its_files_may_take(
    sets: list[str], asked: str | None
) -> None:
    assert agent_of(*sets)["resources"]["requests"].get("ephemeral-storage") == asked


@pytest.mark.parametrize(
    ("sets", "labels", "annotations", "suspend"),
    [
        pytest.param([], {}, {}, False, id="without Kueue"),
        pytest.param(["suspend=true"], {}, {}, True, id="held"),
        pytest.param(["kueue.queue=q"], {"kueue.x-k8s.io/queue-name": "q"}, {}, None, id="queue"),
        pytest.param(
            ["kueue.queue=q", "kueue.priorityClass=p"],
            {"kueue.x-k8s.io/queue-name": "q", "kueue.x-k8s.io/priority-class": "p"},
            {},
            None,
            id="priority",
        ),
        pytest.param(
            ["kueue.queue=q", "kueue.elastic=true"],
            {"kueue.x-k8s.io/queue-name": "q"},
            {"kueue.x-k8s.io/elastic-job": "true"},
            None,
            id="elastic",
        ),
        pytest.param(
            ["kueue.queue=q", "kueue.minParallelism=2", "agents=4"],
            {"kueue.x-k8s.io/queue-name": "q"},
            {
                "kueue.x-k8s.io/job-min-parallelism": "2",
                "kueue.x-k8s.io/job-completions-equal-parallelism": "true",
            },
            None,
            id="partial admission",
        ),
    ],
)
def test_kueue_takes_the_job_over_by_labels_and_annotations(
    sets: list[str], labels: dict[str, str], annotations: dict[str, str], suspend: bool | None
) -> None:
    job = job_of(*sets)
    own = {key: value for key, value in job["metadata"]["labels"].items() if "kueue" in key}
    said = {k: v for k, v in job["metadata"]["annotations"].items() if "kueue" in k}
    assert (own, said, job["spec"].get("suspend")) == (labels, annotations, suspend)


def test_labels_are_on_every_object_and_the_pods_name_their_job() -> None:
    objects = objects_of("server.enabled=true", "runs.type=pvc", "networkPolicy.enabled=true")
    for piece in objects.values():
        labels = piece["metadata"]["labels"]
        assert {**labels, **manifest.selector("legs")} == labels
        assert labels["app.kubernetes.io/managed-by"] == "sweepctl"
        assert labels["app.kubernetes.io/version"] == chart().app_version
    job = objects["Job"]
    pod_labels = job["spec"]["template"]["metadata"]["labels"]
    assert pod_labels["sweepctl/job"] == job["metadata"]["name"]
    assert objects["StatefulSet"]["metadata"]["labels"]["app.kubernetes.io/component"] == "server"
    assert (
        objects["ConfigMap/sweep"]["metadata"]["labels"]["app.kubernetes.io/component"] == "sweep"
    )


def test_pod_labels_of_the_users_own_take_nothing_away() -> None:
    labels = job_of("podLabels.team=robots")["spec"]["template"]["metadata"]["labels"]
    assert labels["team"] == "robots"
    assert {**labels, **manifest.selector("legs", "agent")} == labels


def test_the_sweep_is_kept_byte_for_byte_with_its_id() -> None:
    text = "a: '<&> \u2028 \u0085 \u00e9 \U0001f916'\r\n\tb\n  \n"
    plan = manifest.plan_job(load_values(), text, "legs", "team", sweep_id="e/p/1")
    objects = {piece["metadata"]["name"]: piece for piece in manifest.render(plan)}
    assert objects["legs-sweep"]["data"] == {
        "sweep.yaml": text,
        "sweepId": "e/p/1",
        "apiUrl": "https://api.wandb.ai",
    }
    assert objects[plan.job_name]["metadata"]["annotations"] == {
        "sweepctl/generation": "1",
        "sweepctl/sweep": "e/p/1",
    }


def test_what_the_command_line_says_stands_before_the_settings() -> None:
    values = load_values([], ["agents=2", "sweepId=a/b/c"])
    plan = manifest.plan_job(values, SWEEP, "legs", "team", sweep_id="e/p/1", agents=7)
    assert (plan.agents, plan.sweep_id) == (7, "e/p/1")


IN_PLACE = ["agents=5", "suspend=true", "ttlSecondsAfterFinished=60", "networkPolicy.enabled=true"]


@pytest.mark.parametrize("setting", [*IN_PLACE, "server.image.tag=9.0", "wandb.secretKey=apiKey"])
def test_what_changes_in_place_keeps_the_jobs_name(setting: str) -> None:
    assert job_of(setting)["metadata"]["name"] == job_of()["metadata"]["name"]
    assert job_of(setting)["spec"]["template"] == job_of()["spec"]["template"]


@pytest.mark.parametrize(
    "setting",
    [
        *("image.tag=2.0", "gpus=2", "resources.requests.cpu=5", "graceSeconds=99", "generation=2"),
        *("sweepId=a/b/c", "podCode.mount=false", "server.enabled=true", "podLabels.a=b"),
        *("backoffLimitPerIndex=2", "kueue.queue=q", "nodeSelector.a=b", "cache.perAgent=true"),
    ],
)
def test_what_shapes_the_pods_makes_a_new_job(setting: str) -> None:
    assert job_of(setting)["metadata"]["name"] != job_of()["metadata"]["name"]


def test_another_sweep_file_and_other_pod_code_make_a_new_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = manifest.plan_job(load_values(), SWEEP, "legs", "team")
    assert (
        manifest.plan_job(load_values(), SWEEP + "# \n", "legs", "team").job_name != first.job_name
    )
    assert first.code is not None
    changed = dataclasses.replace(first.code, files={**first.code.files, "wrapper.py": "#"})
    monkeypatch.setattr("sweepctl.manifest.plan.pod_code", lambda: changed)
    second = manifest.plan_job(load_values(), SWEEP, "legs", "team")
    assert (second.job_name != first.job_name, second.code_name != first.code_name) == (True, True)


def test_the_server_is_one_with_its_data_and_keys() -> None:
    objects = objects_of("server.enabled=true", "server.persistence.keep=false")
    spec = objects["StatefulSet"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert spec["replicas"] == 1
    assert spec["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Delete"
    assert container["command"] == [
        *("sweepctl", "server", "--data", "/data", "--listen", "0.0.0.0:8080"),
        *("--api-keys", "/etc/sweepctl/keys/api-keys", "--agent-timeout", "60"),
    ]
    assert spec["template"]["spec"]["securityContext"] == RESTRICTED_POD
    keys = at(spec["template"]["spec"], "volumes.keys.secret")
    assert keys == {"secretName": "wandb", "items": [{"key": "apiKey", "path": "api-keys"}]}
    selector = objects["Service"]["spec"]["selector"]
    pod_labels = spec["template"]["metadata"]["labels"]
    assert {**pod_labels, **selector} == pod_labels


def test_policies_let_agents_to_the_server_and_nothing_to_agents() -> None:
    objects = objects_of(
        "server.enabled=true",
        "networkPolicy.enabled=true",
        "networkPolicy.egress[0].to[0].ipBlock.cidr=10.0.0.0/8",
    )
    agents, server = objects["NetworkPolicy/agent"]["spec"], objects["NetworkPolicy/server"]["spec"]
    assert agents["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in agents
    assert [rule.get("to") for rule in agents["egress"]] == [
        None,
        [{"podSelector": {"matchLabels": manifest.selector("legs", "server")}}],
        [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
    ]
    assert server["ingress"][0]["from"] == [
        {"podSelector": {"matchLabels": manifest.selector("legs", "agent")}}
    ]


@pytest.mark.parametrize(
    "sets",
    [
        pytest.param([], id="default"),
        pytest.param(["server.enabled=true", "networkPolicy.enabled=true"], id="server"),
        pytest.param(["runs.type=pvc", "cache.type=pvc", "cache.storageClass=a"], id="claims"),
        pytest.param(["code.image.reference=a:1", "kueue.queue=q"], id="code and queue"),
    ],
)
def test_kubernetes_knows_every_field(sets: list[str]) -> None:
    for piece in objects_of(*sets).values():
        assert unknown_fields(piece) == []


def test_a_field_that_kubernetes_does_not_know_is_found() -> None:
    container = {"name": "a", "imagePullPolicies": "Never", "env": [{"name": "A", "value": 1}]}
    spec = {"paralelism": 1, "completions": "1", "template": {"spec": {"containers": [container]}}}
    assert sorted(unknown_fields({"kind": "Job", "metadata": {"labels": []}, "spec": spec})) == [
        "Job.metadata.labels is no map",
        "Job.spec.completions is no int",
        "Job.spec.paralelism",
        "Job.spec.template.spec.containers[0].env[0].value is no str",
        "Job.spec.template.spec.containers[0].imagePullPolicies",
    ]


def test_kubernetes_knows_every_field_of_all_options() -> None:
    of_add_ons = ("HTTPRoute", "ServiceMonitor")  # tests/chart/test_ci_files.py has their schemas
    for piece in objects_of(files=(str(chart_folder() / "ci" / "all-options.yaml"),)).values():
        if piece["kind"] not in of_add_ons:
            assert unknown_fields(piece) == []


@pytest.mark.parametrize(
    ("name", "is_right"),
    [
        ("legs", True),
        ("a" * 45, True),
        ("a" * 46, False),
        ("Legs", False),
        ("-legs", False),
        ("legs-", False),
        ("le.gs", False),
        ("", False),
    ],
)
def test_a_name_is_a_short_dns_label(name: str, is_right: bool) -> None:
    if is_right:
        manifest.check_name(name)
    else:
        with pytest.raises(UsageError, match="--name"):
            manifest.check_name(name)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Toy Legs_v2", "toy-legs-v2"),
        ("--a--b--", "a-b"),
        ("\u00e9", "sweep"),
        ("x" * 80, "x" * 45),
        ("a" * 44 + "-b", "a" * 44),
    ],
)
def test_a_name_is_made_of_any_text(text: str, name: str) -> None:
    assert manifest.default_name(text) == name
    manifest.check_name(name)


def test_a_server_begins_its_name_with_a_letter_as_services_must() -> None:
    with_server = load_values(overrides={"server.enabled": True})
    manifest.plan_job(load_values(), SWEEP, "3-legs", "team")
    with pytest.raises(UsageError, match="--name '3-legs': expected a letter first") as refusal:
        manifest.plan_job(with_server, SWEEP, "3-legs", "team")
    assert refusal.value.hint == "try sweep-3-legs"


def test_the_longest_name_and_the_most_agents_fit() -> None:
    plan = manifest.plan_job(load_values(), SWEEP, "a" * 45, "team", agents=5_000)
    manifest.render(plan)
    with pytest.raises(UsageError, match="namespace 'Team'"):
        manifest.plan_job(load_values(), SWEEP, "legs", "Team")


def test_a_sweep_file_that_no_config_map_holds_is_refused() -> None:
    with pytest.raises(SweepctlError, match=r"the sweep file has \d+ bytes") as refusal:
        manifest.plan_job(load_values(), "#" * 2**20, "legs", "team")
    assert refusal.value.hint is None


def test_every_selector_finds_the_same_sweep() -> None:
    assert manifest.selector_text("legs", "agent") == (
        "app.kubernetes.io/name=isaac-sweep,app.kubernetes.io/instance=legs,"
        "app.kubernetes.io/component=agent"
    )
    assert manifest.selector_text() == "app.kubernetes.io/name=isaac-sweep"


def spoil(path: str, value: object) -> list[dict[str, Any]]:
    objects = manifest.render(manifest.plan_job(load_values(), SWEEP, "legs", "team"))
    *steps, last = path.split("/")
    found: Any = objects[-1]
    for step in steps:
        found = found[int(step) if isinstance(found, list) else step]
    found[int(last) if isinstance(found, list) else last] = value
    return objects


CONTAINER = "spec/template/spec/containers/0"


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("metadata/name", "Legs", "is no name of an object"),
        ("metadata/labels", {"a": "b c"}, "a='b c' is no label"),
        ("metadata/labels", {"a": "b" * 64}, "is no label"),
        ("spec/template/metadata/labels", {"a": 5}, "a=5 is no label"),
        ("spec/completions", 2, "must be equal, and not 0"),
        ("spec/completionMode", "NonIndexed", "has no indexes"),
        ("spec/podFailurePolicy/rules", [], "the rules are not DisruptionTarget"),
        ("spec/podFailurePolicy/rules/1/onExitCodes/values", [1], "are not the agent's exit codes"),
        ("spec/podFailurePolicy/rules/0", {"action": "Ignore"}, "DisruptionTarget does not come"),
        ("spec/template/spec/restartPolicy", "OnFailure", "needs restartPolicy: Never"),
        (f"{CONTAINER}/env/0/name", "HOME", "the variable HOME is set twice"),
        (f"{CONTAINER}/volumeMounts/0/mountPath", "/work", "two mounts at /work"),
        ("spec/template/spec/volumes/0/name", "runs", "two volumes of the name runs"),
        ("spec/template/spec/initContainers", [{"name": "agent"}], "two containers of the name"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_before(
    path: str, value: object, complaint: str
) -> None:
    with pytest.raises(SweepctlError, match=complaint):
        check_objects(spoil(path, value))
