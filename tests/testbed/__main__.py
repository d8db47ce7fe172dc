"""The command line of the test bed: `python -m tests.testbed VERB`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.testbed import host, lifecycle, playground
from tests.testbed.binaries import MODULES, programs
from tests.testbed.cluster import Timeout
from tests.testbed.images import node_images
from tests.testbed.layout import Bed, bed
from tests.testbed.requirements import BedUnavailable, install_or_explain
from tests.testbed.simulated import MARK, node_names, simulate
from tests.testbed.state import first_process, node_process


def main(argv: list[str]) -> int:
    """Run one command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.testbed", description=__doc__)
    parser.add_argument("--name", default=os.environ.get("SWEEPCTL_TESTBED", "default"))
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--gpus-per-node", type=int, default=16)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("build", help="build programs and images only")
    verbs.add_parser("up", help="bring the bed up")
    verbs.add_parser("down", help="take it down and leave nothing")
    verbs.add_parser("status", help="say what runs")
    nodes = verbs.add_parser("simulate", help="have that many simulated nodes (kwok) besides")
    nodes.add_argument("count", type=int)
    offer = verbs.add_parser("offer", help="prepare a namespace for the example sweep")
    offer.add_argument("namespace", nargs="?", default=playground.NAMESPACE)
    shell = verbs.add_parser("shell", help="a shell with KUBECONFIG set, or inside a node")
    shell.add_argument("node", nargs="?", help="node-1, node-2: a root shell inside that node")
    asked = parser.parse_args(argv)
    chosen = bed(asked.name, os.environ, nodes=asked.nodes, gpus_per_node=asked.gpus_per_node)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return _run(asked, chosen)
    except (BedUnavailable, RuntimeError, Timeout) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: nothing of the bed is left", file=sys.stderr)
        return 130


def _run(asked: argparse.Namespace, chosen: Bed) -> int:
    if asked.verb == "build":
        install_or_explain()
        for module in MODULES:
            programs(module, os.environ, _say)
        node_images(os.environ, _say)
    elif asked.verb == "up":
        lifecycle.up(chosen, os.environ, _say)
        print(f"export KUBECONFIG={chosen.kubeconfig}")
    elif asked.verb == "down":
        lifecycle.down(chosen, _say)
    elif asked.verb == "simulate":
        simulate(lifecycle.cluster(chosen), chosen, asked.count)
    elif asked.verb == "offer":
        playground.prepare(lifecycle.cluster(chosen), chosen, asked.namespace, os.environ)
        print(" ".join(["export", *(f"{k}={v}" for k, v in playground.settings(chosen).items())]))
    elif asked.verb == "status":
        return _status(chosen)
    else:
        return _shell(chosen, asked.node)
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _status(chosen: Bed) -> int:
    cluster = lifecycle.cluster(chosen)
    print(f"test bed '{chosen.name}', kubeconfig {chosen.kubeconfig}")
    for place in (chosen.root, *(chosen.node_dir(node) for node in chosen.nodes)):
        services = json.loads(Path(place, "services.json").read_text())
        for name, service in services.items():
            state = "runs" if service["pid"] else f"ended with {service['last_exit']}"
            print(f"  {place.name}/{name}: {state}, started {service['starts']} time(s)")
    everything = [first_process(chosen)]
    everything += everything[0].descendants()
    memory_bytes = sum(_proportional_bytes(process) for process in everything)
    print(f"  {len(everything)} processes, {memory_bytes / 2**20:.0f} MiB")
    print(cluster.kubectl("get", "nodes", "-l", f"!{MARK}", "-o", "wide"), end="")
    if many := len(node_names(cluster)):
        print(f"and {many} simulated nodes")
    return 0


def _proportional_bytes(process: host.Process) -> int:
    try:
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) << 10


def _shell(chosen: Bed, node: str | None) -> int:
    cluster = lifecycle.cluster(chosen)
    shell = os.environ.get("SHELL", "/bin/sh")
    if node is None:
        own = Path(sys.executable).parent
        environ = {**cluster.environ, "PATH": f"{own}{os.pathsep}{cluster.environ['PATH']}"}
        if chosen.sweeps_kubeconfig.exists():
            environ |= playground.settings(chosen)
        print(
            f"sweepctl, kubectl and helm talk to test bed '{chosen.name}'; exit to leave. Try:\n"
            "  sweepctl submit examples/toy_legs/sweep.yaml --agents 3 --wait",
            file=sys.stderr,
        )
        return subprocess.call([shell], env=environ)
    found = next((each for each in chosen.nodes if each.name == node), None)
    if found is None:
        names = ", ".join(each.name for each in chosen.nodes)
        print(f"error: no node '{node}': this bed has {names}", file=sys.stderr)
        return 2
    target = f"--target={node_process(chosen, found).pid}"
    return subprocess.call(["nsenter", target, "--mount", "--net", "--pid", "--uts", shell])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
