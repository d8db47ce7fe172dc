"""Names of projects and entities: what the wandb client refuses in one, and what comes near it.

It also refuses what would break a line or a terminal. Whether there is such a project or entity
only its server knows.
"""

from __future__ import annotations

import re

_UNFIT = re.compile(r"[/\\#?%:\x00-\x1f\x7f]")
_MAX_LENGTH = 128
_MAX_SHOWN = 60


def unfit_name(kind: str, name: str) -> str | None:
    """Say why `name` cannot be that of a project or an entity, if so."""
    unfit = _UNFIT.search(name)
    if unfit:
        why = f"{unfit[0]!r} cannot stand in it"
    elif name != name.strip():
        why = "it begins or ends with a space"
    elif len(name) > _MAX_LENGTH:
        why = f"it has {len(name)} characters, and W&B takes {_MAX_LENGTH}"
    else:
        return None
    shown = name if len(name) <= _MAX_SHOWN else name[: _MAX_SHOWN - 3] + "..."
    return f"{shown!r} is no name of {'an' if kind[0] in 'aeiou' else 'a'} {kind}: {why}"


def fit_name(name: str) -> str | None:
    """Give the name that an unfit one comes nearest to, when it can be told."""
    changed = re.sub(f"(?:{_UNFIT.pattern})+", "-", name).strip(" -")
    return changed if changed and len(changed) <= _MAX_LENGTH else None
