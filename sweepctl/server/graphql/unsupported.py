"""What of W&B this server does not have, in words for those who ask for it."""

from __future__ import annotations

_WITHOUT = (
    ("reports and saved views", ("view", "report")),
    ("launch queues", ("runqueue", "launchagent", "launchjob", "resourceconfig")),
    ("registries", ("registry",)),
    ("automations", ("trigger", "integration", "automation")),
    ("custom charts", ("customchart",)),
    (
        "accounts, teams or organizations",
        ("team", "invite", "user", "apikey", "serviceaccount", "organization", "member"),
    ),
)


_FIELDS = {
    ("Project", "allViews"): "reports and saved views",
    ("Project", "runQueue"): "launch queues",
    ("Project", "runQueues"): "launch queues",
    ("Project", "triggers"): "automations",
    ("Entity", "integrations"): "automations",
}
"""Fields whose null a client would take for an empty list, or stumble over."""


def unsupported_field(type_name: str, name: str) -> str | None:
    """Say what a field is for that clients are told about; None for one that is simply null."""
    what = _FIELDS.get((type_name, name))
    return None if what is None else f"no field {name!r}: this server has no {what}"


def unknown_mutation(name: str) -> str:
    """Say what a mutation of W&B's that this server does not have would need."""
    lower = name.lower()
    for what, parts in _WITHOUT:
        if any(part in lower for part in parts):
            return f"no mutation {name[:100]!r}: this server has no {what}"
    return f"no mutation {name[:100]!r}: this server does not know what it is to do"
