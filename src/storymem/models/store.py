"""Where models are kept on this machine, and finding one by name or by folder.

Everything lies under ``STORYMEM_HOME`` if that is set; else downloads go to the user's data folder and what can be made
again to the user's cache (both as the operating system has them).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from storymem.errors import ModelError, StorageError
from storymem.models.catalog import CATALOG, ModelEntry, entry

__all__ = [
    "Lock",
    "cache_folder",
    "downloaded",
    "folder_of",
    "locate",
    "lock_path",
    "models_folder",
    "provenance",
    "read_lock",
    "write_lock",
]


def models_folder() -> Path:
    """Where downloaded models are kept."""
    home = os.environ.get("STORYMEM_HOME")
    if home:
        return Path(home).expanduser() / "models"
    from platformdirs import user_data_path

    return user_data_path("storymem") / "models"


def cache_folder() -> Path:
    """Where things are kept that can be made again."""
    home = os.environ.get("STORYMEM_HOME")
    if home:
        return Path(home).expanduser() / "cache"
    from platformdirs import user_cache_path

    return user_cache_path("storymem")


@dataclass(frozen=True, slots=True)
class Lock:
    """What exactly was downloaded.

    Attributes:
        repo: repository on the hub.
        revision: commit hash.
        sizes: file → bytes.
        sha256: file → SHA-256, for those files for which the hub says it (the large ones).
    """

    repo: str
    revision: str
    sizes: dict[str, int]
    sha256: dict[str, str]


def folder_of(item: ModelEntry) -> Path:
    """The folder an entry is downloaded to; its `subfolder` inside is the model."""
    return models_folder() / item.name


def lock_path(item: ModelEntry) -> Path:
    """The lock file of an entry; it exists once the download is complete."""
    return models_folder() / f"{item.name}.lock.json"


def read_lock(item: ModelEntry) -> Lock | None:
    """The lock of a complete download, or None.

    Raises:
        ModelError: the lock file is damaged.
    """
    path = lock_path(item)
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Lock(str(data["repo"]), str(data["revision"]), dict(data["sizes"]), dict(data["sha256"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: is damaged; delete it and run `storymem models download {item.name}`.") from error


def write_lock(item: ModelEntry, lock: Lock) -> None:
    """Write the lock of a complete download, all or nothing.

    Raises:
        StorageError: the disk refused.
    """
    path = lock_path(item)
    data = {"repo": lock.repo, "revision": lock.revision, "sizes": lock.sizes, "sha256": lock.sha256}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise StorageError(path, error) from error


def downloaded(name: str) -> Path | None:
    """The folder of a catalogue entry, if it was downloaded with `storymem models download`; None otherwise."""
    item = CATALOG.get(name)
    if item is None or item.repo is None or read_lock(item) is None:
        return None
    return folder_of(item) / item.subfolder


def provenance(name: str) -> str | None:
    """``repository@revision`` of a catalogue entry that was downloaded: what its weights are, wherever they lie."""
    item = CATALOG.get(name)
    lock = None if item is None or item.repo is None else read_lock(item)
    return None if lock is None else f"{lock.repo}@{lock.revision}"


def locate(name: str | Path) -> Path:
    """The folder (or file) of a model or LoRA, by the name it has in the catalogue or by its path.

    A name of the catalogue comes first; a folder that is called the same is meant by ``./name``. ``storyland`` comes
    with this package; ``tiny-random`` is made if it is not there yet.

    Raises:
        ModelError: there is no such name or path, or it is not downloaded; says how to get it.
    """
    if str(name) not in CATALOG:
        path = Path(name).expanduser()
        if path.exists():
            return path
        if isinstance(name, Path) or path.name != str(name):
            raise ModelError(f"{path}: there is no such folder or file; `storymem models list` shows what has a name.")
    item = entry(str(name))
    packaged = Path(__file__).with_name("packaged") / item.name
    if packaged.is_dir():
        return packaged
    if item.repo is None:
        from storymem.models.tiny import tiny_random

        return tiny_random()
    folder = folder_of(item) / item.subfolder
    if read_lock(item) is None or not folder.is_dir():
        raise ModelError(
            f"The model {item.name} is not on this machine yet: run `storymem models download {item.name}` "
            f"(about {item.download_gb:g} GB)."
        )
    return folder
