from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from filming import Studio


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path / "film")


@pytest.fixture(scope="session")
def finished_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished film of three shots; a cut, a shot that continues it, a cut."""
    studio = Studio(tmp_path_factory.mktemp("finished") / "film")
    studio.generate()
    return studio.folder


@pytest.fixture
def finished(studio: Studio, finished_folder: Path) -> Studio:
    """A studio with a finished film; every test has its own copy."""
    shutil.copytree(finished_folder, studio.folder)
    return studio
