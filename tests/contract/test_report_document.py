"""`sweepctl report -o`: of a sweep that W&B's own client trained, from the disk and by W&B's API.

The embedded server stands for W&B: it answers the same questions. Then the page in a real Chromium.
"""

import csv
import io
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from sweepctl.report.notebook import read_facts
from sweepctl.report.page import html_page
from sweepctl.report.read import ReportReader
from tests import needs
from tests.chromium import Chromium
from tests.contract.conftest import Sdk
from tests.contract.test_page_looks import AXE, FOUND, LOOKS
from tests.reports import NAME, source_of
from tests.serving import API_KEY, ServerProcess, wait_for

TRAIN = """
import wandb
run = wandb.init()
for step in range(20):
    run.log({"Train/mean_reward": run.config["agent.rate"] * step})
run.log({"other": 1})
run.finish(exit_code=1 if run.config["agent.rate"] == 0.3 else 0)
"""
SWEEP = {
    "method": "grid",
    "metric": {"name": "Train/mean_reward", "goal": "maximize"},
    "program": "train.py",
    "parameters": {"agent.rate": {"values": [0.1, 0.2, 0.3]}},
}
Report = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def sweep(sdk: Sdk) -> str:
    """Train a sweep of three runs, one of which fails; give its name."""
    (sdk.home / "train.py").write_text(TRAIN)
    (sdk.home / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    said = sdk.cli("sweep", "-p", "legs", "sweep.yaml")
    path = next(word for word in said.split() if word.startswith("local/legs/"))
    sdk.end(sdk.start_agent(path))
    return path


@pytest.fixture
def report(sdk: Sdk, tmp_path: Path) -> Report:
    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sweepctl", "report", *options],
            env=sdk.environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=200,
        )

    return run


def test_report_is_the_same_from_the_disk_and_by_the_api_and_can_be_uploaded(
    sweep: str, report: Report, server: ServerProcess, tmp_path: Path
) -> None:
    by_api = report(sweep, "--server", server.url, "-o", "api.html", "-o", "runs.csv", "--upload")
    assert by_api.returncode == 0, by_api.stderr
    assert by_api.stderr == ""
    lines = by_api.stdout.splitlines()
    assert lines[0].startswith("api.html: ")
    assert lines[-1] == f"uploaded: {server.url}/local/legs/runs/report-{sweep[-8:]}"
    with closing(sqlite3.connect(server.data / "sweepctl.sqlite")) as database:
        query = (
            "SELECT f.name, r.config, r.host FROM files f JOIN runs r ON r.pk = f.run"
            " WHERE r.id LIKE 'report-%'"
        )
        stored = database.execute(query).fetchall()
    names = {name for name, _, _ in stored}
    assert any(re.fullmatch(r"media/html/report_.*\.html", name) for name in names), names
    assert not any("metadata" in name or name == "output.log" for name in names), names
    assert socket.gethostname() not in str(stored)
    assert API_KEY not in str(stored)
    from_disk = report(sweep, "--data", str(server.data), "-o", "disk.html")
    assert from_disk.returncode == 0, from_disk.stderr
    facts = read_facts(sweep, data=server.data)
    assert [run.state for run in facts.runs] == ["finished", "finished", "failed"]
    assert {len(curve.values) for curve in facts.curves.values()} == {20}
    pages = [(tmp_path / name).read_text() for name in ("api.html", "disk.html")]
    curves = [re.search(r'id="figure-metric-over-steps".*?</figure>', page) for page in pages]
    assert curves[0] is not None
    assert curves[1] is not None
    assert curves[0][0] == curves[1][0]
    assert "3 runs logged Train/mean_reward" in curves[0][0]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "runs.csv").read_text())))
    assert [(row["rank"], row["state"], row["parameters/agent.rate"]) for row in rows] == [
        ("2", "finished", "0.1"),
        ("1", "finished", "0.2"),
        ("", "failed", "0.3"),
    ]
    printed = report(sweep, "--server", server.url, "-o", "csv")
    assert printed.stdout.splitlines() == (tmp_path / "runs.csv").read_text().splitlines()


def test_followed_report_that_is_interrupted_ends_with_130_and_stays(
    sdk: Sdk, server: ServerProcess, tmp_path: Path
) -> None:
    (sdk.home / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    said = sdk.cli("sweep", "-p", "legs", "sweep.yaml")
    path = next(word for word in said.split() if word.startswith("local/legs/"))
    file = tmp_path / "report.html"
    command = [sys.executable, "-m", "sweepctl", "report", path, "--server", server.url]
    following = subprocess.Popen(
        [*command, "-o", str(file), "--follow"], env=sdk.environ, stderr=subprocess.PIPE, text=True
    )
    wait_for("the report", file.exists)
    following.send_signal(signal.SIGINT)
    _, said = following.communicate(timeout=60)
    assert (following.returncode, said) == (130, "")
    assert "The sweep has no runs yet." in file.read_text()


def test_sweep_that_is_not_there_is_one_error(report: Report, server: ServerProcess) -> None:
    done = report("local/legs/none", "--server", server.url, "-o", "report.html")
    assert done.returncode == 1
    assert done.stderr.startswith("error: no sweep local/legs/none")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    found = needs.got(Chromium, tmp_path, {})
    yield found
    found.close()


@pytest.mark.parametrize("runs", [1, 60])
def test_page_opens_in_chromium_without_a_request_and_axe_finds_nothing_serious(
    browser: Chromium, runs: int, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    file.write_text(html_page(ReportReader(5, {}).report(source_of(runs), NAME)))
    browser.leave()
    browser.open(file.as_uri())
    asked = [address for address in browser.asked() if not address.startswith("data:")]
    assert set(asked) == {file.as_uri()}
    assert browser.complaints() == [], "its own policy lets its style sheet in"
    assert browser.run("return getComputedStyle(document.querySelector('svg.sf')).display")
    found = {}
    browser.run(f"{AXE}; window.axe = axe; return 1")
    for width, is_dark in LOOKS:
        browser.look(width, is_dark=is_dark)
        violations = browser.run(FOUND)
        assert violations is not None, "axe ran"
        wide = browser.run("return document.documentElement.scrollWidth - innerWidth")
        found[width, is_dark] = [*violations, *([f"{wide} px too wide"] if wide > 0 else [])]
    assert not any(found.values()), found
    browser.run("new Image().src = 'http://127.0.0.1:9/'; return 1")
    wait_for(
        "the refusal of a request", lambda: "Content Security" in " ".join(browser.complaints())
    )
