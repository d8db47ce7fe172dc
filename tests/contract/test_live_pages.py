"""A real Chromium on pages of a real server: what happens appears, and the reader stays."""

import json
import time
from collections.abc import Callable, Iterator

import pytest

from sweepctl_pod.wandb.client import Connection, WandbClient
from tests import needs
from tests.chromium import Chromium
from tests.serving import API_KEY, ServerProcess

CONFIG = json.dumps(
    {
        "method": "grid",
        "metric": {"name": "reward", "goal": "maximize"},
        "parameters": {"a": {"values": list(range(60))}},
    }
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    browser = needs.got(Chromium, tmp_path_factory.mktemp("chromium"), {})
    yield browser
    browser.close()


class Trained:
    """A sweep whose runs are begun and ended by the test."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.client = WandbClient(Connection(server.url, API_KEY, "local"))
        self.sweep = self.client.create_sweep("local", "legs", CONFIG)
        self.agent = server.graphql(
            'mutation M($s: String!) { createAgent(input: {host: "h", sweep: $s})'
            " { agent { id } } }",
            {"s": self.sweep.id},
        )["createAgent"]["agent"]["id"]

    @property
    def page(self) -> str:
        return f"{self.server.url}/local/legs/sweeps/{self.sweep.id}"

    def begin(self) -> str:
        beat = (
            'mutation M($a: ID!) { agentHeartbeat(input: {id: $a, metrics: "{}",'
            ' runState: "{}"}) { commands } }'
        )
        told = self.server.graphql(beat, {"a": self.agent})["agentHeartbeat"]["commands"]
        return str(json.loads(told)[0]["run_id"])

    def end(self, run: str, reward: float) -> None:
        files = {"wandb-summary.json": {"offset": 0, "content": [json.dumps({"reward": reward})]}}
        body = {"files": files, "complete": True, "exitcode": 0}
        self.server.stream(f"local/legs/{run}", body)

    def run(self, reward: float) -> str:
        run = self.begin()
        self.end(run, reward)
        return run


@pytest.fixture
def trained(start_server: Callable[..., ServerProcess]) -> Trained:
    return Trained(start_server())


def test_a_run_that_ends_appears_and_the_reader_stays_where_it_is(
    browser: Chromium, trained: Trained
) -> None:
    for number in range(40):
        trained.run(number)
    browser.open(trained.page)
    browser.run(
        "window.isSame = true; window.scrollTo(0, 400);"
        " document.querySelector('details')?.setAttribute('open', '');"
        " document.querySelectorAll('td a')[5].focus({preventScroll: true});"
        " getSelection().selectAllChildren(document.querySelector('h1'))"
    )
    place = "return [scrollY, document.activeElement.href, String(getSelection())]"
    before = browser.run(place)
    assert before[0] == 400
    run = trained.run(1000.0)
    browser.wait_until(f"document.querySelector('tr.best a')?.href.endsWith('{run}')")
    assert browser.run(place) == before
    assert browser.run("return window.isSame"), "the page was not loaded again"
    assert "finished 41" in browser.text()


def test_a_page_that_was_away_while_something_happened_shows_it(
    browser: Chromium, trained: Trained
) -> None:
    run = trained.begin()
    browser.open(trained.page)
    browser.wait_until("document.body.dataset.events")
    trained.server.kill()
    trained.server.start()
    trained.end(run, 3.0)
    browser.wait_until("document.querySelector('tr.best')")


def test_a_viewer_costs_nothing_while_nothing_changes_and_never_holds_up_the_end(
    browser: Chromium, trained: Trained
) -> None:
    trained.run(1.0)
    browser.open(trained.page)
    browser.run(
        "window.asked = []; const ask = window.fetch;"
        " window.fetch = (...given) => { window.asked.push(given[0]); return ask(...given); }"
    )
    other = trained.client.create_sweep("local", "legs", CONFIG)
    for _ in range(20):
        trained.client.sweep("local", "legs", other.id)
    trained.run(2.0)
    browser.wait_until("document.body.innerText.includes('finished 2')")
    # A figure is fetched when it is seen, whatever changes.
    pages = "return window.asked.filter(asked => !String(asked).includes('/figures/')).length"
    assert browser.run(pages) <= 3, "the begin and the end of one run"
    began = time.monotonic()
    assert trained.server.stop() == 0
    assert time.monotonic() - began < 30


ROWS = "[...document.querySelectorAll('#table tr[data-key]')].map(row => row.cells[2].innerText)"


def test_sort_and_filter_survive_a_run_that_ends_and_work_in_place(
    browser: Chromium, trained: Trained
) -> None:
    for number in range(6):
        trained.run(number)
    browser.open(trained.page)
    browser.run(
        "window.isSame = true;"
        " const where = document.querySelector('[name=where]'); where.value = 'reward>=2';"
        " where.form.requestSubmit()"
    )
    browser.wait_until("location.search.includes('where=') && !document.title.includes('…')")
    browser.wait_until(f"{ROWS}.join() == '5,4,3,2'")
    browser.run("[...document.querySelectorAll('th a')].find(a => a.innerText == 'reward').click()")
    browser.wait_until(f"{ROWS}.join() == '2,3,4,5'")
    browser.run("document.querySelector('[name=where]').value = 'reward>=2 a<99 '")
    trained.run(2.5)
    trained.run(1.5)
    browser.wait_until(f"{ROWS}.join() == '2,2.5,3,4,5'")
    browser.wait_until("document.body.innerText.includes('finished 8')")
    told = browser.run(
        "return [window.isSame, document.querySelector('[name=where]').value, location.search]"
    )
    assert told[:2] == [True, "reward>=2 a<99 "], "what is being typed stays"
    browser.open(f"{trained.page}{told[2]}")
    assert browser.run(f"return {ROWS}.join()") == "2,2.5,3,4,5", "the link shows the same"
    browser.open(trained.page)
    browser.run(
        "const where = document.querySelector('[name=where]'); where.value = 'reward>4';"
        " where.form.requestSubmit()"
    )
    browser.wait_until(f"{ROWS}.join() == '5'")
    browser.run("history.back()")
    browser.wait_until(f"{ROWS}.length == 8 && !document.querySelector('[name=where]').value")


def test_brushing_filters_the_table_by_hand_and_by_keyboard_and_stands_in_the_address(
    browser: Chromium, trained: Trained
) -> None:
    for number in range(20):
        trained.run(number)
    see = "document.getElementById('part-parallel-coordinates').scrollIntoView()"
    browser.open(trained.page)
    browser.run(see)
    browser.wait_until("document.querySelector('.brushing canvas')")
    hand = """
      const svg = document.querySelector('.brushing svg'), box = svg.getBoundingClientRect();
      const scale = box.width / svg.viewBox.baseVal.width;
      svg.setPointerCapture = () => {};
      const at = (kind, axis, part) => svg.dispatchEvent(new PointerEvent(kind, {
        clientX: box.left + (brush.left + axis * brush.step) * scale,
        clientY: box.top + (brush.top + brush.height * (1 - part)) * scale,
        bubbles: true, cancelable: true, pointerId: 1, button: 0}));
      at('pointerdown', 0, 0.5); at('pointermove', 0, 0.6); at('pointermove', 0, 1);
      at('pointerup', 0, 1);
      await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
      return document.querySelectorAll('#table tr.out').length;
    """
    assert browser.run(hand) == 10, "the table answers at once"
    browser.wait_until("location.search.includes('range=a')")
    browser.wait_until(f"{ROWS}.length == 10 && !document.querySelector('#table tr.out')")
    address = browser.run("return location.href")
    browser.open(address)
    assert browser.run(f"return {ROWS}.length") == 10, "the link shows the same"
    browser.run(see)
    browser.wait_until("document.querySelector('.brushing.chosen')")
    browser.run(
        "const slider = document.querySelector('[aria-label=\"highest a\"]');"
        " slider.closest('details').open = true; slider.focus(); slider.value = 900;"
        " slider.dispatchEvent(new Event('input'))"
    )
    browser.wait_until(f"{ROWS}.length < 10 && !document.querySelector('#table tr.out')")
    assert browser.run("return document.activeElement.getAttribute('aria-label')") == "highest a"
    browser.run("[...document.querySelectorAll('a')].find(a => a.innerText == 'all runs').click()")
    browser.wait_until(f"{ROWS}.length == 20")
    browser.wait_until("!document.querySelector('.brushing.chosen')")


def test_with_scripts_off_the_same_runs_and_pictures_are_there(
    browser: Chromium, trained: Trained
) -> None:
    for number in range(6):
        trained.run(number)
    browser.scripts(False)
    try:
        browser.open(f"{trained.page}?hold&where=reward>=2&sort=reward")
        browser.wait_until("[...document.images].length >= 7")
        assert browser.run(f"return {ROWS}.join()") == "2,3,4,5"
        drawn = (
            "[...document.images].filter(each => !each.src.includes('importance'))"
            ".every(each => { each.loading = 'eager'; return each.naturalWidth > 0; })"
        )
        browser.wait_until(drawn)
        browser.run("document.querySelector('noscript button, button').click()")
        browser.wait_until("location.search.includes('where=reward')")
    finally:
        browser.scripts(True)
