"""Nested parameters that lack their `parameters:`: which keys they are, and what to write.

W&B's form has `parameters:` above each level of names; people forget one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sweepctl.sweepfile.checker import Checker, listed, short_text
from sweepctl.sweepfile.document import Path
from sweepctl_pod.errors import nearest
from sweepctl_pod.overrides import PATH_SUFFIX, TABLE_SUFFIX
from sweepctl_pod.stored_form import PARAMETER_KEYS

_NEVER_A_NAME = ("distribution", "value", "values", "probabilities", "min", "max", "parameters")
"""What is W&B's key even where a map stands, which a `q` or a `sigma` is not."""


def looks_like_parameter(value: object) -> bool:
    """Tell whether a map is a parameter of W&B's, or holds one at any depth."""
    if not isinstance(value, dict):
        return False
    return any(key in PARAMETER_KEYS or looks_like_parameter(item) for key, item in value.items())


def stray_parameters(spec: Mapping[str, object], parts: Collection[str]) -> list[str]:
    """Give the keys of a parameter that are names of nested ones without `parameters:` above.

    `parts` are keys with a meaning of their own. A map of nothing but unknown keys, none of them
    like a known one, is nested as a whole.
    """
    known = (*PARAMETER_KEYS, *parts)
    strays = [
        key
        for key, value in spec.items()
        if key not in _NEVER_A_NAME
        and not key.endswith((PATH_SUFFIX, TABLE_SUFFIX))
        and isinstance(value, dict)
        and (key in PARAMETER_KEYS or key == "type" or _is_unknown_name(key, value, known))
    ]
    others = [key for key in spec if key not in strays]
    if strays and any(key in known for key in others):
        return strays
    if strays or not any(key in known or nearest(key, known) for key in others):
        return list(spec)
    return []


def complain_of_strays(
    checker: Checker, path: Path, own: Mapping[str, object], strays: Mapping[str, object]
) -> Mapping[str, object]:
    """Complain about them, once for each map; give those that are yet to be checked themselves."""
    name = str(path[-1])
    if "parameters" in own:
        for key in strays:
            checker.error(
                (*path, key),
                f"{key} stands beside `parameters:`, where W&B takes no name",
                f"move {key} below `parameters:`, indented like the names there",
                at_key=True,
            )
        return strays
    if own:
        for key in strays:
            checker.error(
                (*path, key),
                f"{key} is a parameter inside one that has {listed(own)}",
                f"make it a parameter beside {name}, or remove {listed(own)} and put"
                f" `parameters:` above {key}",
                at_key=True,
            )
        return strays
    whole = short_text({name: _nested(strays)})
    checker.error(
        path,
        _told(strays, f"right below {name}"),
        f"write {whole[1:-1]}{_or_constant(name, strays)}" if whole else _indent_hint(strays),
        at_key=True,
    )
    return {} if whole else {key: item for key, item in strays.items() if isinstance(item, dict)}


def complain_at_the_top(
    checker: Checker, root: Mapping[str, object], known: Collection[str]
) -> Collection[str]:
    """Complain of parameters that stand at the top of the file; give their names."""
    strays = {
        key: value
        for key, value in root.items()
        if key not in known
        and not key.startswith(("_", "x-", "."))
        and looks_like_parameter(value)
        and not nearest(key.lower(), ("parameters", "metric"))
    }
    if strays:
        whole = short_text({"parameters": strays})
        if "parameters" in root:
            hint = f"move {listed(strays)} below `parameters:`, indented like the names there"
        else:
            hint = f"write {whole[1:-1]}" if whole else _indent_hint(strays)
        checker.error((next(iter(strays)),), _told(strays, "at the top"), hint, at_key=True)
    return strays


def _told(names: Collection[str], place: str) -> str:
    stand = "stand" if len(names) > 1 else "stands"
    return f"{listed(names)} {stand} {place}: parameters go below `parameters:`"


def _is_unknown_name(key: str, value: object, known: Collection[str]) -> bool:
    maps = [name for name in known if name == "parameters" or name not in PARAMETER_KEYS]
    return key not in known and looks_like_parameter(value) and not nearest(key, maps)


def _nested(names: Mapping[str, object]) -> dict[str, object]:
    return {"parameters": {key: _as_parameter(item) for key, item in names.items()}}


def _as_parameter(item: object) -> object:
    """Make a parameter of what stands for one: a map that is none yet, a list, a plain value."""
    if isinstance(item, list):
        return {"values": item}
    if not isinstance(item, dict):
        return {"value": item}
    return item if any(key in PARAMETER_KEYS for key in item) else _nested(item)


def _or_constant(name: str, strays: Mapping[str, object]) -> str:
    """Give the other thing that a map of plain values may be meant for."""
    constant = short_text({name: {"value": strays}})
    if constant is None or any(map(looks_like_parameter, strays.values())):
        return ""
    return f", or {constant[1:-1]} for one constant map"


def _indent_hint(strays: Collection[str]) -> str:
    first = next(iter(strays))
    return f"put a line `parameters:` above {first}, and indent {listed(strays)} below it"
