"""What runs in the bed's own namespaces: network, etcd, API server, controllers, DNS, relay, nodes.

Pure, but for `write_files`: it returns the plan that the bed's first process follows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.testbed import simulated
from tests.testbed.furniture import RECLAIM
from tests.testbed.layout import (
    API_PORT,
    CONTROL_PLANE_IP,
    DNS_DOMAIN,
    POD_CIDR,
    SERVICE_CIDR,
    Bed,
    Node,
)
from tests.testbed.machine import Plan, Service

_HERE = Path(__file__).parent
_ETCD = "127.0.0.1:2379"
_API = f"tcp:127.0.0.1:{API_PORT}"

_COREFILE = f"""\
.:53 {{
    bind {CONTROL_PLANE_IP}
    errors
    cache 5
    kubernetes {DNS_DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig %s
        ttl 5
    }}
}}
"""

# Writes by people and programs, not by the cluster's own parts: `audit.log` then tells how many
# requests a command made (the API server's own counters cannot tell who asked).
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "userGroups": ["system:nodes", "system:serviceaccounts"]},
        {
            "level": "None",
            "users": [
                "kube-apiserver",
                "system:apiserver",
                "system:kube-controller-manager",
                "system:kube-scheduler",
                "system:kube-proxy",
                "testbed:coredns",
                "testbed:kwok",
                "testbed:reclaimer",
            ],
        },
        {"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
    ],
}


def write_files(bed: Bed) -> None:
    """Write the files that the control plane's command lines name."""
    (bed.root / "Corefile").write_text(_COREFILE % bed.component_kubeconfig("coredns"))
    simulated.write_files(bed)
    (bed.root / "audit-policy.json").write_text(json.dumps(_AUDIT_POLICY))


def plan(bed: Bed, programs: Mapping[str, Path], relay_fd: int) -> Plan:
    """Return the plan of the machine that holds the control plane and, inside it, the nodes."""
    return Plan(
        hostname="control-plane",
        setup=_network(bed.nodes),
        services=(
            Service("etcd", _etcd(bed, programs["etcd"])),
            Service(
                "kube-apiserver", _apiserver(bed, programs["kube-apiserver"]), after=f"tcp:{_ETCD}"
            ),
            Service(
                "kube-controller-manager",
                _controller_manager(bed, programs["kube-controller-manager"]),
                after=_API,
            ),
            Service("kube-scheduler", _scheduler(bed, programs["kube-scheduler"]), after=_API),
            Service(
                "coredns",
                (str(programs["coredns"]), "-conf", str(bed.root / "Corefile")),
                after=_API,
            ),
            Service(
                "relay",
                (sys.executable, "-I", str(_HERE / "relay.py"), str(relay_fd), str(API_PORT)),
                after=_API,
                pass_fds=(relay_fd,),
            ),
            Service(
                "kwok",
                simulated.command(bed, programs["kwok"]),
                after=_API,
                unless=str(bed.root / simulated.OFF),
            ),
            Service("reclaimer", _reclaimer(bed), after=_API),
            *(_node_machine(bed, node) for node in bed.nodes),
        ),
        log_dir=str(bed.logs),
        status_file=str(bed.root / "services.json"),
    )


def _network(nodes: tuple[Node, ...]) -> tuple[tuple[str, ...], ...]:
    """One bridge as the switch; each node has a network namespace with a cable to it.

    /run is the bed's own, so the names of the namespaces are seen by nobody else.
    """
    commands = [
        "mount -t tmpfs tmpfs /run",
        "ip link set lo up",
        "ip link add cluster type bridge",
        f"ip address add {CONTROL_PLANE_IP}/24 dev cluster",
        "ip link set cluster up",
        "sysctl -q -w net.ipv4.ip_forward=1",
    ]
    for node in nodes:
        commands += [
            f"ip netns add {node.name}",
            f"ip link add {node.name} type veth peer name eth0 netns {node.name}",
            f"ip link set {node.name} master cluster up",
            f"ip -n {node.name} link set lo up",
            f"ip -n {node.name} address add {node.ip}/24 dev eth0",
            f"ip -n {node.name} link set eth0 up",
            f"ip -n {node.name} route add default via {CONTROL_PLANE_IP}",
            f"nsenter --net=/run/netns/{node.name} sysctl -q -w net.ipv4.ip_forward=1",
            f"ip route add {node.pod_cidr} via {node.ip}",
        ]
        for other in nodes:
            if other is not node:
                commands.append(f"ip -n {node.name} route add {other.pod_cidr} via {other.ip}")
    # Services are rules on the nodes: whoever is outside goes through one of them.
    commands.append(f"ip route add {SERVICE_CIDR} via {nodes[0].ip}")
    return tuple(tuple(command.split()) for command in commands)


def _etcd(bed: Bed, program: Path) -> tuple[str, ...]:
    return (
        str(program),
        "--name=testbed",
        f"--data-dir={bed.root / 'etcd'}",
        f"--listen-client-urls=http://{_ETCD}",
        f"--advertise-client-urls=http://{_ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=testbed=http://127.0.0.1:2380",
        "--unsafe-no-fsync",
        "--quota-backend-bytes=8589934592",
        "--auto-compaction-retention=10m",
        "--log-level=warn",
    )


def _apiserver(bed: Bed, program: Path) -> tuple[str, ...]:
    pki = bed.certificates
    return (
        str(program),
        f"--etcd-servers=http://{_ETCD}",
        f"--secure-port={API_PORT}",
        "--bind-address=0.0.0.0",
        f"--advertise-address={CONTROL_PLANE_IP}",
        f"--client-ca-file={pki}/ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--service-account-key-file={pki}/service-accounts.pub",
        f"--service-account-signing-key-file={pki}/service-accounts.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--service-cluster-ip-range={SERVICE_CIDR}",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/apiserver.crt",
        f"--kubelet-client-key={pki}/apiserver.key",
        "--kubelet-preferred-address-types=InternalIP",
        "--allow-privileged=true",
        f"--audit-policy-file={bed.root}/audit-policy.json",
        f"--audit-log-path={bed.logs}/audit.log",
    )


def _controller_manager(bed: Bed, program: Path) -> tuple[str, ...]:
    pki = bed.certificates
    return (
        str(program),
        f"--kubeconfig={bed.component_kubeconfig('controller-manager')}",
        f"--authentication-kubeconfig={bed.component_kubeconfig('controller-manager')}",
        f"--authorization-kubeconfig={bed.component_kubeconfig('controller-manager')}",
        f"--root-ca-file={pki}/ca.crt",
        f"--service-account-private-key-file={pki}/service-accounts.key",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        f"--cluster-cidr={POD_CIDR}",
        "--bind-address=127.0.0.1",
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--controllers=*",
    )


def _scheduler(bed: Bed, program: Path) -> tuple[str, ...]:
    kubeconfig = bed.component_kubeconfig("scheduler")
    return (
        str(program),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
    )


def _reclaimer(bed: Bed) -> tuple[str, ...]:
    """The command line of what gives volumes back (reclaim.py)."""
    api, pki = f"https://{CONTROL_PLANE_IP}:{API_PORT}", bed.certificates
    files = (str(pki / name) for name in ("ca.crt", "reclaimer.crt", "reclaimer.key"))
    return (
        *(sys.executable, "-I", str(_HERE / "reclaim.py"), api, *files, RECLAIM),
        str(bed.volumes),
    )


def _node_machine(bed: Bed, node: Node) -> Service:
    """A node is a machine inside the bed: its own processes, mounts, name, and network."""
    namespaces = ("--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc")
    return Service(
        node.name,
        (
            *("nsenter", f"--net=/run/netns/{node.name}", "unshare", *namespaces),
            *(sys.executable, "-I", str(_HERE / "machine.py")),
            str(bed.node_dir(node) / "plan.json"),
        ),
        after=_API,
        unless=str(bed.node_dir(node) / "off"),
    )
