"""Kubernetes' JSON schemas for kubeconform, strict, made of the OpenAPI that its module carries."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

MODULE = Path(__file__).parents[1] / "testbed" / "go" / "kubernetes"
GROUPS = {
    "api__v1": "v1",
    "apis__apps__v1": "apps-v1",
    "apis__batch__v1": "batch-v1",
    "apis__networking.k8s.io__v1": "networking-v1",
    "apis__policy__v1": "policy-v1",
}
ADD_ONS = Path(__file__).parents[1] / "data" / "crds"
"""The schemas of the kinds that Kubernetes does not have itself, as their add-ons publish them."""
LOCATION = "{{.ResourceKind}}{{.KindSuffix}}.json"


def write_schemas(folder: Path) -> bool:
    """Write a schema for each kind of the groups in use; False when there is no module."""
    module = _module()
    if module is None:
        return False
    for group, suffix in GROUPS.items():
        text = (module / "api" / "openapi-spec" / "v3" / f"{group}_openapi.json").read_text()
        schemas = json.loads(text)["components"]["schemas"]
        definitions = {name: _strict(schema) for name, schema in schemas.items()}
        for name, schema in definitions.items():
            for kind in schema.get("x-kubernetes-group-version-kind", ()):
                whole = {"$ref": f"#/definitions/{name}", "definitions": definitions}
                file = folder / f"{kind['kind'].lower()}-{suffix}.json"
                file.write_text(json.dumps(whole))
    for file in sorted(ADD_ONS.glob("*.json")):
        (folder / file.name).write_text(json.dumps(_strict(json.loads(file.read_text()))))
    return True


def _module() -> Path | None:
    """Find the source of Kubernetes that the test bed is built of."""
    if shutil.which("go") is None:
        return None
    command = ["go", "mod", "download", "-json", "k8s.io/kubernetes"]
    done = subprocess.run(command, cwd=MODULE, capture_output=True, text=True, check=False)
    return Path(json.loads(done.stdout)["Dir"]) if done.returncode == 0 else None


def _strict(schema: Any) -> Any:
    """Make an OpenAPI schema a JSON schema that allows no other fields."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _strict(part) for key, part in schema.items()}
    if "$ref" in found:
        found["$ref"] = found["$ref"].replace("#/components/schemas/", "#/definitions/")
    if isinstance(found.get("properties"), dict):
        found.setdefault("additionalProperties", False)
    if found.get("format") == "int-or-string" or found.get("x-kubernetes-int-or-string"):
        found = {"oneOf": [{"type": "string"}, {"type": "integer"}]}
    return found
