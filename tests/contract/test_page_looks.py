"""A real Chromium on every page: axe-core finds nothing serious, the keyboard reaches everything,
no request leaves the server, and the console stays silent."""

import importlib.resources
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from benchmarks.page_data import fill
from sweepctl.server.access.data_key import data_key
from tests import needs
from tests.chromium import Chromium
from tests.screenshots import demo_data, places, settled
from tests.serving import ServerProcess

AXE = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
LOOKS = [(width, is_dark) for width in (1280, 500) for is_dark in (False, True)]
FOUND = """
const found = await axe.run(document, {resultTypes: ["violations"]});
return found.violations.filter((each) => ["serious", "critical"].includes(each.impact)).map(
  (each) => `${each.id}: ${each.nodes.slice(0, 3).map(
    (node) => `${node.html.slice(0, 200)} ${node.any.map((any) => any.message)}`).join("; ")}`);
"""
TALL_ROWS = """
return [...document.querySelectorAll("tr")].filter((row) => row.offsetHeight > 360).map(
  (row) => `a row is ${row.offsetHeight} px high: ${row.textContent.trim().slice(0, 80)}`);
"""
REACHABLE = """
const wanted = [...document.querySelectorAll(
  "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']")];
window.wanted = wanted.filter((each) => each.tabIndex >= 0 && !each.disabled
  && each.checkVisibility({checkVisibilityCSS: true}) && !each.closest("svg"));
window.tabbed = new Set();
window.unseen = [];
return window.wanted.length;
"""
FOCUSED = """
const at = document.activeElement;
if (!at || at === document.body) return false;
const style = getComputedStyle(at);
if (!window.tabbed.has(at) && style.outlineStyle === "none" && style.boxShadow === "none") {
  window.unseen.push(at.outerHTML.slice(0, 200));
}
const isNew = !window.tabbed.has(at);
window.tabbed.add(at);
return isNew;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    browser = needs.got(Chromium, tmp_path_factory.mktemp("chromium"), {})
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, browser: Chromium) -> Iterator[tuple[str, str]]:
    """Give the address of a server that the browser is logged in to, and its sweep's page."""
    data = tmp_path_factory.mktemp("pages") / "data"
    page = demo_data(data)
    server = ServerProcess(data, "--run-timeout-s", "1e9", is_keyed=True)
    url = server.url.replace("127.0.0.1", "localhost")
    browser.open(url)
    browser.run(
        f"document.querySelector('[name=key]').value = '{data_key(data)}';"
        " document.querySelector('form').requestSubmit()"
    )
    browser.wait_until("document.title.startsWith('sweeps')")
    yield url, page
    server.stop()


def opened(browser: Chromium, site: tuple[str, str], name: str) -> None:
    url, page = site
    browser.leave()
    browser.look(1280)
    browser.open(url + {"login": "/", **places(page)}[name])
    settled(browser)


NAMES = sorted(places("/local/legs/sweeps/s"))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_serious_is_wrong_and_nothing_leaves_the_server(
    browser: Chromium, site: tuple[str, str], name: str
) -> None:
    opened(browser, site, name)
    assert_sound(browser, site[0], name)


def test_the_form_of_the_login_is_as_sound(
    browser: Chromium, start_server: Callable[..., ServerProcess]
) -> None:
    browser.leave()
    server = start_server(is_keyed=True)
    browser.look(1280)
    browser.open(server.url)
    browser.wait_until("document.querySelector('[name=key]')")
    assert_sound(browser, server.url, "login")


def assert_sound(browser: Chromium, url: str, name: str) -> None:
    asked = [each for each in browser.asked() if not each.startswith("data:")]
    assert {urlsplit(each).netloc for each in asked} == {urlsplit(url).netloc}
    # The browser itself says that a page is a refusal.
    expected = {"missing": "404", "login": "401"}.get(name)
    said = [each for each in browser.complaints() if not expected or expected not in each]
    assert said == []
    found = {}
    browser.run(f"{AXE}; window.axe = axe; return 1") or browser.run("return 1")
    for width, is_dark in LOOKS:
        browser.look(width, is_dark=is_dark)
        browser.run("for (let n = 0; n < 3; n++) await new Promise(requestAnimationFrame)")
        violations = browser.run(FOUND)
        assert violations is not None, "axe ran"
        wide = browser.run("return document.documentElement.scrollWidth - innerWidth")
        found[f"{width} px, {'dark' if is_dark else 'light'}"] = [
            *violations,
            *([f"the page is {wide} px too wide"] if wide > 0 else []),
            *browser.run(TALL_ROWS),
        ]
    assert not any(found.values()), json.dumps(found, indent=1)


@pytest.mark.parametrize("name", NAMES)
def test_the_keyboard_alone_reaches_everything_and_shows_where_it_is(
    browser: Chromium, site: tuple[str, str], name: str
) -> None:
    opened(browser, site, name)
    count = browser.run(REACHABLE)
    browser.run("document.activeElement.blur(); getSelection().collapse(document.body, 0)")
    for _ in range(int(count) + 60):
        browser.press("Tab")
        browser.run(FOCUSED)
    missed = browser.run(
        "return wanted.filter((each) => !tabbed.has(each)).map("
        "(each) => each.outerHTML.slice(0, 200))"
    )
    assert missed == []
    assert browser.run("return unseen") == [], "where the focus is can be seen"


def test_a_sweep_is_paused_and_cancelled_by_the_keyboard_alone(
    browser: Chromium, start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    page = fill(data, 4)
    server = start_server(data=data)
    browser.look(1280)
    browser.open(server.url + page)

    def go_to(wanted: str) -> None:
        for _ in range(60):
            browser.press("Tab")
            if browser.run(f"return document.activeElement.matches({json.dumps(wanted)})"):
                return
        raise AssertionError(f"{wanted} is not reached")

    if browser.run("return Boolean(document.querySelector('a[href$=\"/resume\"]'))"):
        go_to('a[href$="/resume"]')
        browser.press("Enter")
        browser.wait_until("document.querySelector('h1 .state.RUNNING')")
    go_to('a[href$="/pause"]')
    browser.press("Enter")
    browser.wait_until("document.querySelector('h1 .state.PAUSED')")
    go_to('a[href$="/cancel"]')
    browser.press("Enter")
    browser.wait_until("location.pathname.endsWith('/cancel') && document.readyState=='complete'")
    go_to("main form button")
    browser.press("Enter")
    browser.wait_until("document.querySelector('h1 .state.CANCELED')")
