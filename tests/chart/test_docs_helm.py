"""Every helm and kubectl line of the pages that no test runs: read by these programs themselves."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests import needs
from tests.documentation import ROOT, Command, blocks, pages, spans
from tests.testbed.binaries import module, programs

PARSED = [
    command
    for page in pages()
    for command in (
        *(each for block in blocks(page) if "parse" in block.said for each in block.commands),
        *spans(page),
    )
    if command.programs[0][0] in ("helm", "kubectl")
]
SWEEP = "method: random\ncommand: [isaaclab, train]\nparameters: {a.b: {value: 1}}\n"


@pytest.fixture(scope="session")
def kubectl() -> Path:
    return needs.got(programs, module("kubernetes"), os.environ, print)["kubectl"]


@pytest.mark.parametrize("command", PARSED, ids=lambda command: command.place)
def test_every_line_that_does_not_run_is_read_by_its_program(
    command: Command, helm_program: Path, kubectl: Path, tmp_path: Path
) -> None:
    """No cluster is asked: objects are made dry, and of other verbs the options are looked up."""
    (tmp_path / "charts").symlink_to(ROOT / "charts")
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    (tmp_path / "values.yaml").write_text("agents: 2\n")
    ((name, verb, *words),) = command.programs
    program = {"helm": helm_program, "kubectl": kubectl}[name]
    words = [word for word in words if word != "…"]
    if (name, verb) in (("kubectl", "create"), ("helm", "install")):
        asked = [verb, *words, "--dry-run=client"]
    elif name == "helm" and verb == "upgrade" and len(words) > 2:
        asked = ["template", *words]
    else:
        asked = [verb, "--help"]
    done = subprocess.run(
        [str(program), *asked],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command.place}: `{command.text}`: {done.stderr}"
    if "--help" in asked:
        own = words[: words.index("--")] if "--" in words else words  # then another program's
        options = [word for word in own if re.fullmatch(r"--[a-z-]+", word)]
        assert [each for each in options if each not in done.stdout] == [], command.text
