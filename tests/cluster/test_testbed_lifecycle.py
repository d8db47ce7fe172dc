"""Proof that a bed comes up once, survives what it should, and leaves nothing behind.

These tests use a small bed of their own, beside the one that the other tests use.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import needs
from tests.testbed import host, lifecycle
from tests.testbed.binaries import MODULES, Module, is_built, programs
from tests.testbed.build_folders import build_folder, clear_left_builds
from tests.testbed.cluster import Cluster, is_ready, restricted_namespace
from tests.testbed.layout import TRAINER_HOST_PATH, Bed, Node, bed
from tests.testbed.pods import UNTIL_TERMINATED, pod, pod_spec
from tests.testbed.requirements import BedUnavailable, Missing, missing
from tests.testbed.state import State, first_process, in_node, node_process
from tests.testbed.trainer import offer_trainer

_KERNEL_SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/ipv4/ip_forward",
    "net/netfilter/nf_conntrack_max",
)
_FIRST_STEP = "certificates, configuration, namespaces"


@pytest.fixture
def small_bed() -> Iterator[Bed]:
    """A bed of one node that is not up; whatever is left of it is cleared away."""
    lacking = [module.name for module in MODULES if not is_built(module, os.environ)]
    if problem := str(missing()) or ", ".join(lacking):
        needs.lacks(f"no test bed here: {problem}")
    chosen = bed(f"proof-{os.getpid()}", os.environ, nodes=1, gpus_per_node=1)
    yield chosen
    lifecycle.down(chosen, lambda line: None)


def traces(chosen: Bed) -> dict[str, object]:
    """All that a bed could leave on this machine, but for processes."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True)
    settings = {name: Path("/proc/sys", name).read_text() for name in _KERNEL_SETTINGS}
    return {
        "mounts": mounts_of_a_bed(chosen),
        "links": len(links.stdout.splitlines()),
        "named network namespaces": sorted(os.listdir("/run/netns"))
        if Path("/run/netns").exists()
        else [],
        "cgroups": [
            str(root / chosen.cgroup.lstrip("/"))
            for root in host.cgroup_hierarchies()
            if (root / chosen.cgroup.lstrip("/")).exists()
        ],
        "folders": sorted(p.name for p in chosen.cache.glob(f"beds/{chosen.name}*")),
        "kernel settings": settings,
    }


def mounts_of_a_bed(chosen: Bed) -> list[str]:
    """Mounts of the host where a bed makes its own, or of what is its own."""
    places = ("/run", "/var/lib", "/var/log", "/proc/", str(chosen.cache))
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = {line.split()[4]: line for line in lines}
    return sorted(
        point
        for point, line in points.items()
        if point.startswith(places) or chosen.name in line or "/containerd/" in line
    )


def command(chosen: Bed, *verb: str) -> list[str]:
    shape = [f"--name={chosen.name}", "--nodes=1", "--gpus-per-node=1"]
    return [sys.executable, "-m", "tests.testbed", *shape, *verb]


def up_until(chosen: Bed, step: str) -> subprocess.Popen[str]:
    """Start `up` and return when it has said that step."""
    process = subprocess.Popen(
        command(chosen, "up"),
        stderr=subprocess.PIPE,
        text=True,
        # As in a terminal, whatever the program that runs the tests does with Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if step in line:
            return process
    raise AssertionError(f"`up` ended before {step!r}: exit code {process.wait()}")


@pytest.mark.cluster
def test_down_leaves_no_process_mount_namespace_cgroup_or_setting(small_bed: Bed) -> None:
    before = traces(small_bed)
    running = lifecycle.up(small_bed, os.environ, lambda line: None)
    running.apply(pod("busy", pod_spec(["python3", "-c", UNTIL_TERMINATED])))
    running.kubectl("wait", "--for=condition=Ready", "pod/busy", "--timeout=300s")
    state = State.read(small_bed)
    assert state is not None
    processes = [state.process, *state.process.descendants()]
    assert any("python3" in process.command for process in processes[1:])
    assert traces(small_bed)["cgroups"] != []
    lifecycle.down(small_bed, lambda line: None)
    assert [process for process in processes if process.is_alive] == []
    assert traces(small_bed) == before


@pytest.mark.cluster
def test_up_twice_is_the_same_bed(small_bed: Bed) -> None:
    lifecycle.up(small_bed, os.environ, lambda line: None)
    first = State.read(small_bed)
    said: list[str] = []
    lifecycle.up(small_bed, os.environ, said.append)
    assert State.read(small_bed) == first
    assert said == [f"test bed '{small_bed.name}' is up already"]


@pytest.mark.cluster
def test_killed_up_takes_its_processes_along_and_down_clears_the_rest(small_bed: Bed) -> None:
    before = traces(small_bed)
    process = up_until(small_bed, _FIRST_STEP)
    state = State.read(small_bed)
    assert state is not None
    held = [state.process, *state.process.descendants()]
    process.kill()
    process.wait()
    assert host.wait_until_gone(held, 30) == []
    done = subprocess.run(command(small_bed, "down"), capture_output=True, text=True, check=True)
    assert "is gone" in done.stderr
    assert traces(small_bed) == before


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "term"]
)
def test_interrupted_up_clears_everything_away_itself(
    small_bed: Bed, number: signal.Signals, exit_code: int
) -> None:
    before = traces(small_bed)
    process = up_until(small_bed, _FIRST_STEP)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == exit_code
    assert traces(small_bed) == before


@pytest.mark.cluster
def test_killing_the_first_process_by_hand_ends_the_whole_bed(small_bed: Bed) -> None:
    lifecycle.up(small_bed, os.environ, lambda line: None)
    everything = [first_process(small_bed)]
    everything += everything[0].descendants()
    everything[0].kill()
    assert host.wait_until_gone(everything, 120) == []
    with pytest.raises(BedUnavailable, match="is not up: make testbed-up"):
        lifecycle.cluster(small_bed)


def test_bed_whose_first_process_has_ended_is_not_up_though_the_process_that_holds_it_still_is(
    tmp_path: Path,
) -> None:
    chosen = bed("held", {"SWEEPCTL_CACHE": str(tmp_path)}, nodes=1, gpus_per_node=1)
    chosen.root.mkdir(parents=True)
    words = ("unshare", "--pid", "--fork", "--kill-child", "sleep", "600")
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as holder:
        try:
            state = State(outer_process(holder), True, "", {})
            state.write(chosen)
            assert lifecycle.cluster(chosen).programs == {}
            first = first_process(chosen)
            # As on a busy machine: it hears of the end of its child a moment later.
            holder.send_signal(signal.SIGSTOP)
            first.kill()
            assert host.wait_until_gone([first], 30) == []
            assert state.process.is_alive
            with pytest.raises(BedUnavailable, match="is not up: make testbed-up"):
                lifecycle.cluster(chosen)
        finally:
            holder.kill()


def outer_process(holder: subprocess.Popen[bytes]) -> host.Process:
    """Give the process of an `unshare` that has made its child; skip where it may not."""
    while (code := holder.poll()) is None:
        found = host.Process.of(holder.pid)
        if found is not None and any(each.is_init for each in found.descendants()):
            return found
    needs.lacks(f"no process namespaces here: unshare ended with {code}")


@pytest.mark.cluster
def test_node_comes_back_after_a_power_cut(small_bed: Bed) -> None:
    running = lifecycle.up(small_bed, os.environ, lambda line: None)
    (node,) = small_bed.nodes
    processes = [node_process(small_bed, node)]
    processes += processes[0].descendants()
    assert held_cgroups(small_bed, node)
    lifecycle.power_off(small_bed, node)
    assert [process for process in processes if process.is_alive] == []
    assert held_cgroups(small_bed, node) == []
    with pytest.raises(BedUnavailable, match=r"node-1 .* is off"):
        node_process(small_bed, node)
    heartbeat = ready_since(running, node.name)
    lifecycle.power_on(small_bed, node)
    running.wait_for("the node reports again", lambda: ready_since(running, node.name) > heartbeat)
    assert is_ready(running.get("node", node.name))


@pytest.mark.cluster
@pytest.mark.trainer
def test_trainer_of_a_node_outlives_a_power_cut_and_its_volume_goes_with_its_namespace(
    small_bed: Bed,
) -> None:
    running = lifecycle.up(small_bed, os.environ, lambda line: None)
    (node,) = small_bed.nodes
    running.apply(restricted_namespace("offered"))
    needs.got(offer_trainer, running, small_bed, "offered", os.environ)
    program = f"{TRAINER_HOST_PATH}/venv/bin/isaaclab"
    parts = [program, f"{TRAINER_HOST_PATH}/python/bin", f"{TRAINER_HOST_PATH}/code/toy_legs"]
    for _ in range(2):
        assert in_node(small_bed, node, ["ls", *parts]).returncode == 0
        lifecycle.power_off(small_bed, node)
        lifecycle.power_on(small_bed, node)
        running.wait_for("the node starts", lambda: is_on(small_bed))
        running.wait_for(
            "the trainer is there",
            lambda: in_node(small_bed, node, ["ls", *parts]).returncode == 0,
            timeout_s=30,
        )
    running.kubectl("delete", "namespace", "offered")
    running.wait_for(
        "its volumes are gone",
        lambda: "offered" not in running.kubectl("get", "pv", "-o", "name"),
    )


def held_cgroups(chosen: Bed, node: Node) -> list[Path]:
    """Give the cgroups that a node's kubelet has made."""
    places = [root / chosen.cgroup.lstrip("/") / node.name for root in host.cgroup_hierarchies()]
    return [folder for place in places for folder in place.glob("*/")]


def is_on(chosen: Bed) -> bool:
    try:
        node_process(chosen, chosen.nodes[0])
    except BedUnavailable:
        return False
    return True


def ready_since(cluster: Cluster, node: str) -> str:
    conditions = cluster.get("node", node)["status"]["conditions"]
    return next(str(c["lastHeartbeatTime"]) for c in conditions if c["type"] == "Ready")


def test_what_a_killed_build_has_left_is_cleared_away_and_what_is_in_use_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "another's").mkdir()
    script = (
        "import subprocess, sys, time\n"
        "from tests.testbed.build_folders import build_folder\n"
        "with build_folder() as folder:\n"
        "    (folder.path / 'root').mkdir()\n"
        "    child = subprocess.Popen(['sleep', '600'], pass_fds=(folder.lock,))\n"
        "    print(folder.path, child.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    words = [sys.executable, "-c", script]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environ) as killed:
        assert killed.stdout is not None
        left, of_the_build = killed.stdout.readline().split()
        with build_folder() as used:
            assert Path(left, "root").is_dir()
            killed.kill()
            killed.wait()
            assert clear_left_builds() == [], "a process of the build is still there"
            build = host.Process.of(int(of_the_build))
            assert build is not None
            mounting = ["mount", "-t", "tmpfs", "none", f"{left}/root"]
            subprocess.run(mounting, check=False, capture_output=True)  # as root alone
            build.kill()
            assert host.wait_until_gone([build], 30) == []
            assert clear_left_builds() == [Path(left)]
            assert used.path.is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["another's"]
    assert left not in Path("/proc/self/mountinfo").read_text()


def test_ready_made_programs_are_used_when_all_are_there(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).touch(mode=0o755)
    wanted = Module("any", {"one": "example.invalid/one", "two": "example.invalid/two"})
    found = programs(wanted, {"KUBEBUILDER_ASSETS": str(tmp_path)})
    assert found == {"one": tmp_path / "one", "two": tmp_path / "two"}


def test_ready_made_programs_that_are_missing_are_named(tmp_path: Path) -> None:
    (tmp_path / "one").touch(mode=0o755)
    wanted = Module("any", {"one": "example.invalid/one", "two": "example.invalid/two"})
    with pytest.raises(BedUnavailable, match=f"KUBEBUILDER_ASSETS={tmp_path} lacks two"):
        programs(wanted, {"KUBEBUILDER_ASSETS": str(tmp_path)})


def test_machine_that_lacks_programs_is_told_what_to_install() -> None:
    lacking = Missing(reasons=(), packages=("containerd", "runc"))
    assert str(lacking) == (
        "missing programs: apt-get install --no-install-recommends containerd runc"
    )


@pytest.mark.parametrize(
    ("ci", "outcome"),
    [("true", pytest.fail.Exception), ("", pytest.skip.Exception)],
    ids=["ci-fails", "elsewhere-skips"],
)
def test_cluster_tests_that_cannot_run_fail_in_ci_and_skip_elsewhere(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no root"):
        needs.lacks("no root")
