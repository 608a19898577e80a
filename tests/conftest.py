"""What all tests share. Nothing here reaches the network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Tests run side by side (pytest -n): threads that fight for the same cores make torch ten times slower than one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

REFERENCE = Path(__file__).parent / "data" / "reference_cases"


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """A tiny checkpoint in the original on-disk layout, with random weights and the method's LoRA."""
    return REFERENCE / "checkpoint"


@pytest.fixture(scope="session")
def reference_cases() -> Path:
    """What the method's public code computed with that checkpoint."""
    return REFERENCE
