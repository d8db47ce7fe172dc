"""From the templates to objects: rendered, read back, as plain dictionaries.

The templates are the twins of the chart's: a file for each file, a macro for each helper, in the
same order. Every scalar goes in as JSON that YAML reads back as the same value.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jinja2
import yaml

from sweepctl.manifest import names
from sweepctl.manifest.pod_code import script
from sweepctl.manifest.quantities import quantities
from sweepctl.manifest.yaml_text import scalar_json
from sweepctl_pod.errors import ExitCode

TEMPLATES = (
    "serviceaccount.yaml.j2",
    "sweep.yaml.j2",
    "pod-code.yaml.j2",
    "claims.yaml.j2",
    "networkpolicy.yaml.j2",
    "server.yaml.j2",
    "server-access.yaml.j2",
    "job.yaml.j2",
)
"""In the order in which their objects are made: a Job starts when all that it needs is there."""
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def objects_of(**scope: object) -> list[dict[str, Any]]:
    """Render every template with the variables of `scope`, and give the objects they hold."""
    found: list[dict[str, Any]] = []
    for name in TEMPLATES:
        text = _templates().get_template(name).render(**scope)
        found += [part for part in yaml.load_all(text, Loader=_LOADER) if part]
    return found


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("sweepctl.manifest"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    templates.filters |= {
        "from_yaml": _from_yaml,
        "image": names.image,
        "json": scalar_json,
        "merge": _merge,
        "nindent": _nindent,
        "quantities": quantities,
    }
    templates.globals |= {"script": script, "exit": ExitCode}
    return templates


def _nindent(text: str, width: int) -> str:
    """Put a block of lines on lines of its own, so far to the right: Helm's nindent."""
    lines = [line for line in text.split("\n") if line.strip(" ")]
    return "".join(f"\n{' ' * width}{line}" for line in lines)


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a map over another."""
    return {**below, **above}


def _from_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_LOADER)
