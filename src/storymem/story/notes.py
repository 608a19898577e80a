"""What a good script may not have meant: said before a film is made, and never a reason to refuse it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

from storymem.story.cast import normalise
from storymem.story.model import Story

__all__ = ["notes_on"]

# An "#" in YAML that begins no comment as people write them: the text was meant to go on. "#" and a blank is one.
_CUT = re.compile(r"[ \t]+(#\w\S*)")
_ARTICLE = r"(?<!\ba )(?<!\ban )(?<!\bthe )"  # behind one it is no name: "the rose"


def notes_on(story: Story) -> list[str]:
    """One sentence for each thing: a character that no prompt names, a name in other capitals, a prompt cut by a "#".

    Args:
        story: as read; the file that it was read from is looked into too, if it is there.
    """
    return [*_cast(story), *_comments(story.source)]


def _cast(story: Story) -> Iterator[str]:
    prompts = {shot.id: normalise(shot.prompt) for shot in story.shots}
    names = [character.name for character in story.cast]
    for name in names:
        named = {shot.id for shot in story.shots if name in shot.characters}
        pattern = re.compile(rf"{_ARTICLE}(?<![\w-]){re.escape(name)}(?![\w-])", re.IGNORECASE)
        for shot_id, prompt in prompts.items():
            other = next((match[0] for match in pattern.finditer(prompt) if match[0] != name), None)
            if shot_id not in named and other is not None:
                yield f'shot {shot_id} writes "{other}", the cast "{name}": only in these capitals is it the character.'
                break
        else:
            if not named:
                like = _like(name, names, prompts)
                yield f"no prompt names {name} of the cast{like}; what the cast says of {name} reaches no shot."


def _like(name: str, names: list[str], prompts: dict[str, str]) -> str:
    """The word in a prompt that may be meant for `name`: one with a capital that is like it."""
    words = {word: shot_id for shot_id, prompt in prompts.items() for word in re.findall(r"[^\W\d_]+", prompt)}
    close = difflib.get_close_matches(
        name, [word for word in words if word[0].isupper() and word not in names], n=1, cutoff=0.75
    )
    return f' (shot {words[close[0]]} has "{close[0]}")' if close else ""


def _comments(path: Path | None) -> Iterator[str]:
    if path is None or path.suffix.lower() not in (".yaml", ".yml") or not path.is_file():
        return
    from storymem.story.yamltext import plain_texts

    text = path.read_text(encoding="utf-8-sig").replace("\r\n", "\n")
    lines = text.split("\n")
    for value, line, column in plain_texts(text):
        # Of one word and a comment, as in "seed: 7 #lucky", there is more often no doubt.
        if " " in value and (cut := _CUT.match(lines[line], column)):
            yield (
                f'line {line + 1}: " {cut[1]}" begins a comment in YAML, and the text ends before it; '
                "if it belongs to the text, put the text in quotes."
            )
