"""Runs W&B's own system tests against the embedded server: `make test-wandb`.

They are part of W&B's repository, which is fetched at one commit, and run with W&B's client of one
version: what fails because the two differ is told by the cause that is known. Nothing of W&B's is
kept in this repository. Environment: `WANDB_SOURCE` (the repository, or a folder that has it),
`WANDB_COMMIT`, `WANDB_CLIENT` (a version).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

SOURCE = os.environ.get("WANDB_SOURCE", "https://github.com/wandb/wandb.git")
COMMIT = os.environ.get("WANDB_COMMIT", "b6e29505884ea60c79ca12091f1f75bd39d2f955")
CLIENT = os.environ.get("WANDB_CLIENT", "0.31.0")
CACHE = Path.home() / ".cache" / "sweepctl" / "wandb-conformance"

_ROOT = Path(__file__).parents[1]
_PLUGIN = "wandb_tests_plugin"
_TAKEN = ("tests", "tools", "pyproject.toml")
_TIMEOUT_S = 90
_FOLDERS = re.compile(r"^[^:]*/(?=\w+\.py)")
_USERS = 300
"""More than a group of tests makes: each is a key that the server is given."""

_REQUIREMENTS = """pytest~=8.4 pytest-asyncio~=1.2.0 pytest-cov pytest-xdist~=3.8 pytest-mock
pytest-timeout pytest-flakefinder~=1.1 pyfakefs~=5.9 parameterized~=0.9 looptime flask~=2.2
fastapi~=0.115.3 httpx~=0.27.0 responses~=0.23 uvicorn~=0.32.0 moto[s3]~=5.1 pandas~=2.3 numpy~=2.3
pyte~=0.8.1 hypothesis hypothesis-fspaths pillow tensorboardX tensorboard plotly matplotlib
cloudpickle polars pyarrow requests filelock ipython pytest-split moviepy tqdm google-cloud-storage
gymnasium scikit-learn soundfile bokeh"""
"""What W&B's tests import."""

_SYSTEM = "tests/system_tests"
_CORE = f"{_SYSTEM}/test_core"
_FUNCTIONAL = f"{_SYSTEM}/test_functional"
_ARTIFACTS = f"{_SYSTEM}/test_artifacts"


def _in(folder: str, names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for name in names.split())


GROUPS: dict[str, tuple[str, ...]] = {
    "sweeps": (f"{_SYSTEM}/test_sweep", f"--ignore={_SYSTEM}/test_sweep/test_launch_scheduler.py"),
    "public API": (f"{_CORE}/test_public_api.py", f"{_SYSTEM}/test_api"),
    "runs": _in(
        _CORE,
        "test_wandb_run.py test_wandb_init.py test_wandb_init_reinit.py test_wandb_setup.py"
        " test_wandb_settings.py test_time_resolution.py test_run_messages_full.py",
    ),
    "resume": _in(_CORE, "test_resume.py test_resume_auto.py"),
    "files": _in(
        _CORE,
        "test_file_stream.py test_file_upload.py test_save_policies.py test_wandb_save.py"
        " test_console.py",
    ),
    "offline and sync": (
        *_in(_CORE, "test_offline_sync.py test_offline_sync_beta.py"),
        f"{_FUNCTIONAL}/sync",
    ),
    "metrics": (
        f"{_SYSTEM}/test_system_metrics",
        *_in(_CORE, "test_metric_full.py test_telemetry_full.py"),
    ),
    "the client as a whole": _in(
        _CORE,
        "test_wandb.py test_git.py test_mode_disabled_full.py test_mp_full.py test_footer.py"
        " test_label_full.py test_wandb_integration.py test_tb_watcher.py",
    ),
    "processes and consoles": _in(
        _FUNCTIONAL,
        "asyncio_compat_run asyncio_manager_run console_capture interrupt multiprocessing"
        " terminput test_util wb_logging",
    ),
    "media": (f"{_CORE}/test_data_types_full.py", f"{_SYSTEM}/test_plot.py"),
    "command line": _in(
        _CORE,
        "test_cli_full.py test_wandb_login.py test_wandb_verify.py test_wandb_clean_full.py"
        " test_leet.py",
    ),
    "artifacts": _in(
        _ARTIFACTS,
        "test_artifact_cli.py test_wandb_run_artifacts.py test_misc.py test_misc2.py"
        " test_gqlutils.py test_data_types.py test_artifact_public_api.py",
    ),
}

CAUSES: tuple[tuple[str, str], ...] = (
    (
        r"AttributeError: (module 'wandb.cli.cli'|'(Run|NoopRun|ArtifactFileCache)' object)"
        r"|DeprecatedApi object",
        "calls what this client has no more",
    ),
    (r"has no attribute '(apikey|artifact_saver)'", "stands in for a part this client lacks"),
    (r"_NoInternalApi|no InternalApi", "uses the client's `InternalApi`, which it has no more"),
    (r"x_server_side_expand_glob_metrics", "sets a setting that this client has no more"),
    (r"`resume` will be ignored", "waits for words that this client does not have"),
    (r"ArtifactMembershipFragment", "its stand-in for W&B's answer lacks a field of this client's"),
    (r"Unable to find organization", "needs an organization, which W&B's own fixture makes"),
    (
        r"\['sync', '--view'|\"sync\", \"--view\"|\"--view\", \"--verbose\"",
        "calls an option that this client has no more",
    ),
    (
        r"test_sync_with_tensorboard",
        "has TensorBoard's files synced, which this client does not do",
    ),
    (r"_get_max_cli_version", "stands in for a part this client lacks"),
    (
        r"timed out after 5 seconds|Didn't start uploading",
        "gives another process 5 s, too few here",
    ),
    (r"test_agent_term_timeout", "asks no server: it signals processes of its own"),
    (
        r"_sleep_backoff|storage.googleapis.com|amazonaws.com",
        "reads a file of W&B's in the internet, which was not there",
    ),
)
"""What a failed test and its error say together, and why that is not the server's doing."""


def main() -> None:
    """Run the groups that are named, or all, and print the card."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}")
    chosen = parser.parse_args().groups or list(GROUPS)
    if unknown := [name for name in chosen if name not in GROUPS]:
        parser.error(f"no group {unknown[0]!r}; there are {', '.join(GROUPS)}")
    source, python = _source(), _client()
    for name in chosen:
        print(f"{name} …", file=sys.stderr, flush=True)
        _run(name, source, python)
    print("\n".join(card(chosen)))


def card(groups: Sequence[str]) -> Iterator[str]:
    """Give the results as Markdown: the counts by group, and each failed test with its cause."""
    yield "| group | passed | failed | skipped |"
    yield "|---|---|---|---|"
    failed: list[tuple[str, str]] = []
    total: Counter[str] = Counter()
    for group in groups:
        results = _results(group)
        counts = Counter(outcome for outcome, _ in results.values())
        total += counts
        failed += [(id, text) for id, (outcome, text) in results.items() if outcome == "failed"]
        yield f"| {group} | {counts['passed']} | {counts['failed']} | {counts['skipped']} |"
    yield f"| all | {total['passed']} | {total['failed']} | {total['skipped']} |"
    yield ""
    yield "| failed | cause |"
    yield "|---|---|"
    for id, text in failed:
        yield f"| `{_FOLDERS.sub('', id)}` | {_cause(id + text)} |"


def _cause(said: str) -> str:
    return next((why for pattern, why in CAUSES if re.search(pattern, said)), "not known")


def _results(group: str) -> dict[str, tuple[str, str]]:
    """Give each test's outcome and what it said; a failure of its setup or teardown counts."""
    found: dict[str, tuple[str, str]] = {}
    for line in _report(group).read_text().splitlines():
        entry = json.loads(line)
        if found.get(entry["id"], ("", ""))[0] != "failed":
            found[entry["id"]] = (entry["outcome"], entry["text"])
    return found


def _report(group: str) -> Path:
    return CACHE / "results" / f"{group.replace(' ', '-')}.jsonl"


def _source() -> Path:
    """Give a folder with W&B's tests, as they are at the commit."""
    folder = CACHE / f"source-{COMMIT[:10]}"
    if not folder.is_dir():
        made = folder.with_suffix(".part")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        if (Path(SOURCE) / "tests" / "system_tests").is_dir():
            for name in _TAKEN:
                _call("cp", "-r", str(Path(SOURCE) / name), str(made))
        else:
            _call("git", "init", "-q", str(made))
            _call("git", "-C", str(made), "fetch", "-q", "--depth", "1", SOURCE, COMMIT)
            _call("git", "-C", str(made), "checkout", "-q", "FETCH_HEAD", "--", *_TAKEN)
        made.rename(folder)
    # "W&B's local server", which its tests ask this script for, is ours.
    (folder / "tools" / "local_wandb_server.py").write_text(
        "import json, os\nport = os.environ['SWEEPCTL_PORT']\n"
        "print(json.dumps({'base_port': port, 'fixture_port': port}))\n"
    )
    return folder


def _client() -> Path:
    """Give a Python with W&B's client and all that its tests need."""
    folder = CACHE / f"client-{CLIENT}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        uv = (sys.executable, "-m", "uv")
        _call(*uv, "venv", "-q", "--clear", "-p", sys.executable, str(folder))
        wanted = (f"wandb=={CLIENT}", *_REQUIREMENTS.split())
        _call(*uv, "pip", "install", "-q", "-p", str(python), *wanted)
        (folder / "ready").touch()
    return python


def _run(group: str, source: Path, python: Path) -> None:
    folder = CACHE / "results" / group.replace(" ", "-")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "home").mkdir(parents=True)
    _report(group).unlink(missing_ok=True)
    users = folder / "users"
    users.write_text("".join(f"user-{secrets.token_hex(20)}\n" for _ in range(_USERS)))
    users.chmod(0o600)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    with _serve(folder, users) as port:
        environ = kept | {
            "HOME": str(folder / "home"),
            "PATH": f"{python.parent}:{os.environ['PATH']}",
            "PYTHONPATH": f"{_ROOT / 'tools'}:{source}",
            "SWEEPCTL_PORT": port,
            "SWEEPCTL_USERS": str(users),
            "SWEEPCTL_REPORT": str(_report(group)),
            "WANDB_ERROR_REPORTING": "false",
            "COVERAGE_CORE": "sysmon",
        }
        command = f"{python} -m pytest -p {_PLUGIN} -p no:cacheprovider --no-cov -q -n 1"
        with (folder / "log").open("w") as log:
            subprocess.run(
                [*command.split(), "-o", "addopts=", f"--timeout={_TIMEOUT_S}", *GROUPS[group]],
                cwd=source,
                env=environ,
                stdout=log,
                stderr=subprocess.STDOUT,
            )


@contextmanager
def _serve(folder: Path, users: Path) -> Iterator[str]:
    """Run the embedded server; give its port."""
    command = [sys.executable, "-m", "sweepctl.server", "--data", str(folder / "data")]
    command += ["--listen", "127.0.0.1:0", "--api-keys", str(users)]
    with (
        (folder / "server-log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as server,
    ):
        assert server.stdout is not None
        try:
            yield next(
                line.rstrip().rpartition(":")[2]
                for line in server.stdout
                if line.startswith("listening on ")
            )
        finally:
            server.terminate()


def _call(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
