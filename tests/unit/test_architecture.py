"""The table of rooms: which module may import which. Imports go down, never up."""

import ast
import sys
from pathlib import Path

import pytest

import sweepctl

ROOT = Path(sweepctl.__file__).parent
RING = {
    **dict.fromkeys(["errors", "overrides", "command", "stored_form", "wandb_connection"], 0),
    **dict.fromkeys(["run_parameters", "run_record", "shell_script"], 0),
    **dict.fromkeys(["wandb_http", "wandb_outputs", "wandb_summary"], 0),
    **dict.fromkeys(["pod", "document", "spec", "values", "manifest", "log_lines"], 1),
    **dict.fromkeys(["status", "progress", "extras"], 1),
    **dict.fromkeys(["server", "cluster", "wandb_api"], 2),
    **dict.fromkeys(["embedded", "launch", "local", "logs", "preview", "report", "run_output"], 3),
    **dict.fromkeys(["api_key", "tables", "visit", "doctor_checks"], 3),
    **dict.fromkeys(["submission", "submit", "resubmit", "admission", "targets"], 3),
    **dict.fromkeys(["agents_status", "live", "steer", "doctor"], 3),
    **dict.fromkeys(["gpus"], 3),
    **dict.fromkeys(["cli", "__main__"], 4),
}
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.name != "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names if node.module == "sweepctl" else {node.module}
    return found


def rooms_imported(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("sweepctl.")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_imports_only_its_own_room_or_rings_not_above(path: Path) -> None:
    own = room(path)
    assert own in RING, f"{own} has no place in the table of rooms"
    above = {other for other in rooms_imported(path) if other != own and RING[other] > RING[own]}
    assert not above, f"{own} (ring {RING[own]}) imports {sorted(above)} from above"


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if room(path) == "pod" or RING.get(room(path)) == 0],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_pod_code_and_ring_0_import_the_standard_library_alone(path: Path) -> None:
    allowed = set(sys.stdlib_module_names) | {"sweepctl"}
    if path.name == "in_trainer.py":
        allowed |= {"yaml"}
    assert {name.split(".")[0] for name in imports(path)} <= allowed
    beyond = {other for other in rooms_imported(path) if other != "pod" and RING[other] > 0}
    assert not beyond, f"pod code is not carried with {sorted(beyond)}"


def test_only_the_servers_storage_speaks_sql() -> None:
    users = {str(path.relative_to(ROOT)) for path in MODULES if "sqlite3" in imports(path)}
    assert users == {f"server/{name}.py" for name in ("database", "lines", "store")}


def test_importing_the_package_imports_nothing() -> None:
    assert (ROOT / "__init__.py").read_text().strip() == ""
