"""Settings of the pod as the real kubelet takes them, in a namespace that enforces `restricted`.

Code from git over ssh, containers before the agent, variables of Secrets, the disk asked for.
"""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

import pytest

from tests.cluster.sweeps import Sweepctl, write_sweep, write_values
from tests.testbed.cluster import Cluster
from tests.testbed.images import git_image
from tests.testbed.layout import GIT_IMAGE, TEST_IMAGE, Bed
from tests.testbed.lifecycle import load_image
from tests.testbed.pods import pod, pod_spec

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("server_image")]

PORT = 2222
SSHD = f"""\
Port {PORT}
HostKey /host/key
AuthorizedKeysFile /host/authorized
StrictModes no
UsePAM no
PidFile none
PasswordAuthentication no
"""
CHECKS = """\
import os
assert os.environ["S3_BUCKET"] == "models", "envFrom"
assert open("/work/prepared").read() == "2000\\n", "initContainers"
"""


def keygen(file: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
    return file.with_suffix(".pub").read_text()


def encoded(**files: str) -> dict[str, str]:
    return {name: base64.b64encode(text.encode()).decode() for name, text in files.items()}


def offer_repository_by_ssh(cluster: Cluster, bed: Bed, namespace: str, work: Path) -> str:
    """Serve the plain trainer by sshd in a pod, give its address; the Secret `key` opens it."""
    load_image(cluster, bed, git_image(os.environ, print))
    trainer = CHECKS + Path(__file__).with_name("plain_trainer.py").read_text()
    host, user = keygen(work / "host"), keygen(work / "user")
    serve = (
        "mkdir /tmp/work && cp /host/trainer.py /tmp/work && cd /tmp/work && git init -q . &&"
        " git add -A && git -c user.name=me -c user.email=me@example.org commit -qm task &&"
        " exec /usr/sbin/sshd -D -e -f /host/config"
    )
    spec = pod_spec(["sh", "-c", serve])
    items = [{"key": name, "path": name} for name in ("key", "authorized", "config", "passwd")]
    items.append({"key": "trainer", "path": "trainer.py"})
    spec["volumes"] = [
        {"name": "host", "secret": {"secretName": "host", "items": items}},
        {"name": "tmp", "emptyDir": {}},
    ]
    (container,) = spec["containers"]
    container["image"] = GIT_IMAGE
    container["env"] = [{"name": "HOME", "value": "/tmp"}]
    container["volumeMounts"] = [
        {"name": "host", "mountPath": "/host"},
        {"name": "host", "mountPath": "/etc/passwd", "subPath": "passwd"},
        {"name": "tmp", "mountPath": "/tmp"},
    ]
    container["readinessProbe"] = {"tcpSocket": {"port": PORT}, "periodSeconds": 1}
    files = {
        **{"key": (work / "host").read_text(), "authorized": user, "config": SSHD},
        **{"passwd": "git:x:1000:1000::/tmp:/bin/sh\n", "trainer": trainer},
    }
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "host"}}
    cluster.apply({**secret, "data": encoded(**files)}, pod("git", spec), namespace=namespace)
    ready = ("-n", namespace, "wait", "pod/git", "--for=condition=Ready", "--timeout=300s")
    cluster.kubectl(*ready, timeout_s=310)
    address = cluster.get("-n", namespace, "pod", "git")["status"]["podIP"]
    known = f"[{address}]:{PORT} {host}"
    data = {"ssh-privatekey": (work / "user").read_text(), "known_hosts": known}
    key = {**secret, "type": "kubernetes.io/ssh-auth", "metadata": {"name": "key"}}
    bucket = {**secret, "metadata": {"name": "storage"}, "stringData": {"BUCKET": "models"}}
    cluster.apply({**key, "data": encoded(**data)}, bucket, namespace=namespace)
    return f"ssh://git@{address}:{PORT}/tmp/work/.git"


def test_pod_with_code_by_ssh_a_container_before_it_and_variables_of_a_secret_trains(
    cluster: Cluster, the_bed: Bed, namespace: str, tmp_path: Path
) -> None:
    address = offer_repository_by_ssh(cluster, the_bed, namespace, tmp_path)
    prepare = {
        "name": "prepare",
        "image": TEST_IMAGE,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", "test -f /code/repository/trainer.py && id -u >/work/prepared"],
        "volumeMounts": [
            {"name": "runs", "mountPath": "/work"},
            {"name": "code", "mountPath": "/code"},
        ],
    }
    write_values(
        tmp_path,
        code={"git": {"repository": address, "secretName": "key", "image": GIT_IMAGE}},
        envFrom=[{"prefix": "S3_", "secretRef": {"name": "storage"}}],
        initContainers=[prepare],
        schedulerName="default-scheduler",
        security={"runAsUser": 2000},
        extraVolumes=[],
        extraVolumeMounts=[],
    )
    write_sweep(tmp_path, [0.25])
    sweepctl = Sweepctl(cluster, namespace, tmp_path)
    submit = ("submit", "plain.yaml", "-f", "values.yaml", "--create-secret", "--wait")
    done = sweepctl(*submit, timeout_s=300)
    assert done.returncode == 0, done.stderr + sweepctl("logs", "plain").stdout
    assert [run["metric"] for run in sweepctl.runs("plain")] == [0.25]
    (agent,) = sweepctl.status("plain")["agents"]
    spec = cluster.get("-n", namespace, "pod", agent["pod"])["spec"]
    (container,) = spec["containers"]
    assert container["resources"]["requests"]["ephemeral-storage"] == "2Gi"
    said = cluster.kubectl("-n", namespace, "logs", agent["pod"], "-c", "code")
    assert said.startswith(f"code: {address} at ")
    found = sweepctl("doctor", "-f", "values.yaml", "--no-probe").stdout
    assert "code.git.secretName: 'key'" in found
    assert "envFrom[0]: 'storage'" in found
