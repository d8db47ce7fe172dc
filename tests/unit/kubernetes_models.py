"""Kubernetes' own field names, from the official client's models, which are made of its OpenAPI."""

import re
from typing import Any

from kubernetes.client import models


def unknown_fields(piece: dict[str, Any]) -> list[str]:
    """List the fields of an object that Kubernetes does not know, and those of a wrong type."""
    assert hasattr(models, f"V1{piece['kind']}"), f"no model of a {piece['kind']}"
    return list(_unknown(piece, f"V1{piece['kind']}", piece["kind"]))


def _unknown(value: Any, kind: str, place: str) -> list[str]:
    items = re.fullmatch(r"(?i:list\[(.+)\]|dict\(str, (.+)\)|dict\[str, (.+)\])", kind)
    if items and items[1]:
        if not isinstance(value, list):
            return [f"{place} is no list"]
        pairs = [(f"{place}[{number}]", item) for number, item in enumerate(value)]
        return [found for at, item in pairs for found in _unknown(item, items[1], at)]
    if items:
        if not isinstance(value, dict):
            return [f"{place} is no map"]
        inner = items[2] or items[3]
        return [f for key, item in value.items() for f in _unknown(item, inner, f"{place}.{key}")]
    plain = {"str": str, "int": int, "bool": bool}.get(kind)
    if plain is not None:
        return [] if type(value) is plain else [f"{place} is no {kind}"]
    model = getattr(models, kind, None)
    if model is None:
        return []
    if not isinstance(value, dict):
        return [f"{place} is no map"]
    names = {json: python for python, json in model.attribute_map.items()}
    found = [f"{place}.{key}" for key in value if key not in names]
    for key in value.keys() & names.keys():
        found += _unknown(value[key], model.openapi_types[names[key]], f"{place}.{key}")
    return found
