"""JSON files that know whether they are whole: each carries the SHA-256 of everything else in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["canonical_json", "digest_of", "pack_record", "unpack_record"]

_CHECKSUM = "sha256"


def canonical_json(value: object) -> bytes:
    """The one JSON text of a value: keys sorted, no blanks, UTF-8, no NaN.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def digest_of(value: object) -> str:
    """SHA-256 (hexadecimal) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def pack_record(value: Mapping[str, Any]) -> bytes:
    """A JSON file for people and programs: `value`, indented, and its checksum under ``sha256``."""
    assert _CHECKSUM not in value
    whole = {**value, _CHECKSUM: digest_of(value)}
    return (json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def unpack_record(data: bytes) -> dict[str, Any]:
    """What `pack_record` was given.

    Raises:
        ValueError: it is not JSON, or its content is not what was written; the message says which, as half a sentence.
    """
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not readable JSON ({error})") from error
    if not isinstance(value, dict) or not isinstance(value.get(_CHECKSUM), str):
        raise ValueError("it has no checksum")
    checksum = value.pop(_CHECKSUM)
    if checksum != digest_of(value):
        raise ValueError("its content does not fit its checksum")
    return value
