"""Who is there for W&B's client: users by the names they give themselves, entities by any name.

This server has keys and no accounts. Its user is called `local`; who sets `WANDB_USERNAME`, W&B's
own variable for several people behind one key, is known by that name. A user's default entity is
the one of the same name, every entity is open to everybody, and there are no organizations.
"""

from __future__ import annotations

from typing import Any

from sweepctl.server.graphql.context import Fields, Info, context_of, page
from sweepctl.server.store import run_store
from sweepctl.server.store.api_forms import node_id


def user(name: str) -> dict[str, Any]:
    """Give a user as the client sees it."""
    return {
        "id": node_id("User", name),
        "name": name,
        "username": name,
        "email": "",
        "admin": False,
        "flags": "{}",
        "entity": name,
        "teams": {"edges": [{"node": entity(name)}]},
        "apiKeys": {"edges": []},
    }


def entity(name: str) -> dict[str, Any]:
    """Give an entity; every name stands for one."""
    return {
        "id": node_id("Entity", name),
        "name": name,
        "available": False,
        "entityType": "user",
        "isTeam": False,
        "readOnly": False,
        "readOnlyAdmin": False,
        "privateOnly": False,
        "codeSavingEnabled": True,
        "defaultAccess": "USER_WRITE",
        "isPaid": False,
        "xxhashDigestsEnabled": False,
    }


def viewer(root: object, info: Info) -> dict[str, Any]:
    """Give the user who asks, with the key that it asked with by its prefix alone."""
    context = context_of(info)
    found = user(context.user)
    if context.key_prefix:
        prefix = context.key_prefix
        key = {"id": node_id("ApiKey", prefix), "name": prefix, "description": None}
        found["apiKeys"] = {"edges": [{"node": key}]}
    return found


def _users(
    root: object, info: Info, query: str | None = None, first: int | None = None, after: Any = None
) -> dict[str, Any]:
    """List who asks and who has run something; `query` is a name."""
    context = context_of(info)
    with context.database.read() as rows:
        names = sorted({context.user, *run_store.user_names(rows)})
    found = [user(name) for name in names if not query or name == query]
    return page(lambda o, n: found[o : o + n], lambda info: len(found), first, after)


def _members(entity: dict[str, Any], info: Info) -> list[dict[str, Any]]:
    """Give those who may write to an entity, as far as they are known: who asks and who has."""
    context = context_of(info)
    with context.database.read() as rows:
        names = {*run_store.user_names(rows, entity["name"])} or {context.user}
    return [
        {
            **{field: user(name)[field] for field in ("id", "name", "username", "email")},
            "admin": False,
            "pending": False,
            "accountType": "USER",
        }
        for name in sorted(names)
    ]


def _storage_bytes(entity: dict[str, Any], info: Info) -> int:
    with context_of(info).database.read() as rows:
        return run_store.stored_bytes(rows, entity["name"])


QUERY_ACCOUNTS: Fields = {
    "viewer": viewer,
    "users": _users,
    "entity": lambda root, info, name=None: entity(name or context_of(info).user),
    # There is none, and W&B's client says so.
    "organization": lambda root, info, name: None,
}

ENTITY: Fields = {"members": _members, "storageBytes": _storage_bytes}
