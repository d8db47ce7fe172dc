"""API keys do not belong in settings: where people put one, and what to do instead.

Pure. What is refused is shown with the line where it stands, so whatever may be a key or a password
there is covered, character by character: the caret still points to its column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sweepctl.sweepfile.document import Path
from sweepctl.values.problems import Finding
from sweepctl_pod.errors import Problem

NOT_A_SETTING = "an API key is no setting: whoever may read the Job or the release could read it"
IS_A_KEY = "this looks like an API key; the name of a Secret, or of a key in it, belongs here"

_VARIABLE = "WANDB_API_KEY"
_SETTING = re.compile(r"(wandb|WANDB)?_?(api|Api|API)_?([kK]ey|KEY)s?", re.ASCII)
_OF_WANDB = re.compile(
    r"((wandb|WANDB)?_?((api|Api|API)_?)?([kK]ey|KEY)s?|token|secret|password)", re.ASCII
)
_KEY = re.compile(r"([A-Za-z0-9]+-)?[A-Za-z0-9_]{40,}", re.ASCII)

_PRIVATE_SETTING = re.compile(r"(?i)(api[-_]?key|token|password|passwd)s?$")
_PRIVATE_VARIABLE = re.compile(r"(?i)key|token|secret|passw")
_ASSIGNED = re.compile(
    r"(?i)(?:api[-_]?key|token|password|passwd)s?[\"']?\s*[:=]\s*([^\s{\[,][^,}\]]*)"
)
_PRIVATE_TEXT = (
    re.compile(r"(?<=://)([^\s/@]*:[^\s@]+)(?=@)"),
    re.compile(r"(?<=s3://)([^\s/@]+)(?=@)"),
    re.compile(r"(?<=://)[^\s?#]*[?#]([^\s'\"]+)"),
    re.compile(r"(?<![\w-])(?<!sha256:)((?:[A-Za-z0-9]+-)?(?=(?:\w*\d){4})\w{40,})(?![\w-])"),
)


def keys_in_settings(tree: Mapping[str, Any]) -> Iterator[Finding]:
    """Find API keys among the settings; `tree` has passed the schema, which lets these through."""
    hint = _how_to(tree)
    groups: list[tuple[Path, Mapping[str, Any], re.Pattern[str]]] = [
        ((), tree, _SETTING),
        (("wandb",), tree["wandb"], _OF_WANDB),
        (("server",), tree["server"], _SETTING),
    ]
    for place, settings, pattern in groups:
        for name in sorted(settings):
            if pattern.fullmatch(name) and (*place, name) != ("server", "apiKeys"):
                yield Finding((*place, name), NOT_A_SETTING, hint, at_key=True)
    for place, settings in (
        (("wandb",), tree["wandb"]),
        (("server", "apiKeys"), tree["server"]["apiKeys"]),
        (("server", "metrics"), tree["server"].get("metrics", {})),
    ):
        for name in ("secretKey", "secretName"):
            if _KEY.fullmatch(settings.get(name, "")):
                yield Finding((*place, name), IS_A_KEY, hint)
    for index, variable in enumerate(tree["extraEnv"]):
        if variable["name"] == _VARIABLE:
            message = f"the Job sets {_VARIABLE} itself, from a Secret"
            yield Finding(("extraEnv", index, "name"), message, hint)
    for key in ("sidecars", "initContainers"):
        for index, container in enumerate(tree[key]):
            env = container.get("env")
            for at, variable in enumerate(env if isinstance(env, list) else ()):
                is_key = isinstance(variable, Mapping) and variable.get("name") == _VARIABLE
                if is_key and "value" in variable:
                    yield Finding((key, index, "env", at, "value"), NOT_A_SETTING, hint)


def _how_to(tree: Mapping[str, Any]) -> str:
    name, key = (
        default if _KEY.fullmatch(tree["wandb"][setting]) else tree["wandb"][setting]
        for setting, default in (("secretName", "wandb"), ("secretKey", "apiKey"))
    )
    return (
        f"kubectl create secret generic {name} --from-literal={key}=YOUR_KEY,"
        " or sweepctl submit --create-secret"
    )


def private_texts(value: Any, *, is_private: bool = False, group: str = "") -> Iterator[str]:
    """Give the keys and passwords in settings as the user made them: nobody may see these."""
    if isinstance(value, Mapping):
        variable = str(value.get("name", ""))
        for key, part in value.items():
            is_own = bool(
                _PRIVATE_SETTING.search(str(key))
                or (group == "wandb" and _OF_WANDB.fullmatch(str(key)))
                or (key == "value" and _PRIVATE_VARIABLE.search(variable))
                or key == "wandb"
            )
            is_own = is_own and not isinstance(part, Mapping)
            yield from private_texts(part, is_private=is_own, group=str(key))
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from private_texts(part, is_private=is_private)
    elif is_private and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        yield from filter(None, str(value).splitlines())


def covered(problem: Problem, private: Sequence[str] = ()) -> Problem:
    """Give a complaint in which keys and passwords are covered."""
    source = problem.source and _ASSIGNED.sub(_stars, problem.source)
    message, hint, source = (
        text and _covered(text, private) for text in (problem.message, problem.hint, source)
    )
    return replace(problem, message=message or "", hint=hint, source=source)


def _covered(text: str, private: Sequence[str]) -> str:
    for word in private:
        text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", "*" * len(word), text)
    for pattern in _PRIVATE_TEXT:
        text = pattern.sub(_stars, text)
    return text


def _stars(match: re.Match[str]) -> str:
    begin, end = (at - match.start() for at in match.span(1))
    return match[0][:begin] + "*" * (end - begin) + match[0][end:]
