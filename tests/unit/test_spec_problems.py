"""Every complaint about a sweep file, word for word.

The cases are the pages in tests/golden/sweep_problems: a file, and what is said about it. Good
files stand beside bad ones. To rewrite what is said, after reading it:

    python tests/unit/test_spec_problems.py
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sweepctl.sweepfile.load import load_sweep
from sweepctl_pod.errors import SpecError

PAGES = sorted((Path(__file__).parents[1] / "golden" / "sweep_problems").glob("*.md"))
CASE = re.compile(
    r"(## (?P<title>[^\n]+)\n```yaml\n(?P<file>.*?)```\n)```\n(?P<said>.*?)```\n", re.S
)
NOTHING = "nothing to say\n"


def said_about(text: str) -> str:
    """Give what validate says, and check that warnings alone leave the file valid."""
    try:
        problems = load_sweep("sweep.yaml", text.encode()).warnings
        assert all(problem.is_warning for problem in problems)
    except SpecError as error:
        problems = error.problems
        assert not all(problem.is_warning for problem in problems)
    return "".join(problem.text() + "\n" for problem in problems) or NOTHING


CASES = [
    pytest.param(case["file"], case["said"], id=f"{page.stem}: {case['title']}")
    for page in PAGES
    for case in CASE.finditer(page.read_text())
]


@pytest.mark.parametrize(("text", "said"), CASES)
def test_what_is_said_about_a_file(text: str, said: str) -> None:
    assert said_about(text) == said, "rewrite with: python tests/unit/test_spec_problems.py"


def test_pages_hold_their_cases_and_nothing_else_in_code() -> None:
    titles = [line for page in PAGES for line in page.read_text().splitlines() if line[:3] == "## "]
    assert len(CASES) == len(titles) > 100


if __name__ == "__main__":
    for page in PAGES:
        text = CASE.sub(
            lambda case: f"{case[1]}```\n{said_about(case['file'])}```\n", page.read_text()
        )
        page.write_text(text)
        print(f"rewrote {page}")
