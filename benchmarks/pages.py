"""What a sweep's page costs: the server's time, the bytes on the wire, and a real Chromium's time.

The sweeps have 20, 500 and 4,000 runs; the browser looks at 2,000. Exit 1 when a figure is not what
is wanted. Nothing here is a test: the numbers are this machine's, and a busy one is slower.
"""

from __future__ import annotations

import base64
import gzip
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.page_data import fill
from tests.chromium import Chromium
from tests.serving import ServerProcess
from tests.testbed.requirements import BedUnavailable

COUNTS, SEEN = (20, 500, 4000), 2000
MAX_PAGE_MS, MAX_WIRE_KB, MAX_PICTURE_MS, MAX_BRUSH_MS = 100.0, 400, 300.0, 50.0
FIGURES = ("metric-over-steps", "parallel-coordinates", "importance", "metric-by-parameter",
           "gains", "gpu-hours", "fleet")  # fmt: skip
TRIES = 9
CHANGE = """mutation M($id: ID, $text: String) {
  upsertSweep(input: {id: $id, description: $text}) { sweep { id } } }"""

FIRST_PICTURE = """
new MutationObserver((_, observer) => {
  if (!document.querySelector('main svg')) return;
  observer.disconnect();
  requestAnimationFrame(() => setTimeout(() => { window.firstPicture = performance.now(); }));
}).observe(document, {childList: true, subtree: true});
"""
BRUSH = """
const svg = document.querySelector('.brushing svg'), box = svg.getBoundingClientRect();
const scale = box.width / svg.viewBox.baseVal.width, times = [];
svg.setPointerCapture = () => {};
const at = (kind, part) => svg.dispatchEvent(new PointerEvent(kind, {
  clientX: box.left + (brush.left + brush.step) * scale,
  clientY: box.top + (brush.top + brush.height * part) * scale,
  bubbles: true, cancelable: true, pointerId: 1, button: 0}));
at('pointerdown', 0.2);
for (let move = 0; move < 40; move++) {
  await new Promise((done) => setTimeout(done, 20));
  const began = performance.now();
  at('pointermove', 0.3 + move / 80);
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  times.push(performance.now() - began);
}
at('pointerup', 0.8);
return times;
"""


def main() -> int:
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        for count in COUNTS:
            problems += of_server(Path(name, str(count)), count)
        try:
            problems += of_browser(Path(name, "seen"))
        except BedUnavailable as lacking:
            print(f"nothing measured in a browser: {lacking}")
    for problem in problems:
        print(f"BROKEN: {problem}")
    return 1 if problems else 0


def of_server(data: Path, count: int) -> list[str]:
    """Ask for a page anew and again, and once for each of its figures."""
    path = fill(data, count)
    server = ServerProcess(data)
    times, cpus = [], []
    for number in range(TRIES):
        # A page that was not asked for yet, of a sweep that has just changed.
        server.graphql(CHANGE, {"id": node_id(), "text": f"{number}"})
        before = cpu_s(server.pid)
        took, etag, plain, packed = get(f"{server.url}{path}?smooth=0.{number}&metric={number}")
        times.append(took)
        cpus.append(1000 * (cpu_s(server.pid) - before))
    again = [get(f"{server.url}{path}?smooth=0.8&metric=8", etag)[0] for _ in range(TRIES)]
    page = statistics.median(times)
    print(
        f"{count} runs: {page:.1f} ms (the first {times[0]:.1f}, CPU {statistics.mean(cpus):.0f}),"
        f" {plain / 1000:.0f} kB, {packed / 1000:.0f} kB on the wire;"
        f" asked again {min(again):.2f} ms"
    )
    wire = packed
    told = []
    for name in FIGURES:
        took, _, _, size = get(f"{server.url}{path}/figures/{name}")
        wire += size
        told.append(f"{name} {took:.0f} ms {size / 1000:.0f} kB")
    server.stop()
    print(f"  figures: {'; '.join(told)}; all of the page {wire / 1000:.0f} kB on the wire")
    problems = []
    if page >= MAX_PAGE_MS:
        problems.append(f"the page of {count} runs takes {page:.1f} ms")
    if wire >= 1000 * MAX_WIRE_KB:
        problems.append(f"the page of {count} runs is {wire / 1000:.0f} kB on the wire")
    return problems


def of_browser(data: Path) -> list[str]:
    """Look at a page: when its first picture is there, and how soon it answers a hand."""
    path = fill(data, SEEN)
    server = ServerProcess(data)
    browser = Chromium(data.parent, {})
    browser.run_first(FIRST_PICTURE)
    pictures = []
    for _ in range(5):
        browser.open(f"{server.url}{path}")
        browser.wait_until("window.firstPicture")
        pictures.append(float(browser.run("return window.firstPicture")))
    browser.run("document.getElementById('part-parallel-coordinates').scrollIntoView()")
    browser.wait_until("document.querySelector('.brushing canvas')")
    times = sorted(map(float, browser.run(BRUSH)))
    browser.close()
    server.stop()
    picture, hand = statistics.median(pictures), statistics.median(times)
    print(
        f"{SEEN} runs in Chromium: first picture after {picture:.0f} ms (the slowest"
        f" {max(pictures):.0f}); an answer to brushing in {hand:.1f} ms (of 20 the slowest"
        f" {times[-2]:.1f})"
    )
    problems = []
    if picture >= MAX_PICTURE_MS:
        problems.append(f"the first picture comes after {picture:.0f} ms")
    if hand >= MAX_BRUSH_MS:
        problems.append(f"brushing is answered in {hand:.1f} ms")
    return problems


def node_id() -> str:
    """Give the id that W&B's API has for the only sweep of a folder."""
    return base64.b64encode(b"Sweep:1").decode()


def get(url: str, etag: str = "") -> tuple[float, str, int, int]:
    """Ask for something; give milliseconds, its ETag, its size and that on the wire."""
    headers = {"Accept-Encoding": "gzip", **({"If-None-Match": etag} if etag else {})}
    began = time.perf_counter()
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=300) as answer:
            body = answer.read()
            took = 1000 * (time.perf_counter() - began)
            is_packed = answer.headers.get("Content-Encoding") == "gzip"
            plain = gzip.decompress(body) if is_packed else body
            return took, answer.headers.get("ETag", ""), len(plain), len(body)
    except urllib.error.HTTPError:
        return 1000 * (time.perf_counter() - began), "", 0, 0


def cpu_s(pid: int) -> float:
    """Give the CPU time of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


if __name__ == "__main__":
    sys.exit(main())
