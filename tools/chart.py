"""Writes the parts of the chart that follow from others: `python -m tools.chart`.

The settings in its README, from values.yaml and the schema; with `--package FOLDER` its .tgz as
well, the same bytes each time.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweepctl.values.settings import chart, chart_folder

BEGIN = "<!-- settings: written by python -m tools.chart -->\n"
END = "<!-- end of settings -->"
COMMAND = "python -m tools.chart"
_SOURCE_DATE = 315_532_800  # 1980-01-01, the first that zip files know


def with_settings(readme: str) -> str:
    """Give the README with the table of settings as it is to be."""
    head, _, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    rows = "".join(f"| `{key}` | {default} | {text} |\n" for key, default, text in settings())
    return f"{head}{BEGIN}| setting | default | |\n| --- | --- | --- |\n{rows}{end}{tail}"


def settings() -> Iterator[tuple[str, str, str]]:
    """Give each setting with its default and what it says about itself."""
    yield from _settings(chart().schema, chart().defaults, "")


def _settings(
    rules: dict[str, Any] | Any, defaults: Any, path: str
) -> Iterator[tuple[str, str, str]]:
    for name, inner in rules["properties"].items():
        place = f"{path}{name}"
        described = inner.get("description", "")
        reference = inner.get("$ref", "").removeprefix("#/definitions/")
        whole = chart().schema["definitions"][reference] if reference else inner
        is_group = whole.get("properties") and reference != "affinity"
        if is_group:
            yield from _settings(whole, defaults[name], f"{place}.")
        else:
            yield place, f"`{json.dumps(defaults[name])}`", described.replace("|", "\\|")


def package(target: Path) -> Path:
    """Write the chart's .tgz: sorted, owned by nobody, without times."""
    folder = chart_folder()
    archive = target / f"isaac-sweep-{chart().version}.tgz"
    target.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for file in sorted(folder.rglob("*")):
            place = file.relative_to(folder)
            if not file.is_file() or place.parts[0] == "ci" or file.suffix == ".pyc":
                continue
            data = file.read_bytes()
            entry = tarfile.TarInfo(f"isaac-sweep/{place.as_posix()}")
            entry.size, entry.mode, entry.mtime = len(data), 0o644, _SOURCE_DATE
            tar.addfile(entry, io.BytesIO(data))
    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=_SOURCE_DATE) as zipped,
    ):
        zipped.write(packed.getvalue())
    return archive


def main() -> None:
    """Write what follows; with --package the chart's package as well."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=main.__doc__)
    parser.add_argument("--package", type=Path, metavar="FOLDER", help="write the .tgz there")
    said = parser.parse_args()
    readme = chart_folder() / "README.md"
    readme.write_text(with_settings(readme.read_text("utf-8")), encoding="utf-8")
    if said.package:
        print(package(said.package))


if __name__ == "__main__":
    main()
