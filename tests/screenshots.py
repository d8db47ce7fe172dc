"""Pictures of all pages as a real Chromium shows them: `python -m tests.screenshots`.

They go to build/screenshots, to be looked at, and two of them renew those in docs/images. Names of
pages (`sweep run`) take only these. `--data FOLDER` shows the newest sweep of a folder of yours,
such as the one that `make demo` names, in place of the made-up ones.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.page_data import SPEC, fill
from sweepctl.server.access.data_key import make_key
from sweepctl.server.store import run_store, sweep_store
from sweepctl.server.store.database import Database
from sweepctl.server.store.filters import TRUE
from tests.chromium import Chromium
from tests.serving import ServerProcess

ROOT = Path(__file__).parents[1]
SHOTS = ROOT / "build" / "screenshots"
DOCS = ROOT / "docs" / "images"
IN_DOCS = ("sweep", "compare")
"""The pages whose upper part is shown in the docs."""

_SPEC = {**SPEC, "program": "train.py"}
_MADE_UP = ("r00000", "r00001", "r00002", "r00003")
_MOST_BYTES = 200_000
_WIDTH, _HEIGHT = 1280, 800
_LOOKS = {"wide": (_WIDTH, False), "phone": (500, False), "dark": (_WIDTH, True)}


def demo_data(folder: Path) -> str:
    """Make a sweep as one is under way: 24 runs, two of them training; give its page."""
    page = fill(folder, 24, spec=_SPEC, began=time.time() - 5.2 * 3600)
    make_key(folder)
    with closing(Database(folder)) as database, database.write() as tx:
        sweep = sweep_store.find_sweep(tx, id=page.rpartition("/")[2])
        assert sweep is not None
        sweep_store.update_sweep(tx, sweep.pk, {"state": "RUNNING"}, 0.0)
        for run in run_store.outlines(tx, sweep.pk)[-2:]:
            run_store.update_run(tx, run.pk, {"state": "running", "exit_code": None}, 0.0)
    return page


@contextmanager
def served(folder: Path, *options: str) -> Iterator[str]:
    """Serve a folder without a key; silent runs stay as they are."""
    server = ServerProcess(folder, "--run-timeout-s", "1e9", *options)
    try:
        yield server.url
    finally:
        server.stop()


def newest_sweep(folder: Path) -> tuple[str, list[str]]:
    """Give the page of the newest sweep of a folder, and its runs, one that failed first."""
    with closing(Database(folder)) as database, database.read() as rows:
        sweep = sweep_store.sweeps(rows, None, TRUE, count=1)[0]
        project = sweep_store.project_by_pk(rows, sweep.project)
        runs = sorted(run_store.outlines(rows, sweep.pk), key=lambda run: run.state != "failed")
    return f"/{project.entity}/{project.name}/sweeps/{sweep.id}", [run.id for run in runs]


def places(page: str, ids: Sequence[str] = _MADE_UP) -> dict[str, str]:
    """Name the pages of a sweep that there are pictures of; the first of its runs has failed."""
    runs = page.replace("/sweeps/", "/runs/").rpartition("/")[0]
    return {
        "sweeps": "/",
        "sweep": page,
        "run": f"{runs}/{ids[1]}",
        "failed-run": f"{runs}/{ids[0]}",
        "run-metrics": f"{runs}/{ids[1]}/metrics?group=Train",
        "compare": f"{runs.removesuffix('/runs')}/compare?runs={','.join(ids[:4])}",
        "cancel": f"{page}/cancel",
        "missing": "/nobody/nothing",
    }


def settled(browser: Chromium) -> None:
    """Bring every part of a page into sight, and wait until all are there."""
    browser.run(
        "for (let y = 0; y < document.body.scrollHeight; y += 700) { scrollTo(0, y);"
        " await new Promise(requestAnimationFrame); await new Promise(requestAnimationFrame); }"
        " scrollTo(0, 0)"
    )
    browser.wait_until("!document.querySelector('[aria-busy]')")


def main() -> None:
    """Take the pictures and say where they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", help="only these")
    parser.add_argument("--data", type=Path, help="show the newest sweep of this folder")
    asked = parser.parse_args()
    wanted = asked.pages
    with tempfile.TemporaryDirectory(prefix="sweepctl-pages-") as scratch:
        browser = Chromium(Path(scratch), {})
        try:
            for name in ("real",) if asked.data else ("24", "5000"):
                data, ids = Path(scratch) / name, list(_MADE_UP)
                if asked.data:
                    shutil.copytree(asked.data, data, symlinks=True)
                    page, ids = newest_sweep(data)
                else:
                    page = fill(data, 5000, spec=_SPEC) if name == "5000" else demo_data(data)
                with served(data) as url:
                    pages = {title: url + place for title, place in places(page, ids).items()}
                    if not wanted or "report" in wanted:
                        pages["report"] = _report(url, page, Path(scratch) / f"{name}.html")
                    pages = {each: pages[each] for each in pages if not wanted or each in wanted}
                    _take(browser, pages, name)
        finally:
            browser.close()
    print(f"pictures in {SHOTS}")


def _report(url: str, page: str, file: Path) -> str:
    """Write the report of a sweep; give its address."""
    entity, project, _, sweep = page.strip("/").split("/")
    command = [sys.executable, "-m", "sweepctl", "report", f"{entity}/{project}/{sweep}"]
    subprocess.run([*command, "--server", url, "-o", str(file)], check=True)
    return file.as_uri()


def _take(browser: Chromium, pages: dict[str, str], name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    for title, address in pages.items():
        for look, (width, is_dark) in _LOOKS.items():
            browser.look(width, _HEIGHT, is_dark=is_dark)
            browser.open(address)
            settled(browser)
            (SHOTS / f"{title}-{name}-{look}.png").write_bytes(browser.picture())
            if (name, look) == ("24", "wide") and title in IN_DOCS:
                _keep(DOCS / f"{title}.png", browser.picture(height=_HEIGHT))


def _keep(file: Path, picture: bytes) -> None:
    if len(picture) > _MOST_BYTES:
        raise SystemExit(f"{file} would have {len(picture)} bytes, over {_MOST_BYTES}")
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(picture)


if __name__ == "__main__":
    main()
