"""What a model's folder says of how its shots are to be sampled: ``sampling.json``, fields of `SamplingConfig`.

The trainer writes it, so that a model of one's own is used at the size, length and number of steps it was made for
without options. Other programs that read the folder, such as diffusers, ignore the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from storymem.errors import ModelError, SettingsError
from storymem.settings import SamplingConfig

__all__ = ["SAMPLING_FILE", "laid_over", "read_sampling", "sampling_json"]

SAMPLING_FILE = "sampling.json"
_LARGEST = 64_000  # bytes; it is a dozen lines


def sampling_json(sampling: Mapping[str, Any]) -> bytes:
    """The content of the file; `sampling` are some of the fields of `SamplingConfig`."""
    SamplingConfig(**sampling)
    return (json.dumps(dict(sampling), indent=2) + "\n").encode()


def laid_over(sampling: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `SamplingConfig` with others over them: one guidance that is said alone is that of both experts."""
    both = "guidance_scale" in said and "guidance_scale_2" not in said
    kept = {name: value for name, value in sampling.items() if not (both and name == "guidance_scale_2")}
    return {**kept, **said}


def read_sampling(folder: Path) -> dict[str, Any]:
    """The fields in the file of a model's folder; none if there is no such file.

    Raises:
        ModelError: it is not JSON, names what `SamplingConfig` does not have, or a value is out of range.
    """
    from pydantic import TypeAdapter, ValidationError

    path = folder / SAMPLING_FILE
    if not path.is_file():
        return {}
    try:
        if path.stat().st_size > _LARGEST:
            raise ModelError(f"{path} is too large for what it should be; take it away, and give the settings instead.")
        text = path.read_text(encoding="utf-8")
        checked = TypeAdapter(SamplingConfig).validate_json(text, strict=True)
        names = list(json.loads(text))
        known = [field.name for field in fields(SamplingConfig)]
        for name in names:
            if name not in known:
                raise ModelError(f"{path}: {name} is no setting of sampling; there are {', '.join(known)}.")
        return {name: getattr(checked, name) for name in names}
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ModelError(f"{path}: {place}: {first['msg']}. Correct it, or take the file away.") from None
    except SettingsError as error:
        raise ModelError(f"{path}: {error} Correct it, or take the file away.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} cannot be read ({error}). Take it away, and give the settings instead.") from error
