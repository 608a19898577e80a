"""Downloads, against a hub of our own on this machine: pinned, resumable, checked, and clear when there is no hub."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from storymem.errors import ModelError
from storymem.models.catalog import CATALOG, ModelEntry
from storymem.models.download import differences, download
from storymem.models.store import Lock, downloaded, folder_of, locate, lock_path, models_folder, read_lock, write_lock

SHA = "0123456789abcdef0123456789abcdef01234567"
ITEM = ModelEntry(
    name="lightning-i2v",
    title="a model",
    kind="lora",
    licence="MIT",
    repo="someone/something",
    patterns=("lora/*",),
    subfolder="lora",
)
FILES = {
    "README.md": b"not wanted",
    "lora/high_noise.safetensors": bytes(range(256)) * 3000,
    "lora/low_noise.safetensors": b"low" * 1000,
    "lora/config.json": b"{}",
}


class Hub:
    """As much of the hub's protocol as a download needs."""

    def __init__(self) -> None:
        self.files = dict(FILES)
        self.sha = SHA
        self.requests: list[str] = []
        self.break_after: int | None = None  # bytes of the first large file that get through, once
        self.broken = False
        self.hashed = True  # whether it says SHA-256, as it does of large files
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, *, body: bool) -> None:
                path = unquote(urlsplit(self.path).path)
                hub.requests.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
                prefix = "/api/models/someone/something"
                if path == prefix or path.startswith(f"{prefix}/revision/"):
                    self.send_json(hub.info(), body=body)
                elif path.startswith(f"{prefix}/tree/"):
                    self.send_json(hub.tree(), body=body)
                elif path.startswith(f"/someone/something/resolve/{hub.sha}/"):
                    self.send_file(path.split(f"/{hub.sha}/", 1)[1], body=body)
                else:
                    self.send_response(404)
                    self.send_header("X-Error-Code", "RepoNotFound")
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def send_json(self, value: object, *, body: bool) -> None:
                data = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if body:
                    self.wfile.write(data)

            def send_file(self, name: str, *, body: bool) -> None:
                data = hub.files[name]
                if hub.broken:
                    self.send_response(500)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                start = 0
                if (wanted := self.headers.get("Range")) and body:
                    start = int(wanted.removeprefix("bytes=").split("-")[0])
                self.send_response(206 if start else 200)
                self.send_header("X-Repo-Commit", hub.sha)
                self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
                self.send_header("Content-Length", str(len(data) - start))
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                self.end_headers()
                if not body:
                    return
                if hub.break_after is not None and len(data) > hub.break_after:
                    self.wfile.write(data[start : hub.break_after])
                    self.wfile.flush()
                    hub.broken = True
                    self.close_connection = True
                    self.connection.close()
                    return
                self.wfile.write(data[start:])

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    def info(self) -> dict[str, object]:
        siblings = [
            {
                "rfilename": name,
                "size": len(data),
                "blobId": hashlib.sha1(data).hexdigest(),
                "lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
                if self.hashed
                else None,
            }
            for name, data in self.files.items()
        ]
        return {"id": "someone/something", "modelId": "someone/something", "sha": self.sha, "siblings": siblings}

    def tree(self) -> list[dict[str, object]]:
        return [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for name, data in self.files.items()
        ]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[Hub]:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    place = Hub()
    place.thread.start()
    yield place
    place.server.shutdown()
    place.server.server_close()


def downloaded_files(folder: Path) -> dict[str, bytes]:
    return {f"lora/{path.name}": path.read_bytes() for path in folder.iterdir()}


def wanted_files(hub: Hub) -> dict[str, bytes]:
    return {name: data for name, data in hub.files.items() if name.startswith("lora/")}


def test_a_download_is_pinned_and_only_what_is_needed(hub: Hub, home: Path) -> None:
    said: list[str] = []
    folder = download(ITEM, endpoint=hub.url, say=said.append)
    assert folder == home / "models" / "lightning-i2v" / "lora"
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "high_noise.safetensors",
        "low_noise.safetensors",
    ]
    assert (folder / "high_noise.safetensors").read_bytes() == FILES["lora/high_noise.safetensors"]
    assert not (folder.parent / "README.md").exists()
    lock = read_lock(ITEM)
    assert lock is not None
    assert lock.revision == SHA
    assert set(lock.sizes) == {name for name in FILES if name.startswith("lora/")}
    assert SHA[:12] in said[0]


def test_the_second_time_asks_for_the_pinned_revision_and_fetches_nothing(hub: Hub) -> None:
    download(ITEM, endpoint=hub.url)
    hub.requests.clear()
    said: list[str] = []
    download(ITEM, endpoint=hub.url, say=said.append)
    assert any(f"/revision/{SHA}" in request for request in hub.requests)
    assert not any(request.startswith("GET /someone") for request in hub.requests)
    assert "0.0 of" in said[0]


def test_an_interrupted_download_goes_on_where_it_stopped(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 65536)
    hub.break_after = 300_000
    with pytest.raises(ModelError, match=r"the download stopped .* run the same command again"):
        download(ITEM, endpoint=hub.url)
    assert read_lock(ITEM) is None
    with pytest.raises(ModelError, match="not on this machine yet"):
        locate("lightning-i2v")
    hub.break_after, hub.broken = None, False
    hub.requests.clear()
    folder = download(ITEM, endpoint=hub.url)
    assert (folder / "high_noise.safetensors").read_bytes() == FILES["lora/high_noise.safetensors"]
    assert [request.split()[-1] for request in hub.requests if "high_noise" in request] == ["bytes=262144-"]
    assert not list(folder.rglob("*.part"))


def test_what_came_needs_no_room_again(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 65536)
    hub.break_after = 700_000
    with pytest.raises(ModelError, match="the download stopped"):
        download(ITEM, endpoint=hub.url)
    hub.break_after, hub.broken = None, False
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 300_000, 300_000))
    assert downloaded_files(download(ITEM, endpoint=hub.url)) == wanted_files(hub)


def test_a_revision_with_files_of_the_same_sizes(hub: Hub) -> None:
    folder = download(ITEM, endpoint=hub.url)
    hub.sha = "f" * 40
    hub.files["lora/high_noise.safetensors"] = FILES["lora/high_noise.safetensors"][::-1]
    hub.files["lora/config.json"] = b"[]"
    hub.requests.clear()
    download(ITEM, revision=hub.sha, endpoint=hub.url)
    assert downloaded_files(folder) == wanted_files(hub)
    assert not any("low_noise" in request for request in hub.requests), "it is the same in both revisions"
    lock = read_lock(ITEM)
    assert lock is not None
    assert lock.revision == hub.sha


def test_a_small_file_without_a_hash_is_got_again_with_another_revision(hub: Hub) -> None:
    hub.hashed = False
    folder = download(ITEM, endpoint=hub.url)
    hub.requests.clear()
    download(ITEM, endpoint=hub.url)
    assert not any(request.startswith("GET /someone") for request in hub.requests)
    hub.sha = "f" * 40
    hub.files["lora/config.json"] = b"[]"
    download(ITEM, revision=hub.sha, endpoint=hub.url)
    assert downloaded_files(folder) == wanted_files(hub)


def test_a_move_to_another_revision_that_stops_half_way_is_no_download(hub: Hub) -> None:
    folder = download(ITEM, endpoint=hub.url)
    hub.sha = "e" * 40
    hub.files["lora/high_noise.safetensors"] = b"new"
    hub.files["lora/low_noise.safetensors"] = b"z" * 900_000
    hub.break_after = 0
    with pytest.raises(ModelError, match="the download stopped"):  # at the first file: the old model is whole
        download(ITEM, revision=hub.sha, endpoint=hub.url)
    assert read_lock(ITEM) is not None
    hub.break_after, hub.broken = 300_000, False
    with pytest.raises(ModelError, match="the download stopped"):
        download(ITEM, revision=hub.sha, endpoint=hub.url)
    assert read_lock(ITEM) is None
    hub.break_after, hub.broken = None, False
    download(ITEM, revision=hub.sha, endpoint=hub.url)
    assert downloaded_files(folder) == wanted_files(hub)


def test_a_part_with_wrong_bytes_is_not_trusted(hub: Hub, home: Path) -> None:
    name = "high_noise.safetensors"
    digest = hashlib.sha256(FILES[f"lora/{name}"]).hexdigest()
    part = home / "models" / "lightning-i2v" / "lora" / f".{name}.{digest[:16]}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    with pytest.raises(ModelError, match="not what the hub promised"):
        download(ITEM, endpoint=hub.url)
    part.write_bytes(b"x" * 1_000_000)  # longer than the file: of no use
    assert (download(ITEM, endpoint=hub.url) / name).read_bytes() == FILES[f"lora/{name}"]


def test_a_hub_that_names_files_elsewhere(hub: Hub) -> None:
    hub.files["lora/../../../.bashrc"] = b"rm"
    with pytest.raises(ModelError, match="outside of its folder"):
        download(ITEM, endpoint=hub.url)


def test_two_downloads_of_one_model(hub: Hub, home: Path) -> None:
    from filelock import FileLock

    (home / "models").mkdir(parents=True)
    with FileLock(home / "models" / ".lightning-i2v.busy"), pytest.raises(ModelError, match="another process"):
        download(ITEM, endpoint=hub.url)


def test_damage_is_found_and_mended(hub: Hub) -> None:
    folder = download(ITEM, endpoint=hub.url)
    lock = read_lock(ITEM)
    assert lock is not None
    assert differences(folder.parent, lock, hashes=True) == []
    file = folder / "low_noise.safetensors"
    file.write_bytes(b"LOW" * 1000)
    assert differences(folder.parent, lock) == []
    assert differences(folder.parent, lock, hashes=True) == [
        "lora/low_noise.safetensors has other content than was downloaded (SHA-256)"
    ]
    download(ITEM, endpoint=hub.url)
    assert differences(folder.parent, lock, hashes=True) == []
    file.write_bytes(b"low")
    assert differences(folder.parent, lock) == ["lora/low_noise.safetensors has 3 bytes instead of 3000"]
    file.unlink()
    assert differences(folder.parent, lock) == ["lora/low_noise.safetensors is missing"]
    download(ITEM, endpoint=hub.url)
    assert differences(folder.parent, lock, hashes=True) == []


def test_a_repository_without_the_files(hub: Hub) -> None:
    hub.files = {"README.md": b"x"}
    with pytest.raises(ModelError, match=r"has none of the files lora/\*"):
        download(ITEM, endpoint=hub.url)


def test_no_such_repository(hub: Hub) -> None:
    item = ModelEntry(name="x", title="x", kind="i2v", licence="", repo="no/such", patterns=("*",))
    with pytest.raises(ModelError, match="no such repository or revision"):
        download(item, endpoint=hub.url)


def test_not_enough_room(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(ModelError, match="are free; make room"):
        download(ITEM, endpoint=hub.url)


def test_no_hub(home: Path) -> None:
    with pytest.raises(ModelError, match=r"the hub cannot be reached .* copy the files"):
        download(ITEM)  # the tests are offline (HF_HUB_OFFLINE)


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(ModelError, match="the hub cannot be reached"):
        download(ITEM, endpoint="http://127.0.0.1:9")


def test_what_is_made_on_the_spot_is_not_downloaded(home: Path) -> None:
    from storymem.models.catalog import entry

    with pytest.raises(ModelError, match="nothing to download"):
        download(entry("tiny-random"))


def test_a_damaged_lock_is_said(home: Path) -> None:
    lock_path(ITEM).parent.mkdir(parents=True)
    lock_path(ITEM).write_text("{")
    with pytest.raises(ModelError, match=r"lightning-i2v\.lock\.json: is damaged"):
        read_lock(ITEM)
    write_lock(ITEM, Lock("a/b", SHA, {"x": 1}, {}))
    assert read_lock(ITEM) == Lock("a/b", SHA, {"x": 1}, {})
    assert [path.name for path in models_folder().iterdir()] == ["lightning-i2v.lock.json"]


def test_locating_by_path_and_by_name(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    assert locate(tmp_path / "mine") == tmp_path / "mine"
    monkeypatch.chdir(tmp_path)
    assert locate("mine") == Path("mine")
    with pytest.raises(ModelError, match="no such folder or file"):
        locate(str(tmp_path / "other"))
    with pytest.raises(ModelError, match="There is no model 'other'"):
        locate("other")
    with pytest.raises(ModelError, match=r"storymem models download wan2\.2-i2v-a14b` \(about 126 GB\)"):
        locate("wan2.2-i2v-a14b")


@pytest.mark.usefixtures("home")
def test_what_was_downloaded_is_found_by_name() -> None:
    """So that an encoder that was downloaded needs no connection later."""
    assert downloaded("clip-vit-b32") is None
    assert downloaded("builtin") is None
    item = CATALOG["clip-vit-b32"]
    write_lock(item, Lock("openai/clip-vit-base-patch32", SHA, {}, {}))
    assert downloaded("clip-vit-b32") == folder_of(item)


def test_every_pin_is_a_commit() -> None:
    pins = [item.revision for item in CATALOG.values() if item.revision is not None]
    assert len(pins) >= 7
    assert all(len(pin) == 40 and set(pin) <= set("0123456789abcdef") for pin in pins)
