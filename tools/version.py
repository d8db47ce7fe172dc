"""Sets the version in every file that has it: `python -m tools.version 0.2.0`.

Each place is known by what stands around it, so that no other program's version is ever touched. A
file in which a place is not found any more is an error: nothing is written then.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sweepctl_pod.errors import SweepctlError, UsageError

ROOT = Path(__file__).parents[1]
COMMAND = "python -m tools.version"
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_SERVER_TAG = r"(?m)^    repository: \S*sweepctl-server\n    tag: \"?{old}"

PLACES: Mapping[str, tuple[str, ...]] = {
    "pyproject.toml": (r'(?m)^version = "{old}"',),
    "CHANGELOG.md": (r"(?m)\A# Changelog\n\n## {old} \(unreleased\)",),
    "charts/isaac-sweep/Chart.yaml": (
        *(r"(?m)^version: {old}$", r'(?m)^appVersion: "{old}"$', r"image: sweepctl-server:{old}"),
    ),
    "charts/isaac-sweep/values.yaml": (_SERVER_TAG,),
    "charts/isaac-sweep/ci/all-options.yaml": (_SERVER_TAG,),
    "charts/isaac-sweep/README.md": (r'\| `server\.image\.tag` \| `"{old}"`',),
    "images/Dockerfile": (r"(?m)^ARG VERSION={old}$",),
}
"""What stands around the version in each file; `{{old}}` is the version itself."""

_MENTION = (
    r"(?:sweepctl(?:-server)?(?:[-=:@ ]+|\n +tag: \"?)|isaac-sweep-|--version |server\.image\.tag=)"
    r"{old}(?!\.?\d)"
)
"""How pages for people name a file or an image of this version."""
_PAGES = ("README.md", "charts/isaac-sweep/README.md", "docs/**/*.md", "images/Dockerfile")


def current_version(root: Path = ROOT) -> str:
    """Read the version that the tree has now."""
    found = re.search(r'(?m)^version = "([^"]+)"', (root / "pyproject.toml").read_text("utf-8"))
    if found is None:
        raise SweepctlError("pyproject.toml has no version")
    return found[1]


def set_version(new: str, root: Path = ROOT) -> list[str]:
    """Set the version in every place; give the files that were changed."""
    old = current_version(root)
    if not _VERSION.fullmatch(new):
        raise UsageError(
            f"version '{new}': expected three whole numbers", "try make version VERSION=0.2.0"
        )
    if _numbers(new) < _numbers(old):
        raise UsageError(f"version {new} is older than {old}, which the tree has")
    if new == old:
        return []
    changed = dict(_changed(old, new, root))
    for place, text in changed.items():
        (root / place).write_text(text, encoding="utf-8")
    return sorted(changed)


def _changed(old: str, new: str, root: Path) -> Iterator[tuple[str, str]]:
    pages = {str(file.relative_to(root)) for glob in _PAGES for file in root.glob(glob)}
    for place in sorted({*PLACES, *pages}):
        before = text = (root / place).read_text("utf-8")
        for around in PLACES.get(place, ()):
            text, count = _replaced(around, text, old, new)
            if place == "CHANGELOG.md" and not count:
                text, count = _with_heading(text, new)
            if not count:
                raise SweepctlError(
                    f"{place} has no version {old} where it is expected",
                    "correct it, or PLACES in tools/version.py",
                )
        if place in pages:
            text, _ = _replaced(_MENTION, text, old, new)
        if text != before:
            yield place, text


def _replaced(around: str, text: str, old: str, new: str) -> tuple[str, int]:
    """Put the new version where the old one stands in what `around` describes."""
    pattern = around.replace("{old}", re.escape(old))
    return re.subn(pattern, lambda found: found[0].replace(old, new), text)


def _with_heading(changelog: str, new: str) -> tuple[str, int]:
    """Begin a part for a version whose predecessor was released."""
    title = "# Changelog\n\n"
    begun = changelog.replace(title, f"{title}## {new} (unreleased)\n\n", 1)
    return begun, int(begun != changelog)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]


def main(argv: Sequence[str] | None = None) -> int:
    """Set the version that is named; say which files were changed."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=main.__doc__)
    parser.add_argument("version", help="three numbers, such as 0.2.0")
    try:
        changed = set_version(parser.parse_args(argv).version)
    except SweepctlError as error:
        hint = f" ({error.hint})" if error.hint else ""
        print(f"error: {error.message}{hint}", file=sys.stderr)
        return int(error.exit_code)
    print("\n".join(changed) if changed else "nothing to change")
    return 0


if __name__ == "__main__":
    sys.exit(main())
