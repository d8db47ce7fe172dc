"""Pictures of all pages as a real Chromium shows them: `python -m tests.screenshots`.

They go to build/screenshots, to be looked at; with `--docs` two of them are renewed in docs/images.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.page_data import fill
from sweepctl.server.access.data_key import make_key
from sweepctl.server.store import run_store, sweep_store
from sweepctl.server.store.database import Database
from tests.chromium import Chromium
from tests.serving import ServerProcess

ROOT = Path(__file__).parents[1]
SHOTS = ROOT / "build" / "screenshots"
DOCS = ROOT / "docs" / "images"
_MOST_BYTES = 200_000
_LOOKS = {"wide": (1280, False), "phone": (500, False), "dark": (1280, True)}


def demo_data(folder: Path) -> str:
    """Make a sweep as one is under way: 24 runs, two of them training; give its page."""
    page = fill(folder, 24)
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


def places(page: str) -> dict[str, str]:
    """Name the pages of a sweep that there are pictures of."""
    runs = page.replace("/sweeps/", "/runs/").rpartition("/")[0]
    return {
        "sweeps": "/",
        "sweep": page,
        "run": f"{runs}/r00001",
        "failed-run": f"{runs}/r00000",
        "cancel": f"{page}/cancel",
        "missing": "/nobody/nothing",
    }


def settled(browser: Chromium) -> None:
    """Bring every part of a page into sight, and wait until all are there."""
    browser.run(
        "for (let y = 0; y < document.body.scrollHeight; y += 400) { scrollTo(0, y);"
        " await new Promise(requestAnimationFrame); await new Promise(requestAnimationFrame); }"
        " scrollTo(0, 0)"
    )
    browser.wait_until("!document.querySelector('[aria-busy]')")


def main() -> None:
    """Take the pictures and say where they are."""
    wanted = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="sweepctl-pages-") as scratch:
        browser = Chromium(Path(scratch), {})
        try:
            for name, make in (("demo", demo_data), ("5000", lambda folder: fill(folder, 5000))):
                data = Path(scratch) / name
                page = make(data)
                with served(data) as url:
                    _take(browser, url, places(page), name, wanted)
        finally:
            browser.close()
    print(f"pictures in {SHOTS}")


def _take(browser: Chromium, url: str, pages: dict[str, str], name: str, wanted: list[str]) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    for title, place in pages.items():
        if wanted and title not in wanted:
            continue
        for look, (width, is_dark) in _LOOKS.items():
            browser.look(width, 800, is_dark=is_dark)
            browser.open(url + place)
            settled(browser)
            (SHOTS / f"{title}-{name}-{look}.png").write_bytes(browser.picture())


if __name__ == "__main__":
    main()
