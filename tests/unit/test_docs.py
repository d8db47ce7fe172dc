"""The documentation holds what it says: every command is run or read, every message is real."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import typer.main

from sweepctl.cli import app as cli
from sweepctl.cli.arguments import current_names
from sweepctl_pod.command import KNOWN_MACROS
from sweepctl_pod.errors import ExitCode
from tests.documentation import PROGRAMS, ROOT, Block, Command, blocks, pages, spans

DOCS = ROOT / "docs"
SOURCES = ("sweepctl", "charts/isaac-sweep")
READ_ELSEWHERE = ("helm", "kubectl")
"""Programs whose lines are read by tests/chart/test_docs_helm.py, which has them."""

ALL_BLOCKS = [
    block for page in pages() for block in blocks(page) if block.mark or not block.is_drawing
]
PARSED = [
    command
    for page in pages()
    for command in (
        *(each for block in blocks(page) if "parse" in block.said for each in block.commands),
        *spans(page),
    )
    if command.programs[0][0] not in READ_ELSEWHERE
]


@pytest.mark.parametrize("block", ALL_BLOCKS, ids=lambda block: block.place)
def test_every_block_says_what_becomes_of_it(block: Block) -> None:
    assert block.said, (
        f"{block.place}: <!-- {block.mark} --> before this block is nothing that"
        " tests/documentation.py knows"
    )
    if "file" not in block.said:
        assert block.language == "console", f"{block.place}: commands stand in a console block"
        assert block.commands, f"{block.place}: no line begins with $"


@pytest.mark.parametrize("command", PARSED, ids=lambda command: command.place)
def test_every_command_that_does_not_run_is_read_by_its_program(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("config.yaml", "legs/__init__.py", "legs/tasks.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for program, *arguments in command.programs:
        trouble = READERS[program](arguments)
        assert trouble is None, f"{command.place}: `{command.text}`: {trouble}"


@pytest.mark.parametrize(
    "block", [each for each in ALL_BLOCKS if "source" in each.said], ids=lambda block: block.place
)
def test_an_excerpt_has_what_the_page_has_that_it_is_from(block: Block) -> None:
    whole = [each for other in blocks(ROOT / block.said["source"]) for each in other.commands]
    for command in block.commands:
        (found,) = [each for each in whole if each.text == command.text]
        rest = iter(found.answer)
        missing = [line for line in command.answer if line.strip("… ") and line not in rest]
        assert missing == [], f"{block.place}: `{command.text}`"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_the_files_of_a_page_are_valid(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        if "file" in block.said:
            (tmp_path / block.said["file"]).write_text(block.text)
    render = "render sweep.yaml --with-server -f values.yaml -o name"
    for verb in ("validate sweep.yaml", render):
        if all((tmp_path / name).exists() for name in verb.split() if name.endswith(".yaml")):
            done = _run_sweepctl(tmp_path, *verb.split())
            assert done.returncode == 0, f"{page.name}: {done.stdout}{done.stderr}"
            assert "warning" not in done.stdout, f"{page.name}: {done.stdout}"


def _run_sweepctl(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sweepctl", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def _sweepctl(arguments: Sequence[str]) -> str | None:
    if arguments[0].startswith("-"):
        return None if arguments[0] in ("--help", "--version", "--install-completion") else "?"
    verb = typer.main.get_command(cli.app).commands.get(arguments[0])  # type: ignore[attr-defined]
    if verb is None:
        return f"there is no verb {arguments[0]}"
    try:
        verb.make_context(arguments[0], current_names(arguments)[1:])
    except Exception as error:
        # `sweepctl logs --run` in a sentence names the option: what it lacks is no mistake.
        lacks = len(arguments) == 1 and type(error).__name__ == "MissingParameter"
        return None if lacks or str(error).endswith("requires an argument.") else str(error)
    return None


def _wandb(arguments: Sequence[str]) -> str | None:
    from wandb.cli.cli import cli as wandb

    verb = wandb.commands.get(arguments[0])
    if verb is None:
        return f"there is no verb {arguments[0]}"
    if len(arguments) == 1:
        return None
    try:
        verb.make_context(arguments[0], list(arguments[1:]))
    except Exception as error:
        return str(error)
    return None


def _uvx(arguments: Sequence[str]) -> str | None:
    return READERS[arguments[0]](arguments[1:]) if arguments[0] in READERS else "not known"


def _make(arguments: Sequence[str]) -> str | None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    unknown = set(arguments) - {*targets}
    return f"the Makefile has no {unknown}" if unknown else None


def _help_knows(program: Sequence[str]) -> Callable[[Sequence[str]], str | None]:
    """Give the reader of a program that runs nothing dry: its own help must know each option."""

    def read(arguments: Sequence[str]) -> str | None:
        verbs = list(arguments[:2]) if program[-1] == "uv" else list(arguments[:1])
        told = _help((*program, *verbs))
        options = [word.partition("=")[0] for word in arguments if word.startswith("-")]
        unknown = [each for each in options if not re.search(rf"(?<![\w-]){each}\b", told)]
        return f"{verbs} has no {unknown}" if unknown else None

    return read


@cache
def _help(command: tuple[str, ...]) -> str:
    done = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def _docker(arguments: Sequence[str]) -> str | None:
    """Read a build of images/Dockerfile: its stages and arguments are those of the file."""
    verb, *rest = arguments
    if verb in ("pull", "push", "tag", "save", "load"):
        return None
    given = dict(pairwise(rest))
    file = ROOT / given.get("-f", "Dockerfile")
    if verb != "build" or not file.is_file():
        return f"not a build of a file that is there: {file}"
    text = file.read_text()
    if f" AS {given.get('--target')}\n" not in text:
        return f"{file} has no stage {given.get('--target')}"
    named = [
        rest[at + 1].partition("=")[0] for at, word in enumerate(rest) if word == "--build-arg"
    ]
    unknown = [name for name in named if not re.search(rf"^ARG {name}\b", text, re.MULTILINE)]
    return f"{file} has no ARG {unknown}" if unknown else None


def _git(arguments: Sequence[str]) -> str | None:
    return None if arguments[0] == "clone" else "not known"


def _python(arguments: Sequence[str]) -> str | None:
    """Read a module's name, or a script of another project in a table of what stands for what."""
    if arguments[0] != "-m":
        return None if arguments[0].startswith("scripts/wandb_sweep/") else "not known"
    return None if importlib.util.find_spec(arguments[1]) else f"there is no module {arguments[1]}"


READERS: dict[str, Callable[[Sequence[str]], str | None]] = {
    "sweepctl": _sweepctl,
    "wandb": _wandb,
    "uvx": _uvx,
    "make": _make,
    "uv": _help_knows((sys.executable, "-m", "uv")),
    "pip": _help_knows((sys.executable, "-m", "pip")),
    "pipx": lambda arguments: None if arguments[0] == "install" else "not known",
    "docker": _docker,
    "git": _git,
    "python": _python,
    "python3": _python,
}


def test_every_program_of_the_pages_has_a_reader() -> None:
    assert set(PROGRAMS) == {*READERS, *READ_ELSEWHERE}
    assert {words[0] for command in PARSED for words in command.programs} <= set(PROGRAMS)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in _anchors(file), f"{page.name}: {target}"


def _anchors(file: Path) -> set[str]:
    """Give the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def test_the_index_names_every_page() -> None:
    index = (DOCS / "README.md").read_text("utf-8")
    assert [page.name for page in DOCS.glob("*.md") if f"({page.name})" not in index] == [
        "README.md"
    ]


# Troubleshooting


def quoted_messages() -> list[str]:
    """Give what troubleshooting.md quotes: the headings that are code."""
    text = (DOCS / "troubleshooting.md").read_text("utf-8")
    return re.findall(r"^### `(.+)`$", text, re.MULTILINE)


@pytest.mark.parametrize("message", quoted_messages())
def test_every_quoted_message_is_one_that_a_program_prints(message: str) -> None:
    parts = [part for part in re.split(r"\s*…\s*", message) if part]
    pattern = re.compile(".*?".join(map(re.escape, parts)), re.DOTALL)
    assert sum(map(len, parts)) >= 8, "too short to find anything by"
    assert any(pattern.search(text) for text in printed_texts()), f"nothing prints: {message}"


@cache
def printed_texts() -> tuple[str, ...]:
    """Give every text that the sources hold, what is filled in left out."""
    return tuple(
        text
        for root in SOURCES
        for path in sorted((ROOT / root).rglob("*"))
        if path.is_file() and path.suffix in (".py", ".sh", ".yaml", ".tpl", ".txt")
        for text in (
            _literals(path) if path.suffix == ".py" else path.read_text("utf-8").split("\n")
        )
    )


def _literals(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text("utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in documentation:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
            )


# Reference


REFERENCE = DOCS / "reference.md"


def test_the_reference_has_every_variable_of_ours_and_no_other() -> None:
    nobodys = {"SWEEPCTL_COMPLETE"}  # of a shell's completion
    read = {
        name
        for root in (*SOURCES, "images")
        for path in (ROOT / root).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
        for name in re.findall(r"\bSWEEPCTL_[A-Z_]*[A-Z]\b", path.read_text("utf-8", "replace"))
    }
    told = {
        name
        for page in (REFERENCE, DOCS / "agent.md")
        if page.exists()
        for name in re.findall(r"\bSWEEPCTL_[A-Z_]*[A-Z]\b", page.read_text("utf-8"))
    }
    assert told == read - nobodys


def test_the_reference_has_every_exit_code_and_no_other() -> None:
    section = REFERENCE.read_text("utf-8").partition("\n## Exit codes\n")[2].partition("\n## ")[0]
    told = {int(code) for code in re.findall(r"^\| (\d+) ", section, re.MULTILINE)}
    assert told == {int(code) for code in ExitCode}


def keys_of(folder: Path, problem_path: str, text: str) -> set[str]:
    """Give the keys that validate names where it finds one that it does not know."""
    (folder / "sweep.yaml").write_text(text)
    done = _run_sweepctl(folder, "validate", "sweep.yaml", "-o", "json")
    (hint,) = [
        each["hint"] for each in json.loads(done.stdout)["problems"] if each["path"] == problem_path
    ]
    assert hint.startswith("the keys here are ")
    return set(re.split(", | and ", hint.removeprefix("the keys here are ")))


SWEEP_KEYS = {
    "The sweep file": ("zzzz", "zzzz: 1"),
    "`metric`": ("metric.zzzz", "metric: {name: a, zzzz: 1}"),
    "`early_terminate`": ("early_terminate.zzzz", "early_terminate: {type: hyperband, zzzz: 1}"),
    "A parameter": ("parameters.X.zzzz", "parameters: {X: {value: 1, zzzz: 1}}"),
}


@pytest.mark.parametrize("of", SWEEP_KEYS)
def test_the_reference_has_every_key_of_the_sweep_file_and_no_other(
    of: str, tmp_path: Path
) -> None:
    begin = f"\n## {of}\n" if of == "The sweep file" else f"\n{of} has\n"
    table = REFERENCE.read_text("utf-8").partition(begin)[2].partition("\n| key |")[2]
    rows = table.partition("\n\n")[0].splitlines()[2:]
    told = {key for row in rows for key in re.findall(r"`(\w+)`", row.split(" | ")[0])}
    assert told == keys_of(tmp_path, *SWEEP_KEYS[of])


def test_the_reference_has_every_distribution_and_macro(tmp_path: Path) -> None:
    file = "command: [a]\nmethod: random\nparameters: {a: {distribution: zzzz, min: 1, max: 2}}\n"
    (tmp_path / "sweep.yaml").write_text(file)
    said = _run_sweepctl(tmp_path, "validate", "sweep.yaml").stdout
    listed = said.partition("write one of ")[2].partition("\n")[0]
    distributions = re.findall(r"\b\w+\b", listed.replace(" or ", ", "))
    assert "q_beta" in distributions
    text = REFERENCE.read_text("utf-8")
    missing = {name for name in (*distributions, *KNOWN_MACROS) if f"`{name}`" not in text}
    assert missing == set()
