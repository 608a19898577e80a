"""Reads what a training configuration says of Storyland."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from storymem.errors import SettingsError

__all__ = ["read_options"]

_Options = TypeVar("_Options", bound=BaseModel)


def read_options(kind: type[_Options], options: Mapping[str, Any], setting: str) -> _Options:
    """Options of that kind.

    Args:
        kind: what they are.
        options: as they were given.
        setting: where, such as ``data.options``.

    Raises:
        SettingsError: one is unknown or out of range.
    """
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"])
        known = ", ".join(kind.model_fields)
        message = problem["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{setting}.{name}: {message} (storyland knows {known}).") from None
