"""What the settings are rendered to, as a real API server takes it: fields, rules, Pod Security."""

from typing import Any

import pytest

from sweepctl import manifest
from sweepctl.manifest.yaml_text import yaml_text
from sweepctl.values.settings import chart_folder, load_values
from tests.testbed.cluster import Cluster

pytestmark = pytest.mark.cluster

SWEEP = "method: grid\nparameters: {agent.seed: {values: [1, 2]}}\n"
ALL_OPTIONS = str(chart_folder() / "ci" / "all-options.yaml")
DEFINED_BY_OTHERS = ("HTTPRoute", "ServiceMonitor")
"""Kinds that the API server of the bed has not; the tests of the chart check them by schema."""
RESTRICTED = {
    "defaults": [],
    "the server": ["server.enabled=true", "networkPolicy.enabled=true"],
    "claims": ["cache.type=pvc", "runs.type=pvc", "cache.perAgent=true"],
    "code from git": ["code.git.repository=https://x.org/a", "code.git.secretName=a"],
    "code from an image": ["code.image.reference=a/b:1", "podCode.mount=false"],
    "a sidecar": ["sidecars[0].name=s,sidecars[0].image=a"],
    "a read-only root": ["security.readOnlyRootFilesystem=true", "caBundle.secret=ca"],
}


def rendered(namespace: str, *sets: str, files: tuple[str, ...] = (), name: str = "legs") -> Any:
    values = load_values(files, sets)
    return manifest.render(manifest.plan_job(values, SWEEP, name, namespace))


def tried(cluster: Cluster, namespace: str, text: str) -> Any:
    """Have the API server check objects without keeping any; unknown fields are errors."""
    return cluster.run(
        *("kubectl", "-n", namespace, "apply", "--server-side", "--field-manager=sweepctl"),
        *("--dry-run=server", "--validate=strict", "-f", "-"),
        stdin=text,
    )


@pytest.mark.parametrize("sets", RESTRICTED.values(), ids=RESTRICTED)
def test_the_api_server_takes_the_objects_without_a_warning(
    cluster: Cluster, namespace: str, sets: list[str]
) -> None:
    objects = rendered(namespace, *sets)
    done = tried(cluster, namespace, yaml_text(objects))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(objects)


@pytest.mark.parametrize("sets", RESTRICTED.values(), ids=RESTRICTED)
def test_pods_are_admitted_where_restricted_is_enforced(
    cluster: Cluster, namespace: str, sets: list[str]
) -> None:
    for piece in rendered(namespace, *sets):
        if piece["kind"] in ("Job", "StatefulSet"):
            template = piece["spec"]["template"]
            labels = template["metadata"]["labels"]
            pod: dict[str, Any] = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "probe", "namespace": namespace, "labels": labels},
                # The account is there once the objects are; it takes no part in Pod Security.
                "spec": {**template["spec"], "serviceAccountName": "default"},
            }
            if piece["kind"] == "StatefulSet":
                data = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
                pod["spec"]["volumes"] = [*template["spec"]["volumes"], data]
            done = tried(cluster, namespace, yaml_text([pod]))
            assert (done.returncode, done.stderr) == (0, "")


def test_the_baseline_profile_is_what_restricted_refuses(cluster: Cluster, namespace: str) -> None:
    done = tried(cluster, namespace, yaml_text(rendered(namespace, "security.profile=baseline")))
    assert done.returncode == 0
    assert 'would violate PodSecurity "restricted' in done.stderr


@pytest.mark.parametrize("name", ["legs", "a" * manifest.MAX_NAME], ids=["short", "longest"])
def test_the_api_server_takes_all_options(cluster: Cluster, namespace: str, name: str) -> None:
    objects = rendered(namespace, "agents=5000", files=(ALL_OPTIONS,), name=name)
    known = [piece for piece in objects if piece["kind"] not in DEFINED_BY_OTHERS]
    assert len(objects) - len(known) == len(DEFINED_BY_OTHERS)
    done = tried(cluster, namespace, yaml_text(known))
    assert done.returncode == 0, done.stderr


def test_twice_is_once(cluster: Cluster, namespace: str) -> None:
    text = yaml_text(rendered(namespace, "suspend=true"))
    seen = []
    for _ in range(2):
        cluster.kubectl(
            *("apply", "--server-side", "--field-manager=sweepctl", "-f", "-"), stdin=text
        )
        found = cluster.get(
            "-n", namespace, "jobs,configmaps", "-l", manifest.selector_text("legs")
        )
        # A Job's resourceVersion moves with its status, its generation with its spec alone.
        seen.append(
            {
                item["metadata"]["name"]: item["metadata"].get("generation")
                or item["metadata"]["resourceVersion"]
                for item in found["items"]
            }
        )
    assert seen[0] == seen[1]
    assert len(seen[0]) == 3
