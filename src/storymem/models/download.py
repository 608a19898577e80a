"""Getting a model of the catalogue from the Hugging Face hub: pinned, resumable, checked."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from storymem.errors import ModelError, StorageError
from storymem.models.catalog import ModelEntry
from storymem.models.store import Lock, folder_of, lock_path, read_lock, write_lock

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

__all__ = ["Listing", "differences", "download", "list_files"]


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of one revision that an entry needs.

    Attributes:
        revision: commit hash.
        sizes: file → bytes.
        sha256: file → SHA-256, for the files for which the hub says it.
    """

    revision: str
    sizes: dict[str, int]
    sha256: dict[str, str]


def list_files(item: ModelEntry, *, revision: str | None = None, endpoint: str | None = None) -> Listing:
    """Ask the hub which files an entry needs.

    The revision is, in this order: `revision`; the one pinned in the catalogue; the one of an earlier download, from
    its lock file; the newest one.

    Args:
        item: an entry with a repository.
        revision: a commit hash, branch or tag.
        endpoint: address of the hub; None: the usual one, or what ``HF_ENDPOINT`` says.

    Raises:
        ModelError: the hub cannot be reached, or has no such repository, revision or files.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    assert item.repo is not None, f"{item.name} is not on the hub"
    lock = read_lock(item)
    wanted = revision or item.revision or (lock.revision if lock else None)
    place = f"{item.repo} (revision {wanted})" if wanted else item.repo
    try:
        info: ModelInfo = HfApi(endpoint=endpoint).model_info(item.repo, revision=wanted, files_metadata=True)
    except GatedRepoError as error:
        raise ModelError(
            f"{place}: its owner gives access on request; ask for it on its page, then run `hf auth login`."
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise ModelError(f"{place}: the hub has no such repository or revision; check the name.") from error
    except HfHubHTTPError as error:
        raise ModelError(f"{place}: the hub answered with an error ({_first_line(error)}); try again later.") from error
    except (OSError, _http_error()) as error:
        raise ModelError(_unreachable(place, error)) from error
    sizes: dict[str, int] = {}
    sha256: dict[str, str] = {}
    for file in info.siblings or []:
        if any(fnmatch(file.rfilename, pattern) for pattern in item.patterns):
            if not _is_inside(file.rfilename):
                raise ModelError(f"{place}: lists a file {file.rfilename!r}, which would lie outside of its folder.")
            sizes[file.rfilename] = int(file.size or 0)
            if file.lfs is not None:
                sha256[file.rfilename] = file.lfs.sha256
    if not sizes or info.sha is None:
        raise ModelError(f"{place}: has none of the files {', '.join(item.patterns)}.")
    return Listing(info.sha, sizes, sha256)


def download(
    item: ModelEntry,
    *,
    revision: str | None = None,
    endpoint: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Download an entry, or what is still missing of it, and note in a lock file what exactly it is.

    An interrupted download goes on where it stopped when this is called again. What is there already is compared with
    the hub's SHA-256: a file of the right size may be damaged, or of another revision. A move to another revision that
    is interrupted leaves files of both, so it does not count as downloaded until it is done.

    Args:
        item: an entry with a repository.
        revision: a commit hash, branch or tag instead of the pinned one.
        endpoint: address of the hub; None: the usual one.
        say: gets one line about what is being done.

    Returns:
        the folder of the model.

    Raises:
        ModelError: see `list_files`; or there is not enough room; or what came is not what the hub promised.
        StorageError: the disk refused.
    """
    from filelock import FileLock, Timeout

    if item.repo is None:
        raise ModelError(f"{item.name} is here already; there is nothing to download.")
    listing = list_files(item, revision=revision, endpoint=endpoint)
    folder = folder_of(item)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.busy"), timeout=0):
            before = read_lock(item)
            same = before is not None and before.revision == listing.revision
            missing = _missing(folder, listing, trust_small=same, say=say)
            needed = sum(listing.sizes[name] for name in missing)
            come = sum(min(_size(_part(folder, name, listing)), listing.sizes[name]) for name in missing)
            _check_room(folder, needed - come)
            say(
                f"{item.repo} at {listing.revision[:12]}: {len(missing)} of {len(listing.sizes)} files, "
                f"{needed / 1e9:.1f} of {sum(listing.sizes.values()) / 1e9:.1f} GB to get, into {folder}"
            )
            for name in missing:
                part = _fetch(item.repo, name, listing, folder, endpoint)
                if not same:
                    lock_path(item).unlink(missing_ok=True)
                part.replace(folder / name)
    except Timeout as error:
        raise ModelError(f"{folder}: another process is downloading it; wait for that one.") from error
    except OSError as error:
        raise StorageError(folder, error) from error
    lock = Lock(item.repo, listing.revision, listing.sizes, listing.sha256)
    wrong = differences(folder, lock)
    if wrong:
        raise ModelError(f"{folder}: {'; '.join(wrong[:3])}; run the same command again.")
    write_lock(item, lock)
    return folder / item.subfolder


def _missing(folder: Path, listing: Listing, *, trust_small: bool, say: Callable[[str], None]) -> list[str]:
    """The files that are not there as the hub has them.

    Args:
        folder: of the download.
        listing: what it should be.
        trust_small: whether a file for which the hub says no SHA-256 (a small one) is right if its size is.
        say: as for `download`.
    """
    sized = [name for name, size in listing.sizes.items() if (folder / name).is_file() and _size(folder / name) == size]
    total = sum(listing.sizes[name] for name in sized if name in listing.sha256)
    if total > 1e9:
        say(f"{folder}: comparing the {total / 1e9:.1f} GB that are here with what they should be (SHA-256)")
    good = {
        name
        for name in sized
        if (_sha256(folder / name) == listing.sha256[name] if name in listing.sha256 else trust_small)
    }
    return [name for name in listing.sizes if name not in good]


def _part(folder: Path, name: str, listing: Listing) -> Path:
    """Where what came of a file lies; named after its content, so that a part of another is not gone on with."""
    target = folder / name
    return target.with_name(f".{target.name}.{listing.sha256.get(name, listing.revision)[:16]}.part")


def _fetch(repo: str, name: str, listing: Listing, folder: Path, endpoint: str | None) -> Path:
    """Get one file, whole and compared: into a part file, on which the next call goes on if this one is cut off.

    The library's own downloads begin a cut-off file anew, and these are files of ten gigabytes.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    size, sha256 = listing.sizes[name], listing.sha256.get(name)
    part = _part(folder, name, listing)
    part.parent.mkdir(parents=True, exist_ok=True)
    part.touch()
    try:
        with part.open("r+b") as file:
            start = file.seek(0, os.SEEK_END)
            if start > size:
                start = file.truncate(file.seek(0))
            if start < size:
                http_get(
                    hf_hub_url(repo, name, revision=listing.revision, endpoint=endpoint),
                    file,
                    resume_size=start,
                    headers=build_hf_headers(library_name="storymem"),
                    expected_size=size,
                    displayed_filename=name,
                )
            file.flush()
            os.fsync(file.fileno())
    except (HfHubHTTPError, _http_error(), ConnectionError, TimeoutError) as error:
        raise ModelError(
            f"{name}: the download stopped ({_first_line(error)}); what came is kept: run the same command again to go "
            "on."
        ) from error
    if sha256 is not None and _sha256(part) != sha256:
        part.unlink()
        raise ModelError(f"{name}: what came is not what the hub promised (SHA-256); run the same command again.")
    return part


def differences(folder: Path, lock: Lock, *, hashes: bool = False) -> list[str]:
    """How the files in a folder differ from what was downloaded; an empty list if they do not.

    Args:
        folder: of the download.
        lock: what it should be.
        hashes: also compare SHA-256 (reads everything).
    """
    wrong = []
    for name, size in lock.sizes.items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif path.stat().st_size != size:
            wrong.append(f"{name} has {path.stat().st_size} bytes instead of {size}")
        elif hashes and name in lock.sha256 and _sha256(path) != lock.sha256[name]:
            wrong.append(f"{name} has other content than was downloaded (SHA-256)")
    return wrong


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(path: Path) -> int:
    """Bytes of a file; 0 if there is none."""
    return path.stat().st_size if path.is_file() else 0


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _check_room(folder: Path, needed: int) -> None:
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise ModelError(
            f"{folder}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free; make room, or set "
            "STORYMEM_HOME to a folder on a larger disk."
        )


def _http_error() -> type[Exception]:
    """The base of what the hub's HTTP client raises when nothing answers; which client that is differs by version."""
    from huggingface_hub.errors import HfHubHTTPError

    base: type[Exception] = HfHubHTTPError.__bases__[0]
    return base


def _unreachable(place: str, error: Exception) -> str:
    return (
        f"{place}: the hub cannot be reached ({_first_line(error)}); check the connection and HF_HUB_OFFLINE, or copy "
        "the files from another machine and name their folder."
    )


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
