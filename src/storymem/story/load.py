"""Reading a script: from a file or a text to a checked `Story`, or to every mistake in it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Literal, get_args

from storymem.errors import Problem, ScriptError
from storymem.story.model import Story

__all__ = ["MAX_BYTES", "ScriptForm", "load_story", "parse_story"]

ScriptForm = Literal["yaml", "st-bench"]
"""The two forms of a script."""

MAX_BYTES = 4 * 1024 * 1024
"""Largest script; a film of a thousand shots has about one megabyte."""

_FORMS: dict[str, ScriptForm] = {".yaml": "yaml", ".yml": "yaml", ".json": "st-bench", ".json5": "st-bench"}

_NO_TEXT = {
    b"PK\x03\x04": "a zip archive or a document of a word processor (.docx, .odt)",
    b"\xd0\xcf\x11\xe0": "a document of a word processor (.doc)",
    b"{\\rtf": "a document of a word processor (.rtf)",
    b"%PDF": "a PDF",
}
"""How files begin that are no text."""


def load_story(path: str | Path, *, pictures_kept: bool = False) -> Story:
    """Read the script at `path`: ``.json`` and ``.json5`` in the form of ST-Bench, ``.yaml`` and ``.yml`` in our own.

    Args:
        path: the script.
        pictures_kept: its reference images need not be there: somebody has kept them, as a film does.

    Raises:
        ScriptError: with every mistake in the script, or the reason why it cannot be read.
    """
    path = Path(path)
    if path.suffix.lower() not in _FORMS and not path.is_dir():
        ending = f"ends in {path.suffix}" if path.suffix else "has no ending"
        raise _refused(path, f"{ending}; the name of a script ends in {', '.join(_FORMS)}")
    story = parse_story(_read(path), str(path), path.parent, pictures_kept=pictures_kept)
    return replace(story, source=path.absolute())  # kept in films, which are gone on with from elsewhere


def parse_story(
    text: str, source: str, base: Path | None, form: ScriptForm | None = None, *, pictures_kept: bool = False
) -> Story:
    """Read a script from `text`.

    Args:
        text: the script.
        source: how messages call it, such as its file name.
        base: the folder that reference images are looked for in; None allows no reference images.
        form: how it is written; None goes by the ending of `source` and, without one, by the first character.
        pictures_kept: reference images need not be there.

    Raises:
        ScriptError: with every mistake in the script.
    """
    # The readers and pydantic's models cost 0.1 s to import; `storymem --help` needs none of them.
    from storymem.story.check import Mistakes
    from storymem.story.jsontext import read_json5
    from storymem.story.nodes import SyntaxProblem
    from storymem.story.stbench import read_stbench
    from storymem.story.yaml_form import read_film
    from storymem.story.yamltext import read_yaml

    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    form = form or _FORMS.get(PurePath(source).suffix.lower()) or ("st-bench" if re.match(r"\s*[{/]", text) else "yaml")
    assert form in get_args(ScriptForm)
    try:
        tree = read_yaml(text) if form == "yaml" else read_json5(text)
        data = tree.plain()
        mistakes = Mistakes(tree)
        other = _looks_like_the_other_form(data, form)
        if other is not None:
            raise SyntaxProblem(other, tree.root.line)
    except SyntaxProblem as error:
        raise ScriptError(source, [error.problem]) from None
    if form == "yaml":
        story = read_film(data, base, mistakes, pictures_kept=pictures_kept)
    else:
        story = read_stbench(data, base, mistakes)
    if story is None:
        assert mistakes.problems, "a script is refused only with a reason"
        raise ScriptError(source, mistakes.problems)
    return story


def _looks_like_the_other_form(data: object, form: ScriptForm) -> str | None:
    """One sentence instead of a message for every field."""
    if not isinstance(data, dict):
        return None
    stbench = {"story_name", "story_overview"} & data.keys()
    ours = {"title", "overview", "cast", "defaults", "shots"} & data.keys()
    if form == "yaml" and stbench and not ours:
        return f"{min(stbench)} belongs to the ST-Bench form, which is JSON; give the file a name that ends in .json"
    if form == "st-bench" and ours and not stbench:
        return f"{min(ours)} belongs to StoryMem's own form, which is YAML; give the file a name that ends in .yaml"
    return None


def _refused(path: Path, message: str, line: int | None = None) -> ScriptError:
    return ScriptError(str(path), [Problem("", message, line)])


def _folder(path: Path) -> str:
    """What to do about a folder in place of a script."""
    scripts = [path / f"script{ending}" for ending in _FORMS]
    script = next((script for script in scripts if script.is_file()), None)
    if script is None or not (path / "film.json").is_file():
        return "this is a folder; give the script file in it"
    return f"this is the folder of a film; go on with it by `storymem generate {script} -o {path}`"


def _read(path: Path) -> str:
    try:
        if path.is_dir():
            raise _refused(path, _folder(path))
        if not path.exists():
            raise _refused(path, "there is no such file; `storymem script new` writes one to start from")
        if not path.is_file():
            raise _refused(path, "this is no ordinary file; give a script file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _refused(path, f"cannot be read: {reason}") from None
    for start, what in _NO_TEXT.items():
        if content.startswith(start):
            raise _refused(path, f"is {what}, whatever its name ends in; save the script as plain text")
    if len(content) > MAX_BYTES:
        raise _refused(path, f"is over {MAX_BYTES // 1024**2} megabytes; a script is text, and much shorter")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"the byte 0x{content[error.start]:02X}"
        raise _refused(path, f"is not UTF-8 text: found {byte}; save it as UTF-8 in your editor", line) from None
