"""How much of its prompts a model reads, told before it is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from storymem.settings import MAX_TEXT_TOKENS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from storymem.story.model import Shot

__all__ = ["too_long"]

_PLACES = ("tokenizer", "google/umt5-xxl")  # in diffusers' layout and in the original one
_MOST = 4  # sentences


def too_long(folder: Path | None, shots: Iterable[Shot]) -> list[str]:
    """A sentence for each shot whose prompt goes beyond what the model reads; nothing where that cannot be told.

    Args:
        folder: of the model, if it has one. Its tokenizer is loaded only if a prompt may be too long.
        shots: of the story.
    """
    places = [] if folder is None else [folder / name / "tokenizer.json" for name in _PLACES]
    home = next((place for place in places if place.is_file()), None)
    if home is None:
        return []
    limit = _limit(home.with_name("tokenizer_config.json"))
    said = []
    for shot in shots:
        if len(shot.full_prompt.encode()) < limit:  # no token is shorter than a byte
            continue
        tokenizer = _tokenizer(home)
        if tokenizer is None:
            return []
        count = len(tokenizer.encode(shot.full_prompt, add_special_tokens=False).ids)
        if count >= limit:  # the last place is for the end mark
            what = "the prompt with its cast" if shot.full_prompt != shot.prompt else "the prompt"
            said.append(f"shot {shot.id}: only the first {limit - 1} of {count} tokens of {what} are read; shorten it.")
    if len(said) > _MOST:
        said[_MOST - 1 :] = [f"and so it is with the prompts of {len(said) - _MOST + 1} more shots."]
    return said


def _limit(config: Path) -> int:
    try:
        most = json.loads(config.read_text(encoding="utf-8")).get("model_max_length")
    except (OSError, ValueError, AttributeError):
        most = None
    return int(min(MAX_TEXT_TOKENS, most)) if isinstance(most, int | float) else MAX_TEXT_TOKENS


@cache
def _tokenizer(path: Path) -> Tokenizer | None:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception:  # noqa: BLE001 - it raises nothing narrower; loading the model says what is wrong
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
