"""A sweep's report: what the one file says and holds, of every kind of sweep, and its secrets."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sweepctl.report.outputs import read_outputs, replace_file
from sweepctl.report.page import MOST_BYTES, html_page
from sweepctl.report.read import ReportReader
from sweepctl.report.secrets import Hiding
from sweepctl.search.metric import Metric
from sweepctl_pod.errors import UsageError
from tests.figures import made_up, with_values
from tests.reports import NAME, MadeUpSource, source_of

EVIL = '<script>alert("1")</script>&\'\x00\x1b[31m'
SOME = made_up(12)


class Page(HTMLParser):
    """The text of a page, and all that it could ask a network for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.asks: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "img", "base", "form"):
            self.asks.append(tag)
        for name, value in attrs:
            is_link = tag == "a" or (value or "").startswith(("data:", "#"))
            if name in ("src", "href", "srcset", "action", "style") and not is_link:
                self.asks.append(f"{tag} {name}={value}")
            if name.startswith("on"):
                self.asks.append(name)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def page_of(source: MadeUpSource, top: int = 3) -> str:
    return html_page(ReportReader(top, {}).report(source, NAME))


SWEEPS = {
    "one run": (source_of(1), "The best run is run0000"),
    "no run": (MadeUpSource(replace(SOME, runs=[], curves={})), "The sweep has no runs yet."),
    "none finished": (
        MadeUpSource(
            replace(SOME, runs=[replace(run, state="running", metric=None) for run in SOME.runs])
        ),
        "No run has finished with Train/mean_reward as a number yet.",
    ),
    "no metric": (MadeUpSource(replace(SOME, metric=None)), "The sweep names no metric"),
    "constant metric": (MadeUpSource(with_values(SOME, 3.0)), "Train/mean_reward 3"),
    "one parameter": (MadeUpSource(replace(SOME, searched=SOME.searched[:1])), "The best run is"),
    "no history": (MadeUpSource(replace(SOME, curves={})), "the curve is not recorded"),
    "NaN": (MadeUpSource(with_values(SOME, float("nan"))), "No run has finished with"),
    "a running one": (source_of(20, state="RUNNING"), "running"),
    "60 parameters": (
        MadeUpSource(
            replace(
                SOME,
                searched=[f"p{at}" for at in range(60)],
                runs=[
                    replace(run, parameters={f"p{at}": at * number for at in range(60)})
                    for number, run in enumerate(SOME.runs)
                ],
            )
        ),
        "p59",
    ),
    "evil names": (
        MadeUpSource(
            replace(
                SOME,
                metric=Metric(EVIL, "maximize"),
                searched=[EVIL],
                runs=[
                    replace(run, parameters={EVIL: EVIL}, agent=EVIL, name=EVIL)
                    for run in SOME.runs
                ],
            ),
            name=EVIL,
            command=["python", EVIL],
            reason=EVIL,
        ),
        '<script>alert("1")',
    ),
}


@pytest.mark.parametrize("kind", SWEEPS)
def test_report_of_any_sweep_is_one_page_that_asks_for_nothing(kind: str) -> None:
    source, said = SWEEPS[kind]
    text = page_of(source)
    page = Page(text)
    assert page.asks == []
    assert said in page.text
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none';")
    assert "\x00" not in text
    assert "\x1b" not in text


def test_report_has_ranking_failures_commands_curves_and_provenance() -> None:
    source = source_of(40, reason="CUDA out of memory")
    page = Page(page_of(source)).text
    best = source.facts.ranked
    for run in (best[0], best[-1]):
        assert run.id in page
        assert f"{run.metric:.6g}" in page
    assert "CUDA out of memory" in page
    assert "--task Isaac-Velocity-Flat-G1-v0" in page
    assert page.count("python train.py") >= 3
    assert "Learning curves of the best 3 runs" in page
    assert "seed of the search" in page
    assert "not recorded" in page
    assert '"method": "random"' in page


def test_report_of_5000_runs_and_10_parameters_is_below_3_mb_and_reads_few_curves() -> None:
    facts = made_up(5000, points=60)
    runs = [
        replace(run, parameters={**run.parameters, **{f"more.{at}": at / 7 for at in range(6)}})
        for run in facts.runs
    ]
    facts = replace(facts, runs=runs, searched=[*facts.searched, *(f"more.{n}" for n in range(6))])
    source = MadeUpSource(facts)
    text = page_of(source, top=10)
    assert len(text.encode()) < MOST_BYTES
    assert text.count("<tr><td>") > 5000
    assert len({run for run, _ in source.asked}) <= 120


def test_followed_report_reads_again_only_curves_that_may_have_gone_on() -> None:
    facts = made_up(6)
    runs = [
        replace(run, state="running" if at == 5 else "finished")
        for at, run in enumerate(facts.runs)
    ]
    source = MadeUpSource(replace(facts, runs=runs), state="RUNNING")
    reader = ReportReader(3, {})
    reader.report(source, NAME)
    source.asked.clear()
    reader.report(source, NAME)
    assert {run for run, _ in source.asked} == {runs[5].id}


KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("source", "environ"),
    [
        (source_of(3, command=["env", f"WANDB_API_KEY={KEY}", "python"]), {}),
        (source_of(3, command=["python", "--api-key", KEY]), {}),
        (source_of(3, command=["python", f"--wandb.token={KEY}"]), {}),
        (source_of(3, command=["python", f"https://me:{KEY}@host/x"]), {}),
        (source_of(3, command=["sh", "-c", f"WANDB_API_KEY={KEY} python train.py"]), {}),
        (source_of(3, more={"description": f"my {KEY}"}), {"WANDB_API_KEY": KEY}),
        (source_of(3, reason=f"refused: {KEY}"), {"HF_TOKEN": KEY}),
        (source_of(3, more={"env": {"api_key": KEY}}), {}),
        (source_of(3, name=f"legs {KEY}"), {"MY_SECRET": KEY}),
    ],
    ids=["assigned", "option", "option=", "address", "script", "config", "reason", "map", "name"],
)
def test_no_secret_is_in_the_file(source: MadeUpSource, environ: dict[str, str]) -> None:
    failed = replace(source.facts.runs[0], state="failed")
    source = replace(source, facts=replace(source.facts, runs=[failed, *source.facts.runs[1:]]))
    text = html_page(ReportReader(3, environ).report(source, NAME))
    assert KEY not in text
    assert "***" in text or "${envvar:" in text


def test_parameters_that_tune_keys_and_tokens_are_no_secrets() -> None:
    config = {"parameters": {"env.key_frames": {"values": ["walk", "crouch"]}, "max_tokens": 128}}
    assert Hiding({}, None, config).value(config) == config


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("report.pdf", "the ending says no form", ".html"),
        ("report", "the ending says no form", ".html"),
        ("no/such/report.html", "there is no folder no/such", "mkdir -p no/such"),
        ("folder.html", "that is a folder", "-o folder.html/report.html"),
    ],
)
def test_file_that_cannot_be_written_is_refused_before_anything_is_read(
    text: str, words: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.html").mkdir()
    with pytest.raises(UsageError) as error:
        read_outputs([text])
    assert words in error.value.message
    assert hint in (error.value.hint or "")


def test_new_file_takes_the_place_of_the_one_before_with_its_permissions(tmp_path: Path) -> None:
    file, link = tmp_path / "report.html", tmp_path / "link.html"
    replace_file(file, b"one")
    file.chmod(0o640)
    link.symlink_to(file)
    replace_file(link, b"two")
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"two", 0o640)
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.html", "report.html"]
