"""Bring a bed up, take it down, say how it is.

`up` is idempotent, and hands the bed over only when all of it answers: until then the bed's first
process holds the other end of a pipe and dies with `up`. `down` kills that process, with which the
kernel ends every other and drops every mount, and removes cgroups and folder; it needs nothing but
the state file, so it also clears up after an `up` that was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.testbed import controlplane, furniture, host, node
from tests.testbed.binaries import module, programs
from tests.testbed.certificates import make_certificates
from tests.testbed.cluster import Cluster, Timeout
from tests.testbed.images import Image, node_images
from tests.testbed.layout import CGROUP_ROOT, Bed, Node
from tests.testbed.machine import ADOPTED
from tests.testbed.requirements import BedUnavailable, install_or_explain
from tests.testbed.state import State, in_node, node_process

Say = Callable[[str], None]
_NAMESPACES = ("--net", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc")
_MACHINE = Path(__file__).parent / "machine.py"
_SHAPING = (
    "certificates",
    "controlplane",
    "furniture",
    "layout",
    "machine",
    "node",
    "reclaim",
    "relay",
    "simulated",
)


def up(bed: Bed, environ: Mapping[str, str], say: Say) -> Cluster:
    """Bring the bed up, or return it when it is up already.

    Raises:
        BedUnavailable: this machine cannot run one; the message says why.
    """
    install_or_explain()
    if str(bed.cache).startswith(("/run/", "/var/lib/")):
        raise BedUnavailable(
            f"the cache {bed.cache} is below /run or /var/lib, which every node has as its own: "
            "set SWEEPCTL_CACHE to another folder"
        )
    built: dict[str, Path] = {}
    for name in ("kubernetes", "containerd"):
        built |= programs(module(name), environ, say)
    tools = programs(module("helm"), environ, say)
    images = node_images(environ, say)
    key = hashlib.sha256(f"{bed} {built} {images} {_sources()}".encode()).hexdigest()
    with _locked(bed) as lock:
        state = State.read(bed)
        if state and state.is_up and state.key == key:
            say(f"test bed '{bed.name}' is up already")
            return cluster(bed)
        if bed.root.exists():
            say(f"clearing away what is left of test bed '{bed.name}'")
            _remove(bed)
        try:
            _start(bed, built, {**built, **tools}, images, key, say)
        except BaseException as problem:
            if isinstance(problem, Exception):  # not Ctrl-C
                _keep_logs(bed)
            _remove(bed)
            lock.unlink()
            raise
    return cluster(bed)


def down(bed: Bed, say: Say) -> None:
    """Take the bed down and leave nothing of it; no bed is fine too."""
    with _locked(bed) as lock:
        existed = bed.root.exists()
        _remove(bed)
        lock.unlink()
    say(f"test bed '{bed.name}' is {'gone' if existed else 'not there'}")


def cluster(bed: Bed) -> Cluster:
    """Return the running bed as a cluster.

    Raises:
        BedUnavailable: when it is not up.
    """
    state = State.read(bed)
    if state is None or not state.is_up:
        raise BedUnavailable(f"test bed '{bed.name}' is not up: make testbed-up")
    return Cluster(bed.kubeconfig, {k: Path(v) for k, v in state.programs.items()}, bed)


def power_off(bed: Bed, of: Node) -> None:
    """End a node the way a power cut does: every process of it at once, and it stays off."""
    process = node_process(bed, of)
    (bed.node_dir(of) / "off").touch()
    process.kill()
    if host.wait_until_gone([process], 30):
        raise Timeout(f"{of.name} does not end")
    # A kubelet asks three seconds long after each container whose cgroup it finds at its start.
    place = f"{bed.cgroup}/{of.name}"
    if left := host.remove_cgroup(place):
        raise Timeout(f"cgroups that cannot be removed: {left}")
    host.make_cgroup(place)


def power_on(bed: Bed, of: Node) -> None:
    """Let a node that was switched off start again."""
    (bed.node_dir(of) / "off").unlink(missing_ok=True)


def _start(
    bed: Bed,
    built: Mapping[str, Path],
    tools: Mapping[str, Path],
    images: tuple[Image, ...],
    key: str,
    say: Say,
) -> None:
    start_s = time.monotonic()

    def step(what: str) -> None:
        say(f"{time.monotonic() - start_s:6.1f} s  {what}")

    bed.logs.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        make_certificates(bed, listener.getsockname()[1])
        controlplane.write_files(bed)
        for each in bed.nodes:
            node.write_files(bed, each, built)
            host.make_cgroup(f"{bed.cgroup}/{each.name}")
        plan = controlplane.plan(bed, built, listener.fileno())
        (bed.root / "plan.json").write_text(plan.to_json())
        process, lifeline = _spawn(bed, listener.fileno())
    with os.fdopen(lifeline, "wb", buffering=0) as alive:
        child = host.Process.of(process.pid)
        if child is None:
            raise RuntimeError(_log_tail(bed))
        state = State(child, False, key, {name: str(path) for name, path in tools.items()})
        state.write(bed)
        step("certificates, configuration, namespaces")
        made = Cluster(bed.kubeconfig, tools, bed)

        def awaited(what: str, is_so: Callable[[], object]) -> None:
            def is_so_or_dead() -> object:
                if process.poll() is not None:
                    raise RuntimeError(f"the bed's first process ended:\n{_log_tail(bed)}")
                return is_so()

            made.wait_for(what, is_so_or_dead, timeout_s=300, every_s=0.1)
            step(what)

        awaited("containerd answers on every node", lambda: _containerd_answers(made, bed))
        for image in images:
            load_image(made, bed, image)
        step(f"images loaded: {', '.join(image.name for image in images)}")
        awaited("API server is ready", lambda: _api_is_ready(made))
        furniture.put_in(made, bed)
        awaited("nodes are ready and offer GPUs", lambda: furniture.nodes_are_ready(made, bed))
        alive.write(ADOPTED)
    State(child, True, key, state.programs).write(bed)
    step(f"test bed '{bed.name}' is up")


def _spawn(bed: Bed, relay_fd: int) -> tuple[subprocess.Popen[bytes], int]:
    """Start the bed's first process; return it and the pipe's end that keeps it alive."""
    inner, outer = os.pipe()
    with open(bed.logs / "machine.log", "ab") as log:
        process = subprocess.Popen(
            [
                *("unshare", *_NAMESPACES, sys.executable, "-I", str(_MACHINE)),
                *(str(bed.root / "plan.json"), str(inner)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            pass_fds=(inner, relay_fd),
            start_new_session=True,
        )
    os.close(inner)
    return process, outer


def load_image(cluster: Cluster, bed: Bed, image: Image) -> None:
    """Put an image into the image store of every node."""
    ctr = str(cluster.programs["ctr"])
    command = [ctr, "-n", "k8s.io", "images", "import", str(image.archive)]
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda each: in_node(bed, each, command), bed.nodes))
    for each, result in zip(bed.nodes, done, strict=True):
        if result.returncode != 0:
            raise RuntimeError(f"{each.name} refused {image.name}: {result.stderr.strip()}")


def _containerd_answers(made: Cluster, bed: Bed) -> bool:
    ask = [str(made.programs["ctr"]), "version"]
    try:
        return all(in_node(bed, each, ask).returncode == 0 for each in bed.nodes)
    except BedUnavailable:
        return False


def _api_is_ready(made: Cluster) -> bool:
    return made.run("kubectl", "get", "--raw", "/readyz").returncode == 0


def _remove(bed: Bed) -> None:
    state = State.read(bed)
    if state is not None:
        # The child is the namespace's first process: with it the kernel ends all others.
        held = [state.process, *state.process.descendants()]
        for process in held[:2]:
            process.kill()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(state.process.pid, 0)
        if left := host.wait_until_gone(held, 60):
            raise Timeout(f"processes of test bed '{bed.name}' do not end: {left}")
    if left_cgroups := host.remove_cgroup(bed.cgroup):
        raise Timeout(f"cgroups that cannot be removed: {left_cgroups}")
    host.remove_empty_cgroup(CGROUP_ROOT)
    # Tens of thousands of files; and should anything be mounted there after all, it is not entered.
    subprocess.run(["rm", "-rf", "--one-file-system", str(bed.root)], check=True)


def _keep_logs(bed: Bed) -> None:
    """Keep the logs of a start that failed, in place of those of the one before."""
    target = bed.root.with_suffix(".failed")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for folder in (bed.logs, *(bed.node_dir(each) / "log" for each in bed.nodes)):
        if folder.is_dir():
            shutil.copytree(folder, target / f"{folder.parent.name}-logs", symlinks=True)
    print(f"its logs are kept in {target}", file=sys.stderr)


def _log_tail(bed: Bed) -> str:
    log = bed.logs / "machine.log"
    return "\n".join(log.read_text().splitlines()[-10:]) if log.exists() else "(no log)"


def _sources() -> str:
    """The hash of the modules that shape a bed: when they change, `up` makes a new one."""
    here = Path(__file__).parent
    files = (here / f"{name}.py" for name in _SHAPING)
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


@contextlib.contextmanager
def _locked(bed: Bed) -> Iterator[Path]:
    """Let one command at a time start or end this bed; give the lock's file, to remove with it."""
    path = bed.root.with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(path, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Who held it may have removed the file: a lock on what has no name keeps nobody out.
            if path.exists() and os.path.samestat(path.stat(), os.fstat(lock.fileno())):
                yield path
                return
