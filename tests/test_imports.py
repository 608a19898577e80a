"""The architecture holds: imports point up one list, and the light modules stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "storymem"
# Each may import what stands before it (and itself); the design's one road.
LAYERS = [
    "errors",
    "settings",
    "story",
    "media",
    "memory",
    "conditioning",
    "models",
    "sampling",
    "guidance",
    "pipeline",
    "film",
    "training",
    "bench",
    "worlds",
    "cli",
]
TORCH_FREE = [
    "storymem",
    "storymem.story",
    "storymem.media",
    "storymem.memory.bank",
    "storymem.film.director",
    "storymem.cli.app",
]


def imported_layers(file: Path) -> set[str]:
    layers = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("storymem."):
            layers.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            layers |= {a.name.split(".")[1] for a in node.names if a.name.startswith("storymem.")}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{file}: relative import"
    return layers


def layer_of(file: Path) -> str:
    return file.relative_to(SRC).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", sorted(SRC.rglob("*.py")), ids=lambda f: str(f.relative_to(SRC)))
def test_imports_point_up_the_list(file: Path) -> None:
    layer = layer_of(file)
    if layer in ("__init__", "__main__"):
        return
    below = imported_layers(file) - set(LAYERS[: LAYERS.index(layer) + 1])
    assert not below, f"{layer} must not import {sorted(below)}"


@pytest.mark.parametrize("module", TORCH_FREE)
def test_light_modules_do_not_import_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit(3 if 'torch' in sys.modules else 0)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_test_file_has_a_name_of_its_own() -> None:
    """pytest imports test files by their bare names, so two of one name cannot both be collected."""
    names = [path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
