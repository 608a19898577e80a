"""The contact sheet: the whole film at a glance, and what every shot remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from storymem.film.edit import Edit, EditShot, MemoryPicture, Progress, check_masters, elide, reading_master
from storymem.film.letters import drawable, load_font
from storymem.media import Uint8Array, read_frames, resize_frame, to_uint8, write_png

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw as Pen
    from PIL.ImageFont import FreeTypeFont

__all__ = ["SHOTS_PER_PAGE", "contact_sheet", "page_paths"]

SHOTS_PER_PAGE = 12
"""A longer film gets further pages."""

# Colours: a dark neutral grey, as in a grading room, so that the pictures are the brightest thing.
_PAPER, _PANEL, _LINE, _EMPTY = "#141518", "#1c1e22", "#2c2f35", "#23262b"
_BRIGHT, _TEXT, _FAINT = "#f3f2ee", "#c3c5ca", "#868a93"
_MODES = {"t2v": "#9aa0aa", "m2v": "#7fb0ff", "mi2v": "#7fd6a4", "mm2v": "#f2c063"}

# Pixels.
_WIDTH, _MARGIN, _GAP, _PAD = 2800, 72, 12, 28
_TEXT_WIDTH, _MEMORY_WIDTH, _SPACE = 560, 648, 44
_FRAMES_WIDTH = _WIDTH - 2 * (_MARGIN + _PAD) - _TEXT_WIDTH - _MEMORY_WIDTH - 2 * _SPACE
_ROW, _HEAD, _SCENE = 216, 212, 74
_LEAST_FRAMES, _MOST_FRAMES, _MEMORY_COLUMNS, _MEMORY_ROWS = 5, 9, 5, 2


def contact_sheet(edit: Edit, path: Path, *, on_progress: Progress | None = None) -> tuple[Path, ...]:
    """Draw every shot's prompt, some of its frames, and the memory that it saw.

    The frames are spread evenly over the part of the shot that is in the film. A film of more than `SHOTS_PER_PAGE`
    shots gets further pages beside `path`: ``<name>_2.png`` and so on. Latin, Greek and Cyrillic letters are drawn;
    what stands for others, see `storymem.film.letters.drawable`.

    Args:
        edit: the film.
        path: of the first page, a ``.png``.
        on_progress: called after every shot, with shots done and shots in all.

    Returns:
        The pages.

    Raises:
        FilmError, FilmDamagedError: the masters are not what the edit says.
        StorageError: the operating system refused a write.
    """
    width, height = check_masters(edit)
    thumbnails: dict[str, Uint8Array] = {}
    paths = page_paths(path, len(edit.shots))
    for number, page_path in enumerate(paths, start=1):
        shots = range((number - 1) * SHOTS_PER_PAGE, min(number * SHOTS_PER_PAGE, len(edit.shots)))
        page = _Page(edit, shots, f"{number} / {len(paths)}" if len(paths) > 1 else "")
        for index in shots:
            page.shot(index, (width, height), thumbnails)
            if on_progress is not None:
                on_progress(index + 1, len(edit.shots))
        write_png(page_path, np.asarray(page.image, dtype=np.uint8))
    return paths


def page_paths(path: Path, num_shots: int) -> tuple[Path, ...]:
    """The pages of a film of `num_shots` shots, of which the first is `path`."""
    further = range(2, -(-num_shots // SHOTS_PER_PAGE) + 1)
    return (path, *(path.with_name(f"{path.stem}_{number}{path.suffix}") for number in further))


@dataclass(frozen=True, slots=True)
class _Fonts:
    title: FreeTypeFont
    scene: FreeTypeFont
    name: FreeTypeFont
    body: FreeTypeFont
    small: FreeTypeFont
    tiny: FreeTypeFont

    @classmethod
    def load(cls) -> _Fonts:
        return cls(
            title=load_font(56, "SemiBold"),
            scene=load_font(28, "SemiBold"),
            name=load_font(31, "SemiBold"),
            body=load_font(23),
            small=load_font(20),
            tiny=load_font(15),
        )


class _Page:
    """One picture, drawn from top to bottom."""

    def __init__(self, edit: Edit, shots: Sequence[int], page: str) -> None:
        from PIL import Image, ImageDraw

        self._edit, self._fonts = edit, _Fonts.load()
        self._scene: int | None = None
        scenes = len({edit.shots[index].scene for index in shots})
        size = (_WIDTH, _HEAD + scenes * _SCENE + len(shots) * (_ROW + 2 * _PAD + _GAP) + _MARGIN)
        self.image: Picture = Image.new("RGB", size, _PAPER)
        self._draw: Pen = ImageDraw.Draw(self.image)
        self._top = _HEAD
        self._header(page)

    def _header(self, page: str) -> None:
        edit, fonts = self._edit, self._fonts
        self._line((_MARGIN, 62), edit.title, fonts.title, _BRIGHT, _WIDTH - 2 * _MARGIN - 200)
        self._line((_MARGIN, 146), "   ·   ".join(_facts(edit)), fonts.body, _FAINT, _WIDTH - 2 * _MARGIN)
        self._draw.text((_WIDTH - _MARGIN, 84), page, font=fonts.body, fill=_FAINT, anchor="ra")

    def shot(self, index: int, size: tuple[int, int], thumbnails: dict[str, Uint8Array]) -> None:
        """Draw the next shot, after the heading of its scene if it is the first of it on this page."""
        shot = self._edit.shots[index]
        if shot.scene != self._scene:
            self._scene = shot.scene
            title = f"Scene {shot.scene}" + (f": {shot.scene_title}" if shot.scene_title else "")
            # Only the first scene of a page has headings beside it.
            wide = _TEXT_WIDTH + _PAD if self._top == _HEAD else _WIDTH - 2 * _MARGIN
            self._line((_MARGIN, self._top + 30), title, self._fonts.scene, _TEXT, wide)
            if self._top == _HEAD:
                self._headings(self._top + 38)
            self._top += _SCENE
        box = (_MARGIN, self._top, _WIDTH - _MARGIN, self._top + _ROW + 2 * _PAD)
        self._draw.rounded_rectangle(box, radius=14, fill=_PANEL)
        left, top = _MARGIN + _PAD, self._top + _PAD
        self._words(shot, left, top)
        left += _TEXT_WIDTH + _SPACE
        self._frames(shot, left, top, size)
        left += _FRAMES_WIDTH + _SPACE
        self._draw.line((left - _SPACE // 2, top, left - _SPACE // 2, top + _ROW), fill=_LINE, width=2)
        self._memory(shot, left, top, size, thumbnails)
        self._top += _ROW + 2 * _PAD + _GAP

    def _headings(self, top: int) -> None:
        frames_left = _MARGIN + _PAD + _TEXT_WIDTH + _SPACE
        self._draw.text((frames_left, top), "Frames", font=self._fonts.small, fill=_FAINT)
        memory_left = frames_left + _FRAMES_WIDTH + _SPACE
        self._draw.text((memory_left, top), "Memory it saw, oldest first", font=self._fonts.small, fill=_FAINT)

    def _words(self, shot: EditShot, left: int, top: int) -> None:
        fonts, draw = self._fonts, self._draw
        right = left + _TEXT_WIDTH
        if shot.mode:
            label, colour = shot.mode.upper(), _MODES.get(shot.mode, _TEXT)
            wide = round(fonts.small.getlength(label)) + 28
            draw.rounded_rectangle((right - wide, top, right, top + 36), radius=18, outline=colour, width=2)
            draw.text((right - wide // 2, top + 18), label, font=fonts.small, fill=colour, anchor="mm")
        self._line((left, top - 4), shot.id, fonts.name, _BRIGHT, _TEXT_WIDTH - 140)
        facts = [f"{shot.length / self._edit.fps:.2f} s", f"{shot.length} frame{'s' * (shot.length != 1)}"]
        if shot.seed is not None:
            facts.append(f"seed {shot.seed}")
        self._line((left, top + 44), "  ·  ".join(facts), fonts.small, _FAINT, _TEXT_WIDTH)
        for number, line in enumerate(_wrap(shot.prompt, fonts.body, _TEXT_WIDTH, 4)):
            draw.text((left, top + 86 + number * 33), line, font=fonts.body, fill=_TEXT)

    def _frames(self, shot: EditShot, left: int, top: int, size: tuple[int, int]) -> None:
        """As many frames as fit beside each other, filling the width or the height."""
        aspect = size[0] / size[1]
        fits = (_FRAMES_WIDTH + _GAP) // (round((_ROW - 26) * aspect) + _GAP)
        slots = min(max(fits, _LEAST_FRAMES), _MOST_FRAMES)
        slot = (_FRAMES_WIDTH - _GAP * (slots - 1)) // slots
        width, height = _fit(aspect, slot, _ROW - 26)
        count = min(slots, shot.length)
        indices = (shot.drop + np.linspace(0, shot.length - 1, count).round().astype(int)).tolist()
        with reading_master(shot):
            frames = read_frames(shot.master, indices)
        above = top + (_ROW - height - 26) // 2
        for number, (index, frame) in enumerate(zip(indices, frames, strict=True)):
            x = left + number * (slot + _GAP)
            self._picture(_thumbnail(frame, width, height), x, above)
            seconds = (index - shot.drop) / self._edit.fps
            self._draw.text((x, above + height + 8), f"{seconds:.2f} s", font=self._fonts.tiny, fill=_FAINT)

    def _memory(
        self, shot: EditShot, left: int, top: int, size: tuple[int, int], thumbnails: dict[str, Uint8Array]
    ) -> None:
        """The keyframes that the shot saw, in up to two rows; the last place counts those that do not fit."""
        draw, fonts = self._draw, self._fonts
        if not shot.memory:
            draw.text((left, top + _ROW // 2), "no memory", font=fonts.small, fill=_FAINT, anchor="lm")
            return
        slot = (_MEMORY_WIDTH - _GAP * (_MEMORY_COLUMNS - 1)) // _MEMORY_COLUMNS
        slot_height = (_ROW - _GAP) // _MEMORY_ROWS
        width, height = _fit(size[0] / size[1], slot, slot_height - 24)
        places = _MEMORY_COLUMNS * _MEMORY_ROWS
        shown = shot.memory if len(shot.memory) <= places else shot.memory[: places - 1]
        rows = -(-min(len(shot.memory), places) // _MEMORY_COLUMNS)
        above = top + (_ROW - rows * (height + 24) - (rows - 1) * _GAP) // 2
        for number in range(min(len(shot.memory), places)):
            row, column = divmod(number, _MEMORY_COLUMNS)
            x, y = left + column * (slot + _GAP), above + row * (height + 24 + _GAP)
            if number < len(shown):
                picture = shown[number]
                if picture.key not in thumbnails:
                    thumbnails[picture.key] = _memory_thumbnail(picture, width, height)
                self._picture(thumbnails[picture.key], x, y)
                self._line((x, y + height + 5), picture.label, fonts.tiny, _FAINT, slot)
            else:
                draw.rounded_rectangle((x, y, x + width, y + height), radius=6, fill=_EMPTY)
                more = f"+{len(shot.memory) - len(shown)}"
                draw.text((x + width // 2, y + height // 2), more, font=fonts.body, fill=_TEXT, anchor="mm")

    def _picture(self, pixels: Uint8Array, left: int, top: int) -> None:
        """A picture with softly rounded corners."""
        from PIL import Image, ImageDraw

        height, width, _ = pixels.shape
        # Drawn four times as large and made smaller: Pillow's own corners have steps.
        mask = Image.new("L", (width * 4, height * 4))
        ImageDraw.Draw(mask).rounded_rectangle((0, 0, width * 4 - 1, height * 4 - 1), radius=24, fill=255)
        self.image.paste(Image.fromarray(pixels), (left, top), mask.resize((width, height), Image.Resampling.BOX))

    def _line(self, place: tuple[int, int], text: str, font: FreeTypeFont, colour: str, width: int) -> None:
        for line in _wrap(text, font, width, 1):
            self._draw.text(place, line, font=font, fill=colour)


def _facts(edit: Edit) -> list[str]:
    """What the line below the title says of the film."""
    seconds = edit.num_frames / edit.fps
    whole = round(seconds)
    length = f"{seconds:.1f} s" if whole < 60 else f"{whole // 60}:{whole % 60:02d} min"
    count = f"{len(edit.shots)} shot{'s' * (len(edit.shots) != 1)}"
    settings = {name: value for name, value in edit.settings.items() if name != "fps"}  # it is the edit's own
    said = [f"{name} {value}" for name, value in settings.items() if isinstance(value, str | int | float)]
    return [count, length, f"{float(edit.fps):g} fps", *said]


def _fit(aspect: float, width: int, height: int) -> tuple[int, int]:
    """The largest size of that aspect ratio in the box."""
    return (
        (width, max(1, round(width / aspect))) if width / aspect <= height else (max(1, round(height * aspect)), height)
    )


def _thumbnail(frame: Uint8Array, width: int, height: int) -> Uint8Array:
    from PIL import Image

    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS), dtype=np.uint8)


def _memory_thumbnail(picture: MemoryPicture, width: int, height: int) -> Uint8Array:
    pixels = picture.load()
    if pixels.dtype == np.uint8:
        return _thumbnail(np.asarray(pixels, dtype=np.uint8), width, height)
    # References may have any shape: the middle of them is shown.
    return to_uint8(resize_frame(np.asarray(pixels, dtype=np.float32), width, height))


def _wrap(text: str, font: FreeTypeFont, width: int, lines: int) -> list[str]:
    """Break at spaces, or anywhere in a word that is longer than a line (as text without spaces is); elide the rest."""
    rest = elide(drawable(text), 1000)
    out: list[str] = []
    while rest and len(out) < lines:
        if font.getlength(rest) <= width:
            out.append(rest)
            return out
        last = len(out) == lines - 1
        end = _longest(rest, font, width - (font.getlength("…") if last else 0))
        space = rest.rfind(" ", 1, end + 1)
        if not last and space > 0:
            end = space
        out.append(rest[:end].rstrip(" ,;:.") + "…" if last else rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return out


def _longest(text: str, font: FreeTypeFont, width: float) -> int:
    """How many letters of the text fit, one at least."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle]) <= width else (low, middle - 1)
    return low
