"""A sweep's report: what the one file says and holds, of every kind of sweep, and its secrets."""

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import pyarrow.parquet
import pytest
import yaml

from sweepctl.figures import importance_of
from sweepctl.report.markdown import fenced, markdown, plain
from sweepctl.report.outputs import Output, Wish, read_outputs, replace_file, write_reports
from sweepctl.report.page import MOST_BYTES, html_page
from sweepctl.report.read import ReportReader
from sweepctl.report.run_table import flat, runs_csv, runs_parquet
from sweepctl.report.secrets import Hiding
from sweepctl.search.metric import Metric
from sweepctl_pod.errors import UsageError
from tests.figures import made_up, with_values
from tests.reports import NAME, MadeUpSource, source_of

EVIL = '<script>alert("1")</script>&\'\x00\x1b[31m'
SOME = made_up(12)


@pytest.fixture(autouse=True)
def quick_importance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resample less: how sure the importance is has its own tests."""
    quick = partial(importance_of, repeats=3)
    monkeypatch.setattr("sweepctl.report.content.importance_of", quick)


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
    "no program": (
        source_of(12, command=["python", "${program}"], more={"program": None}),
        "What repeats a run is not known: the command uses ${program}",
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
    report = ReportReader(3, {}).report(source, NAME)
    text = html_page(report)
    page = Page(text)
    assert page.asks == []
    assert said in page.text
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none';")
    document = markdown(report)
    assert not re.search(r"(?<!\\)<script", re.sub("(?ms)^(`{3,}).*?^\\1$", "", document))
    assert runs_csv(report).endswith(b"\r\n")
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
    assert "method: random\n" in page


@pytest.mark.slow
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
        (source_of(3, more={"env": {"private_key": {"value": KEY}}}), {}),
        (source_of(3, command=["git", "clone", f"https://{KEY}@host/a"]), {}),
        (source_of(3, command=["curl", "-H", f"Authorization: Bearer {KEY}"]), {}),
        (source_of(3, more={"env": {"password": {"value": int("7" * 40)}}}), {}),
    ],
    ids=[
        *("assigned", "option", "option=", "address", "script", "config", "reason", "map", "name"),
        *("private key", "user of an address", "header", "number"),
    ],
)
def test_no_secret_is_in_the_file(source: MadeUpSource, environ: dict[str, str]) -> None:
    failed = replace(source.facts.runs[0], state="failed")
    source = replace(source, facts=replace(source.facts, runs=[failed, *source.facts.runs[1:]]))
    text = html_page(ReportReader(3, environ).report(source, NAME))
    assert KEY not in text
    assert "7" * 40 not in text
    assert "***" in text or "${envvar:" in text


@pytest.mark.parametrize(
    "file",
    [
        "password: 'it''s: a #secret1'\n",
        'password: "it\'s:\\x20a \\x23secret1"\n',
        "password: it's a\n  #secret1\n",
        "# WANDB_API_KEY=a#secret1\nmethod: random\n",
    ],
    ids=["quoted", "escaped", "two lines", "a comment"],
)
def test_no_way_of_writing_a_secret_in_the_sweep_file_brings_it_into_the_report(file: str) -> None:
    config = yaml.safe_load(file)
    if "password" in config:
        config["password"] = "it's: a #secret1"
    source = WithFile(made_up(3), more=config, file=file)
    assert "secret1" not in html_page(ReportReader(3, {}).report(source, NAME))


@dataclass
class WithFile(MadeUpSource):
    """A made-up sweep whose server keeps its file as somebody wrote it."""

    file: str = ""

    def sweep(self, *place: Any, **options: Any) -> Any:
        return replace(super().sweep(*place, **options), config_text=self.file)


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
        (".", "that is a folder", "-o report.html"),
        ("parquet", "that is for a file", "-o runs.parquet"),
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


def test_markdown_has_what_the_page_has_and_each_figures_numbers() -> None:
    report = ReportReader(3, {}).report(source_of(40), NAME)
    document = markdown(report, "report_figures")
    for figure in report.figures:
        assert f"### {plain(figure.title)}" in document
        assert plain(figure.says) in document
        assert (
            f"![{plain(figure.title)}](<report_figures/{figure.name}.svg>)" in document
        ) == bool(figure.svg)
    assert document.count("```sh\n") == 3
    assert "| 1 | " in document
    assert "not recorded" in document


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("a|b", "a\\|b"),
        ("<b>", "\\<b\\>"),
        ("x\n# y", "x \\# y"),
        ("a_b*c", "a\\_b\\*c"),
        ("[x](y)", "\\[x\\](y)"),
    ],
)
def test_text_of_a_run_is_no_markdown(text: str, given: str) -> None:
    assert plain(text) == given


def test_fence_is_longer_than_any_within() -> None:
    assert fenced("a\n````\nb").startswith("`````\n")


ODD = {
    'comma, and "quote"': 1,
    "two\nlines": "a\r\nb",
    "tiny": 5e-324,
    "third": 1 / 3,
    "big": 2**70,
    "flag": True,
    "none": None,
    "nested": {"a": {"b": 2}, "c": [1, 2]},
    "formula": "=HYPERLINK(1)",
    "minus": "-x",
    "negative": -1.5,
    "odd": float("nan"),
    "=name": "é",
}


def _odd_report() -> Any:
    run = replace(SOME.runs[0], parameters=ODD, state="finished", metric=0.1 + 0.2)
    facts = replace(SOME, runs=[run], searched=list(ODD), forms={})
    return ReportReader(1, {}).report(MadeUpSource(facts), NAME)


def test_csv_reads_back_as_the_same_values() -> None:
    text = runs_csv(_odd_report()).decode()
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert row["rank"] == "1"
    assert float(row["metric/Train/mean_reward"]) == 0.1 + 0.2
    cells = {name.partition("/")[2]: cell for name, cell in row.items() if "parameters/" in name}
    assert cells == {
        'comma, and "quote"': "1",
        "two\nlines": "a\r\nb",
        "tiny": "5e-324",
        "third": "0.3333333333333333",
        "big": str(2**70),
        "flag": "true",
        "none": "",
        "nested.a.b": "2",
        "nested.c": "[1, 2]",
        "formula": "'=HYPERLINK(1)",
        "minus": "'-x",
        "negative": "-1.5",
        "odd": "NaN",
        "=name": "é",
    }
    assert text.count("\r\n") == 3, "one within a value"


def test_parquet_has_the_same_rows() -> None:
    content = runs_parquet(_odd_report())
    (row,) = pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
    assert row["metric/Train/mean_reward"] == 0.1 + 0.2
    assert row["parameters/nested.a.b"] == 2
    assert row["parameters/third"] == 1 / 3


def test_nested_names_are_joined_by_dots() -> None:
    assert flat({"a": {"b": 1, "c": {}}, "d": [1]}) == {"a.b": 1, "a.c": {}, "d": [1]}


class Followed:
    """A handle of a sweep that changes each time somebody waits."""

    here = "legs"

    def __init__(self, *moments: MadeUpSource) -> None:
        self.moments = list(moments)

    @contextmanager
    def source(self) -> Iterator[tuple[Any, Any]]:
        yield self, NAME

    def __getattr__(self, name: str) -> Any:
        return getattr(self.moments[0], name)

    def wait_a_moment(self, seconds: float) -> None:
        self.moments.pop(0)


def test_followed_report_is_written_when_something_changed_and_ends_with_the_sweep(
    tmp_path: Path,
) -> None:
    under_way = [replace(run, state="running", metric=None) for run in SOME.runs]
    first = MadeUpSource(replace(SOME, runs=under_way), state="RUNNING")
    half = MadeUpSource(replace(SOME, runs=[*SOME.runs[:6], *under_way[6:]]), state="RUNNING")
    sweep = Followed(first, first, half, MadeUpSource(SOME))
    file, told = tmp_path / "report.html", []
    seen: list[bytes] = []

    def tell(line: str) -> None:
        told.append(line)
        seen.append(file.read_bytes())

    wish = Wish([Output("html", file)], 3, follows=True)
    write_reports(
        cast("Any", sweep), wish, show=lambda _: None, tell=tell, sleep=sweep.wait_a_moment
    )
    assert len(told) == 3
    assert len(set(seen)) == 3
    assert len(sweep.moments) == 1
    assert b"finished" in seen[-1]


def test_interrupted_follow_leaves_the_last_file(tmp_path: Path) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    file = tmp_path / "report.md"
    source = MadeUpSource(replace(SOME, runs=SOME.runs[:2]), state="RUNNING")
    wish = Wish([Output("md", file)], 3, follows=True)
    with pytest.raises(KeyboardInterrupt):
        write_reports(
            cast("Any", Followed(source)),
            wish,
            show=lambda _: None,
            tell=lambda _: None,
            sleep=interrupt,
        )
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"report.md", "report_figures"}
    pictures = {path.name for path in (tmp_path / "report_figures").iterdir()}
    assert "best-so-far.svg" in pictures
    linked = set(re.findall(r"\(<report_figures/(.*?)>\)", file.read_text()))
    assert linked == pictures
