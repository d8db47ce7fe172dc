"""A Git repository that a pod of the cluster serves over HTTP, as GitHub would."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import tarfile
from pathlib import Path

from tests.testbed.cluster import Cluster
from tests.testbed.images import git_image
from tests.testbed.layout import GIT_IMAGE, Bed
from tests.testbed.lifecycle import load_image
from tests.testbed.pods import pod, pod_spec

_SERVE = """
import http.server, os, tarfile
os.makedirs("/tmp/www/cgi-bin")
tarfile.open("/repository/repository.tar").extractall("/tmp/repositories")
os.environ.update(GIT_PROJECT_ROOT="/tmp/repositories", GIT_HTTP_EXPORT_ALL="1", HOME="/tmp")
with open("/tmp/www/cgi-bin/git", "w") as script:
    script.write("#!/bin/sh\\nexec git http-backend\\n")
os.chmod("/tmp/www/cgi-bin/git", 0o755)
os.chdir("/tmp/www")
http.server.ThreadingHTTPServer(("", 8000), http.server.CGIHTTPRequestHandler).serve_forever()
"""


def offer_repository(cluster: Cluster, bed: Bed, namespace: str, work: Path, files: Path) -> str:
    """Serve a repository whose only commit holds a folder's files; give its address."""
    load_image(cluster, bed, git_image(os.environ, print))
    bare = work / "project.git"
    for command in (
        ["git", "init", "-q", str(files)],
        ["git", "-C", str(files), "add", "."],
        [
            *("git", "-C", str(files), "-c", "user.name=me", "-c", "user.email=me@example.org"),
            *("commit", "-qm", "A task"),
        ],
        ["git", "clone", "-q", "--bare", str(files), str(bare)],
    ):
        subprocess.run(command, check=True, capture_output=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(bare, arcname=bare.name)
    spec = pod_spec(["python3", "-c", _SERVE])
    spec["volumes"] = [
        {"name": "repository", "configMap": {"name": "repository"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    (container,) = spec["containers"]
    container["image"] = GIT_IMAGE
    container["volumeMounts"] = [
        {"name": "repository", "mountPath": "/repository"},
        {"name": "tmp", "mountPath": "/tmp"},
    ]
    container["readinessProbe"] = {"tcpSocket": {"port": 8000}, "periodSeconds": 1}
    data = {"repository.tar": base64.b64encode(packed.getvalue()).decode()}
    metadata = {"name": "repository"}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": data}
    cluster.apply(config, pod("git", spec), namespace=namespace)
    ready = ("-n", namespace, "wait", "pod/git", "--for=condition=Ready", "--timeout=300s")
    cluster.kubectl(*ready, timeout_s=310)
    address = cluster.get("-n", namespace, "pod", "git")["status"]["podIP"]
    return f"http://{address}:8000/cgi-bin/git/{bare.name}"
