"""What the chart's schema says about settings, in words: what is expected, found, and to type.

Pure: from a settings tree and the schema to findings; where a setting came from is not its matter.
The schema's patterns mean what Go's regexp means by them, since Helm checks the same schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from sweepctl.sweepfile.document import Path, described, path_text
from sweepctl_pod.errors import nearest
from sweepctl_pod.trainer.environment import THREAD_LIBRARIES

_TYPE_WORDS = {
    "string": "a text",
    "integer": "a whole number",
    "boolean": "true or false",
    "object": "a map",
    "array": "a list",
}
_FAMILIAR = {
    "replicas": "agents",
    "parallelism": "agents",
    "completions": "agents",
    "workers": "agents",
    "imagePullSecrets": "image.pullSecrets",
    "imagePullPolicy": "image.pullPolicy",
    "env": "extraEnv",
    "volumes": "extraVolumes",
    "volumeMounts": "extraVolumeMounts",
    "scheduler": "schedulerName",
    "labels": "podLabels",
    "annotations": "podAnnotations",
    "topologySpreadConstraints": "topologySpread",
    "terminationGracePeriodSeconds": "graceSeconds",
    "securityContext": "security",
    "podSecurityContext": "security",
    "args": "command",
}
"""What people know these settings as from Kubernetes and from other charts."""

_SETTING_OF_VARIABLE = {
    "HOME": "cache.home",
    "PYTHONPATH": "pythonPath",
    "ISAACSIM_ASSET_ROOT": "assetRoot",
    "WANDB_BASE_URL": "wandb.baseUrl",
    "WANDB_ENTITY": "wandb.entity",
    "WANDB_PROJECT": "wandb.project",
    "SWEEPCTL_SWEEP": "sweepId",
    "SWEEPCTL_GRACE_S": "graceSeconds",
    "SWEEPCTL_GRAMMAR": "grammar",
    "SWEEPCTL_SETTINGS": "settings",
    "SWEEPCTL_PREFLIGHT_GPU": "preflight.gpu",
    "SWEEPCTL_MAX_INITIAL_FAILURES": "maxInitialFailures",
    "SWEEPCTL_SEED": "seed",
    "SWEEPCTL_CHECKPOINT_COMPANION": "checkpoint.companion",
    "SWEEPCTL_CHECKPOINT_EVERY_S": "checkpoint.every",
    "SWEEPCTL_CHECKPOINT_KEEP": "checkpoint.keep",
    "SWEEPCTL_CHECKPOINT_PATTERN": "checkpoint.pattern",
    "SWEEPCTL_CHECKPOINT_URI": "checkpoint.uri",
    "SWEEPCTL_PYTHON": "interpreter",
    "SSL_CERT_FILE": "caBundle",
    "REQUESTS_CA_BUNDLE": "caBundle",
    **dict.fromkeys(["HTTP_PROXY", "http_proxy"], "proxy.http"),
    **dict.fromkeys(["HTTPS_PROXY", "https_proxy"], "proxy.https"),
    **dict.fromkeys(["NO_PROXY", "no_proxy"], "proxy.noProxy"),
    **dict.fromkeys([f"{library}_NUM_THREADS" for library in THREAD_LIBRARIES], "threads"),
}
"""The setting behind each variable that the Job sets itself and that extraEnv may not name."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with the settings; `at_key` when it is the setting's name."""

    path: Path
    message: str
    hint: str | None
    at_key: bool = False
    wants_quotes: bool = False
    """Whether it is enough to quote the value in the file."""
    missing: str | None = None
    """The key that a map in a list lacks."""


def schema_findings(tree: Mapping[str, Any], schema: Mapping[str, Any]) -> list[Finding]:
    """Check settings by the chart's schema; every problem at once."""
    found = [
        finding
        for error in _validator_class()(schema).iter_errors(tree)
        for finding in _findings(error, schema)
    ]
    misspelt = {(finding.path[:-1], finding.hint) for finding in found if finding.at_key}
    return [
        finding
        for finding in dict.fromkeys(found)
        if finding.missing is None or (finding.path, _did_you_mean(finding.missing)) not in misspelt
    ]


def _findings(error: ValidationError, schema: Mapping[str, Any]) -> Iterator[Finding]:
    path: Path = tuple(error.absolute_path)
    found: Any = error.instance
    rules: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    name = str(error.validator)
    if name == "additionalProperties":
        elsewhere = [re.compile(pattern) for pattern in rules.get("patternProperties", ())]
        unknown = [key for key in found if key not in rules["properties"]]
        for key in [key for key in unknown if not any(p.search(key) for p in elsewhere)]:
            hint = _right_name(path, str(key), list(rules["properties"]), schema)
            yield Finding((*path, key), "there is no such setting", hint, at_key=True)
    elif name == "required":
        for key in [key for key in rules["required"] if key not in found]:
            if any(isinstance(step, int) for step in path):
                yield Finding(path, f"'{key}' is missing", f"add {key}: …", missing=key)
            else:
                message = "this setting cannot be taken away"
                yield Finding((*path, key), message, "leave it out to keep its default")
    elif name == "oneOf" and set(found) - set(rules["properties"]):
        return  # what it lacks is misspelt, and that is said
    elif "propertyNames" in error.absolute_schema_path:
        yield Finding((*path, found), f"expected {rules['title']}", None, at_key=True)
    elif name in ("minimum", "maximum"):
        yield Finding(path, *_out_of_range(error, rules))
    elif name == "type":
        yield _wrong_type(path, found, rules)
    elif name == "enum":
        words = [word for word in rules["enum"] if isinstance(word, str)]
        near = nearest(str(found), words)
        hint = _did_you_mean(near) if near else f"write {words[0]}, for example"
        yield Finding(path, f"expected {_alternatives(words)}, found {described(found)}", hint)
    else:
        yield Finding(path, *_other(path, error, rules))


def _out_of_range(error: ValidationError, rules: Mapping[str, Any]) -> tuple[str, str]:
    low, high = rules.get("minimum"), rules.get("maximum")
    message = f"expected a number from {low} to {high}, found {described(error.instance)}"
    return message, f"write {low if error.validator == 'minimum' else high} or what lies between"


def _wrong_type(path: Path, found: object, rules: Mapping[str, Any]) -> Finding:
    types = rules["type"]
    first = types[0] if isinstance(types, list) else str(types)
    expected = rules.get("title") or _TYPE_WORDS[first]
    if first == "string" and isinstance(found, (bool, int, float)):
        text = str(found).lower() if isinstance(found, bool) else str(found)
        advice = f'write it in a values file, in quotes: "{text}"'
        return Finding(path, f"expected {expected}, found {described(found)}", advice, False, True)
    hint: str | None = None
    if first == "integer" and isinstance(found, str) and re.fullmatch(r"[-+]?[0-9]+", found):
        hint = f"write {found} without quotes"
    elif first == "array" and isinstance(found, str):
        hint = f"write [{found}] in a file, {{{found}}} with --set"
    elif first == "object" and "properties" in rules:
        hint = f"its settings are {', '.join(rules['properties'])}"
    return Finding(path, f"expected {expected}, found {described(found)}", hint)


def _other(path: Path, error: ValidationError, rules: Mapping[str, Any]) -> tuple[str, str | None]:
    found = error.instance
    if error.validator == "uniqueItems":
        return "the list names something twice", "remove one of the two"
    is_variable = path[:1] == ("extraEnv",) and path[-1:] == ("name",)
    if is_variable and str(found) in _SETTING_OF_VARIABLE:
        return f"the Job sets {found} itself", f"use {_SETTING_OF_VARIABLE[str(found)]}"
    if error.validator == "minLength" or found == "":
        return f"expected {rules.get('title', 'a text')}, found nothing", None
    if error.validator == "maxLength":
        return f"the text is longer than {error.validator_value} characters", None
    return f"expected {rules.get('title', 'something else')}, found {described(found)}", None


def _right_name(path: Path, key: str, here: list[str], schema: Mapping[str, Any]) -> str:
    """Name the setting that was probably meant by one that does not exist."""
    places = _places(schema).get(key, [])
    elsewhere = places[0] if places and (not path or len(places) == 1) else None
    near = nearest(key, here)
    familiar = _FAMILIAR.get(key)
    meant = familiar or elsewhere or near if not path else near or elsewhere or familiar
    return _did_you_mean(meant) if meant else f"the settings here are {', '.join(here)}"


def _did_you_mean(name: str) -> str:
    return f"did you mean {name}?"


def _places(schema: Mapping[str, Any]) -> dict[str, list[str]]:
    """List the places of each setting's name, those nearest the top first."""
    places: dict[str, list[str]] = {}
    level: list[tuple[Path, Mapping[str, Any]]] = [((), schema)]
    while level:
        below = []
        for path, part in level:
            for name, rules in part.get("properties", {}).items():
                places.setdefault(name, []).append(path_text((*path, name)))
                below.append(((*path, name), rules))
        level = below
    return places


def _alternatives(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _pattern(
    validator: Any, pattern: str, instance: object, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    # Go's $ stands at the very end; Python's lets a newline follow.
    if isinstance(instance, str) and not re.search(pattern.replace("$", r"\Z"), instance, re.ASCII):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


@lru_cache(maxsize=1)
def _validator_class() -> Any:
    extended: Any = extend  # has no types of its own
    return extended(Draft7Validator, {"pattern": _pattern})
