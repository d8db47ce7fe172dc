"""The documentation as tests read it: its blocks, its commands, and a reader who follows them.

The pages are README.md and docs/*.md. The line before each fenced block that is no drawing says
what becomes of it:

    <!-- run: cluster -->         its $ lines run on the bed (tests/cluster/test_docs_on_cluster.py)
    <!-- run: here -->            they run on this machine (tests/local/test_docs_here.py)
    <!-- run: here, exit 3 -->    the last of them ends with this exit code
    <!-- run: here, varies -->    of the answer only the tables' headings are compared
    <!-- run: here, until Ctrl-C -->  its one command stays up until the page's end
    <!-- from: docs/page.md -->   the commands and the lines of their answers stand in that page
    <!-- parse -->                nothing runs: the words are read by the program that they name
    <!-- file: values.yaml -->    the block is the file that the commands after it use

A line of an answer is compared word by word, but for numbers, times and the ids of runs; `…` stands
for anything. Lines may be left out.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = (
    *("sweepctl", "helm", "kubectl", "wandb", "docker", "make", "uv", "uvx", "pip", "pipx"),
    *("git", "python", "python3"),
)
_FENCE = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*?) -->\n)?"
    r"(?P<fence>```+)(?P<language>\w*)\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
_MARK = re.compile(
    r"(?:run: (?P<place>here|cluster)(?:, (?:exit (?P<code>\d+)|(?P<varies>varies)|"
    r"(?P<stays>until Ctrl-C)))?|(?P<parse>parse)|file: (?P<file>[\w./-]+)|"
    r"from: (?P<source>[\w./-]+))"
)
_COMMAND_LIMIT_S = 400.0
_READY_LIMIT_S = 60.0
_END_LIMIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a page, and what the page says that it answers."""

    place: str
    text: str
    answer: tuple[str, ...]

    @property
    def programs(self) -> list[list[str]]:
        """The words of each program that it starts, as a shell reads them; `a && b` starts two."""
        found: list[list[str]] = [[]]
        for word in shlex.split(self.text, comments=True):
            if word in ("&&", "|", ";", "&"):
                found.append([])
            elif found[-1] or not re.fullmatch(r"[A-Z_]+=.*", word):
                found[-1].append(word)
        return [words for words in found if words]


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page."""

    place: str
    language: str
    mark: str | None
    text: str

    @property
    def is_drawing(self) -> bool:
        """Whether nothing in it is to be typed or kept: a picture made of letters."""
        lines = self.text.splitlines()
        begins = ("$ ", *(f"{program} " for program in PROGRAMS))
        return self.language in ("", "text") and not any(line.startswith(begins) for line in lines)

    @property
    def said(self) -> dict[str, str]:
        """What the mark says, by the names of its parts; empty where it says nothing known."""
        match = _MARK.fullmatch(self.mark or "")
        return {name: text for name, text in match.groupdict().items() if text} if match else {}

    @property
    def commands(self) -> list[Command]:
        """The `$ ` lines, each with the lines that follow it."""
        found: list[Command] = []
        lines = iter(self.text.splitlines())
        for line in lines:
            if line.startswith("$ "):
                text = line[2:]
                while text.endswith("\\"):
                    text = f"{text[:-1]}{next(lines).strip()}"
                found.append(Command(self.place, text, ()))
            elif found:
                last = found.pop()
                found.append(Command(last.place, last.text, (*last.answer, line)))
        return found


def pages() -> list[Path]:
    """Give every page, the README first."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """Give a page's fenced blocks, in order."""
    text = page.read_text("utf-8")
    found = []
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start("fence")) + 1
        place = f"{page.relative_to(ROOT)}:{line}"
        found.append(Block(place, match["language"], match["mark"], match["text"]))
    return found


def spans(page: Path) -> Iterator[Command]:
    """Give the commands that stand within a page's sentences and tables, as inline code."""
    text = _FENCE.sub(lambda block: "\n" * block[0].count("\n"), page.read_text("utf-8"))
    for match in re.finditer(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", text, re.DOTALL):
        code = " ".join(match[2].replace("\\|", "|").split())
        if code.split(" ")[0] in PROGRAMS and " " in code:
            line = text.count("\n", 0, match.start()) + 1
            yield Command(f"{page.relative_to(ROOT)}:{line}", code, ())


def pages_that_run(place: str) -> list[Path]:
    """Give the pages with commands for a place, `here` or `cluster`."""
    return [page for page in pages() if any(b.said.get("place") == place for b in blocks(page))]


@dataclass(slots=True)
class Reader:
    """Somebody who types a page's commands, in order, in one folder and one environment.

    `instead` is what differs where the test runs: each text is put in another's place, in the
    commands, in the files and in the answers that are expected.
    """

    folder: Path
    environ: Mapping[str, str]
    instead: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    """What else there is to do once a command, known by how it begins, has run."""
    _exports: list[str] = field(default_factory=list)
    _staying: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def follow(self, page: Path, place: str) -> None:
        """Write the files of a page and run what it has for `place`; AssertionError says where."""
        try:
            for block in blocks(page):
                said = block.said
                if "file" in said:
                    self._write(said["file"], block.text)
                elif said.get("place") == place:
                    self._run_block(block)
        finally:
            self._end_what_stays()

    def run(self, command: Command, *, code: int = 0, varies: bool = False) -> str:
        """Run one command, hold its answer against the page's, and give it."""
        text = self._put(command.text)
        if text.startswith("export "):
            self._exports.append(text)
        process = self._process(text, subprocess.PIPE)
        try:
            answer = process.communicate(timeout=_COMMAND_LIMIT_S)[0].decode()
        except subprocess.TimeoutExpired:
            _end(process)
            answer = process.communicate()[0].decode()
            raise AssertionError(f"{command.place}: `{text}` does not end:\n{answer}") from None
        print(f"$ {text}\n{answer}")
        assert process.returncode == code, (
            f"{command.place}: `{text}` ended with {process.returncode}, not {code}:\n{answer}"
        )
        missing = self._missing(command, answer, varies=varies)
        assert missing is None, (
            f"{command.place}: `{command.text}` does not answer {missing!r}, but:\n{answer}"
        )
        for begin, what in self.after.items():
            if command.text.startswith(begin):
                what()
        return answer

    def _run_block(self, block: Block) -> None:
        said, commands = block.said, block.commands
        for command in commands:
            if "stays" in said:
                self._start(command)
                continue
            is_last = command is commands[-1]
            code = int(said.get("code", 0)) if is_last else 0
            self.run(command, code=code, varies="varies" in said)

    def _start(self, command: Command) -> None:
        """Start what stays up, and wait for the answer that the page shows."""
        log = self.folder / f"stays-{len(self._staying)}.log"
        with log.open("wb") as out:
            process = self._process(f"exec {self._put(command.text)}", out)
        self._staying.append(process)
        deadline = time.monotonic() + _READY_LIMIT_S
        while missing := self._missing(command, log.read_text(), varies=False):
            is_over = process.poll() is not None or time.monotonic() > deadline
            assert not is_over, (
                f"{command.place}: `{command.text}` does not say {missing!r}:\n{log.read_text()}"
            )
            time.sleep(0.1)

    def _end_what_stays(self) -> None:
        while self._staying:
            _end(self._staying.pop())

    def _write(self, name: str, text: str) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self._put(text))

    def _process(self, text: str, out: IO[bytes] | int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["bash", "-c", "\n".join(["set -e", *self._exports, text])],
            cwd=self.folder,
            env={**self.environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _put(self, text: str) -> str:
        for written, other in self.instead.items():
            text = text.replace(written, other)
        return text

    def _missing(self, command: Command, answer: str, *, varies: bool) -> str | None:
        """Give the first line that the page shows and the answer has not; None without one."""
        rest = iter(answer.splitlines())
        for line in command.answer:
            words = line.split()
            if not words or words == ["…"]:
                continue
            if varies and not re.fullmatch(r"[A-Z]{2,}( .*)?", line):
                continue
            pattern = _pattern(self._put(line))
            if not any(re.fullmatch(pattern, each) for each in rest):
                return line
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command as Ctrl-C does, with all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


_TIME = r"(?:\d+[dhms])+"
_ID = r"(?=[a-z]*\d)(?=\d*[a-z])[a-z0-9]{8}"
_NUMBER = r"(?:(?<!\w)-)?\d+(?:\.\d+)?(?:e-?\d+)?"
_VARIABLE = re.compile(rf"(?P<time>\b{_TIME}\b)|(?P<id>\b{_ID}\b)|(?P<number>{_NUMBER})|(?P<any>…)")
_STAND_FOR = {
    "time": _TIME,
    "id": "[a-z0-9]{8}",
    "number": r"-?\d+(?:\.\d+)?(?:e-?\d+)?",
    "any": ".*?",
}


def _pattern(line: str) -> str:
    """Give the regular expression of a line of an answer, with what varies left open."""
    words = []
    for word in line.split():
        found, end = "", 0
        for match in _VARIABLE.finditer(word):
            found += re.escape(word[end : match.start()]) + _STAND_FOR[str(match.lastgroup)]
            end = match.end()
        words.append(found + re.escape(word[end:]))
    return r"\s*" + r"\s+".join(words) + r"\s*"
