"""docs/commands.md says what the command line says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_is_what_the_command_line_says() -> None:
    result = subprocess.run([sys.executable, str(DOCS / "make_commands.py"), "--check"], check=False)
    assert result.returncode == 0, "run `make docs`"


def test_every_command_and_option_is_documented_and_explained() -> None:
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    for command in ("generate", "retake", "choose", "status", "export", "doctor", "script check", "models download"):
        assert f"## `storymem {command}`" in page
    unexplained = [line for line in page.splitlines() if line.startswith("| `") and line.split("|")[2].strip() == ""]
    assert not unexplained
