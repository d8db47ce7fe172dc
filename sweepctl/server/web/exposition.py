"""The text that Prometheus reads: families of samples. Pure.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sweepctl.server.timings import BOUNDS_S, Timings

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a family, by its labels."""

    labels: Labels
    value: float
    suffix: str = ""


def histogram(times: Timings, labels: Labels) -> list[Sample]:
    """Give what was measured, as Prometheus wants a histogram."""
    counts, sum_s = times.up_to()
    bounds = [*(f"{bound:g}" for bound in BOUNDS_S), "+Inf"]
    buckets = zip(bounds, counts, strict=True)
    return [
        *(Sample({**labels, "le": bound}, count, "_bucket") for bound, count in buckets),
        Sample(labels, sum_s, "_sum"),
        Sample(labels, counts[-1], "_count"),
    ]


def family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> str:
    """Write one family: its text, its kind (counter, gauge, histogram), its samples."""
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for sample in samples:
        labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in sample.labels.items())
        shown = f"{{{labels}}}" if labels else ""
        lines.append(f"{name}{sample.suffix}{shown} {_number(sample.value)}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    storable = text.encode("utf-8", "replace").decode()
    return storable.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(value)
