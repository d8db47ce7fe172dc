"""The bed's certificate authority, one certificate per component, and their kubeconfigs.

Made anew for every bed by openssl; they are valid for the bed's life only, and leave with it.
"""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.layout import API_PORT, API_SERVICE_IP, CONTROL_PLANE_IP, Bed

_API_NAMES = (
    f"IP:127.0.0.1,IP:{CONTROL_PLANE_IP},IP:{API_SERVICE_IP},DNS:localhost,DNS:kubernetes,"
    "DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a certificate stands for."""

    file: str
    user: str
    group: str = ""
    alternative_names: str = ""

    @property
    def subject(self) -> str:
        return (f"/O={self.group}" if self.group else "") + f"/CN={self.user}"


def identities(bed: Bed) -> tuple[Identity, ...]:
    """Every certificate that the bed needs."""
    nodes = (
        Identity(
            node.name,
            f"system:node:{node.name}",
            "system:nodes",
            f"IP:{node.ip},DNS:{node.name}",
        )
        for node in bed.nodes
    )
    return (
        Identity("apiserver", "kube-apiserver", "system:masters", _API_NAMES),
        Identity("admin", "testbed-admin", "system:masters"),
        Identity("controller-manager", "system:kube-controller-manager"),
        Identity("scheduler", "system:kube-scheduler"),
        Identity("proxy", "system:kube-proxy"),
        Identity("coredns", "testbed:coredns"),
        Identity("kwok", "testbed:kwok", "system:masters"),
        Identity("reclaimer", "testbed:reclaimer", "system:masters"),
        *nodes,
    )


def make_certificates(bed: Bed, host_port: int) -> None:
    """Write CA, certificates, the service accounts' key and all kubeconfigs."""
    folder = bed.certificates
    folder.mkdir(mode=0o700, parents=True)
    _openssl(folder, *_key_args("ca"))
    _openssl(
        folder,
        *("req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=sweepctl-testbed"),
        *("-days", "30", "-out", "ca.crt"),
    )
    _openssl(folder, *_key_args("service-accounts"))
    _openssl(
        folder, "pkey", "-in", "service-accounts.key", "-pubout", "-out", "service-accounts.pub"
    )
    for identity in identities(bed):
        _sign(folder, identity)
        _write_kubeconfig(
            bed.component_kubeconfig(identity.file), folder, identity, CONTROL_PLANE_IP, API_PORT
        )
    admin = next(i for i in identities(bed) if i.file == "admin")
    _write_kubeconfig(bed.kubeconfig, folder, admin, "127.0.0.1", host_port)


def _sign(folder: Path, identity: Identity) -> None:
    name = identity.file
    extensions = "extendedKeyUsage=serverAuth,clientAuth\n"
    if identity.alternative_names:
        extensions += f"subjectAltName={identity.alternative_names}\n"
    (folder / f"{name}.ext").write_text(extensions)
    _openssl(folder, *_key_args(name))
    _openssl(
        folder,
        "req",
        "-new",
        "-key",
        f"{name}.key",
        "-subj",
        identity.subject,
        "-out",
        f"{name}.csr",
    )
    _openssl(
        folder,
        *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key"),
        *("-CAcreateserial", "-days", "30", "-extfile", f"{name}.ext", "-out", f"{name}.crt"),
    )


def _key_args(name: str) -> tuple[str, ...]:
    curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    return ("genpkey", *curve, "-out", f"{name}.key")


def _openssl(folder: Path, *arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(arguments)}: {done.stderr.strip()}")


def _write_kubeconfig(path: Path, folder: Path, identity: Identity, host: str, port: int) -> None:
    def inline(name: str) -> str:
        return base64.b64encode((folder / name).read_bytes()).decode()

    user = {
        "client-certificate-data": inline(f"{identity.file}.crt"),
        "client-key-data": inline(f"{identity.file}.key"),
    }
    cluster = {
        "server": f"https://{host}:{port}",
        "certificate-authority-data": inline("ca.crt"),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testbed", "cluster": cluster}],
        "users": [{"name": identity.user, "user": user}],
        "contexts": [
            {
                "name": "testbed",
                "context": {"cluster": "testbed", "user": identity.user, "namespace": "default"},
            }
        ],
        "current-context": "testbed",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=1))
