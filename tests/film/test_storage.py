from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storymem.errors import FilmDamagedError, StorageError
from storymem.film.record import canonical_json, digest_of, pack_record, unpack_record
from storymem.film.sealed import check_content, read_seal, seal, set_aside
from storymem.film.storage import (
    TEMPORARY,
    make_folder,
    publish_folder,
    replace_file,
    storing,
    sweep,
    temporary_folder,
    write_file,
)


def test_replace_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, b"old")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_replace_file_that_cannot_be_renamed_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.mkdir()
    with pytest.raises(StorageError, match=r"file: could not be written \(Is a directory\)"):
        replace_file(path, b"new")
    assert list(tmp_path.iterdir()) == [path]


def test_replace_file_over_what_a_killed_process_of_the_same_number_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    (tmp_path / f"{TEMPORARY}file-{os.getpid()}").write_bytes(b"ha")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_on_a_drive_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storymem.film.storage._is_folder", lambda path: False)  # not even its root is there
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_write_file_never_writes_over_another(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"one")
    with pytest.raises(StorageError, match="File exists"):
        write_file(tmp_path / "file", b"two")
    assert (tmp_path / "file").read_bytes() == b"one"


def test_write_file_on_a_real_full_disk() -> None:
    with pytest.raises(StorageError, match="No space left on device") as caught, storing(Path("/dev/full")):
        Path("/dev/full").write_bytes(b"x")
    assert caught.value.exit_code == 1


def test_make_folder_makes_those_above_it(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b" / "c")
    make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    write_file(tmp_path / "a" / "file", b"")
    with pytest.raises(StorageError, match=r"Not a directory|File exists"):
        make_folder(tmp_path / "a" / "file" / "b")


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    final = tmp_path / "final"
    with temporary_folder(tmp_path, "final") as folder:
        assert folder.name.startswith(TEMPORARY)
        write_file(folder / "file", b"content")
        assert not final.exists()
        publish_folder(folder, final)
    assert [path.name for path in tmp_path.iterdir()] == ["final"]
    assert (final / "file").read_bytes() == b"content"


def test_an_unfinished_folder_is_removed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), temporary_folder(tmp_path, "final") as folder:  # noqa: PT012
        write_file(folder / "file", b"content")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_a_process_with_our_id_left_is_no_obstacle(tmp_path: Path) -> None:
    left = tmp_path / f"{TEMPORARY}final-{os.getpid()}"
    left.mkdir()
    write_file(left / "old", b"")
    with temporary_folder(tmp_path, "final") as folder:
        assert list(folder.iterdir()) == []


def test_publishing_never_replaces_a_folder(tmp_path: Path) -> None:
    make_folder(tmp_path / "final")
    write_file(tmp_path / "final" / "mine", b"")
    with pytest.raises(StorageError, match="not empty"), temporary_folder(tmp_path, "final") as folder:
        publish_folder(folder, tmp_path / "final")
    assert [path.name for path in (tmp_path / "final").iterdir()] == ["mine"]


def test_sweep_takes_only_what_is_unfinished(tmp_path: Path) -> None:
    make_folder(tmp_path / f"{TEMPORARY}a-1" / "deep")
    write_file(tmp_path / f"{TEMPORARY}b-2", b"")
    write_file(tmp_path / "kept", b"")
    outside = tmp_path.with_name("outside")
    make_folder(outside)
    write_file(outside / "precious", b"")
    (tmp_path / f"{TEMPORARY}link").symlink_to(outside)
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (outside / "precious").exists()


def test_a_storage_error_says_where_and_why() -> None:
    with pytest.raises(StorageError) as caught, storing(Path("film/takes")):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    assert str(caught.value).startswith("film/takes: could not be written (Input/output error)")
    assert "run the same command again" in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text().filter(lambda name: name != "sha256"), JSON, max_size=4))
def test_records_come_back(value: dict[str, object]) -> None:
    assert unpack_record(pack_record(value)) == value


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_a_digest_does_not_depend_on_order(value: dict[str, object]) -> None:
    assert digest_of(value) == digest_of(dict(reversed(value.items())))


def test_canonical_json_is_pinned() -> None:
    """Keys of takes rest on this: another text would make every film stale."""
    value = {"b": [1, 1.0, True, None], "a": "Zoë"}
    assert canonical_json(value) == '{"a":"Zoë","b":[1,1.0,true,null]}'.encode()
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(float("nan"))


def test_any_wrong_bit_in_a_record_is_seen() -> None:
    data = pack_record({"prompt": "A tower.", "seed": 3})
    for position in range(len(data) - 1):  # the last byte is the end of the line
        for bit in range(8):
            broken = bytearray(data)
            broken[position] ^= 1 << bit
            try:
                assert unpack_record(bytes(broken)) == {"prompt": "A tower.", "seed": 3}  # blanks between words
            except ValueError:
                continue


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"sha256": 3}', b"\xff", b"[" * 100_000])
def test_what_is_no_record(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"it is not readable JSON|it has no checksum"):
        unpack_record(data)


def test_a_seal_tells_of_every_change(tmp_path: Path) -> None:
    make_folder(tmp_path / "sub")
    write_file(tmp_path / "a", b"aaa")
    write_file(tmp_path / "sub" / "b", b"bbb")
    seal(tmp_path, "record.json", {"fact": 1}, ["a", "sub/b"])
    record = read_seal(tmp_path, "record.json")
    assert record["fact"] == 1
    check_content(tmp_path, record["files"])
    (tmp_path / "sub" / "b").write_bytes(b"bbc")
    with pytest.raises(FilmDamagedError, match="sub/b does not have the content"):
        check_content(tmp_path, read_seal(tmp_path, "record.json")["files"])
    (tmp_path / "sub" / "b").write_bytes(b"bb")
    with pytest.raises(FilmDamagedError, match="sub/b has 2 bytes instead of 3"):
        read_seal(tmp_path, "record.json")
    (tmp_path / "sub" / "b").unlink()
    with pytest.raises(FilmDamagedError, match=r"sub/b cannot be read \(No such file"):
        read_seal(tmp_path, "record.json")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "", "a//b", ".hidden"])
def test_a_seal_never_reads_outside_its_folder(tmp_path: Path, name: str) -> None:
    record = pack_record({"files": {name: {"size": 1, "sha256": "0" * 64}}})
    write_file(tmp_path / "record.json", record)
    with pytest.raises(FilmDamagedError, match="is not a file of this folder"):
        read_seal(tmp_path, "record.json")


def test_set_aside_finds_a_free_name(tmp_path: Path) -> None:
    for number in (1, 2):
        make_folder(tmp_path / "take")
        assert set_aside(tmp_path / "take").name == f".damaged-take-{number}"
