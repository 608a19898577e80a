"""From a film's folder to what one shows and hands on: the MP4, the clips, the contact sheet and the timelines."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from storymem.errors import FilmError, MediaError, MissingExtraError
from storymem.film.edit import Edit, EditShot, MemoryPicture, clip_name, join_film, write_clips
from storymem.film.lock import locked
from storymem.film.place import make_place
from storymem.film.plan import PlannedShot, plan_film
from storymem.film.project import Film
from storymem.film.record import digest_of, pack_record, unpack_record
from storymem.film.sheet import contact_sheet, page_paths
from storymem.film.storage import make_folder, remove_file, replace_file
from storymem.film.takes import SeenKeyframe
from storymem.film.timeline import TIMELINES, TooShortError, write_timeline
from storymem.media import FloatArray, read_image

__all__ = ["PRODUCTS", "Exported", "Product", "export_film", "film_edit", "is_elsewhere"]

Product = Literal["film", "sheet", "clips", "timeline"]
PRODUCTS: tuple[Product, ...] = ("film", "sheet", "clips", "timeline")
"""What can be exported: ``film.mp4``; ``contact_sheet.png``; a folder of clips; OTIO, EDL and FCPXML."""

OnWork = Callable[[str, int, int], None]
"""Called with what is being written, and how much of it is done of how much."""

Exported = dict[Product, tuple[Path, ...]]

DEFAULT_CRF = 17
FILM, SHEET, CLIPS = "film.mp4", "contact_sheet.png", "clips"
_STATE = ".export.json"
_OWNER = "of film"  # in the state, where a film was exported to another folder: whose it is
_BEGUN = "begun"  # in the state there: files of an export that was not finished, which are ours as well
_QUALITY = "crf"  # in the state: the last one that was asked for
_VERSION = 3  # of how things are exported: a newer one writes everything again


def film_edit(film: Film) -> Edit:
    """The film as a list of shots with their masters, as it is now.

    Raises:
        FilmError: a shot has no take yet.
    """
    plan = [planned for planned in plan_film(film) if planned.shot.portrait_of is None]
    missing = [planned for planned in plan if planned.take is None]
    if missing:
        named = ", ".join(planned.shot.id for planned in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        what = "not made yet" if all(planned.status == "missing" for planned in missing) else "missing or damaged"
        raise FilmError(
            f"{film.folder}: shot {named}{more} {'is' if len(missing) == 1 else 'are'} {what}: "
            "run `storymem generate` first."
        )
    settings = film.manifest.settings
    titles = film.manifest.story.scene_titles
    return Edit(
        title=film.manifest.story.title,
        fps=settings.sampling.fps,
        shots=tuple(_edit_shot(film, planned, titles[planned.shot.scene]) for planned in plan),
        settings=_settings(film),
    )


def _settings(film: Film) -> dict[str, Any]:
    settings, tools = film.manifest.settings, film.manifest.tools
    sampling = settings.sampling
    about = {key: value for key, value in tools.description.items() if key != "request"}
    return {
        **about,
        "size": f"{sampling.width}x{sampling.height}",
        "fps": sampling.fps,
        "steps": sampling.num_inference_steps,
        "solver": sampling.solver,
        "guidance": sampling.guidance_scale,
        **({"memory guidance": sampling.memory_guidance_scale} if sampling.memory_guidance_scale > 1 else {}),
        "seed": settings.seed,
        "memory": settings.memory.capacity,
    }


def _edit_shot(film: Film, planned: PlannedShot, scene_title: str) -> EditShot:
    take = planned.take
    assert take is not None
    record = take.record
    sampling = record.recipe.sampling
    return EditShot(
        id=planned.shot.id,
        prompt=record.prompt,
        master=take.master,
        num_frames=int(sampling["num_frames"] or 0),
        drop=planned.drop,
        scene=planned.shot.scene,
        scene_title=scene_title,
        mode=record.mode,
        seed=record.recipe.seed,
        memory=tuple(_picture(film, seen) for seen in record.saw),
        keyframes=tuple(keyframe.frame_index for keyframe in record.keyframes),
        settings={"take": take.key},
    )


def _picture(film: Film, seen: SeenKeyframe) -> MemoryPicture:
    short = seen.label.removeprefix("shot ").replace(", frame ", " · ")  # a thumbnail has little room below it
    return MemoryPicture(key=seen.id, label=short, load=partial(_load, film.folder / seen.picture))


def _load(path: Path) -> FloatArray:
    try:
        return read_image(path)
    except MediaError:  # the old take that it was part of was deleted: the sheet shows that something is not there
        return np.full((3, 9, 16), -0.8, np.float32)


def export_film(
    film: Film,
    products: Collection[Product] = PRODUCTS,
    *,
    folder: Path | None = None,
    crf: int | None = None,
    again: bool = False,
    on_work: OnWork | None = None,
) -> tuple[Exported, dict[Product, str]]:
    """Write what is asked for. What is there already and still true is left alone.

    Args:
        film: every shot has a take. Open to work in, unless it is written elsewhere.
        products: which of `PRODUCTS`.
        folder: where to; None is the film's own folder. Elsewhere, nothing is written over that no export of this film
            wrote.
        crf: quality of the H.264 files, 0 (lossless) to 51; None is that of the last export to this folder, or 17.
        again: write also what is there.
        on_work: told how far each piece is.

    Returns:
        the files of each product, and for each product of which something was left out, what and why: it needs an extra
        that is not installed, or cannot hold this film.

    Raises:
        FilmError: a shot has no take yet, shots do not fit together, there can be no such folder, it is inside the
            film's own, or other files are in the way there.
        FilmDamagedError: a master is missing or damaged.
        StorageError: the system refused a write.
    """
    edit = film_edit(film)
    target = film.folder if folder is None else folder
    # A timeline points at the clips, so it is only as good as they are there.
    wanted = [product for product in PRODUCTS if product in products or (product == "clips" and "timeline" in products)]
    if not is_elsewhere(film.folder, target):
        return _export(edit, wanted, target, _read_state(target), crf=crf, again=again, on_work=on_work)
    if target.resolve().is_relative_to(film.folder.resolve()):
        raise FilmError(f"{target}: is inside the film's own folder: choose another folder.")
    if Film.is_in(target):
        raise FilmError(f"{target}: is the folder of another film: choose another folder.")
    make_place(target)
    with locked(target):
        state = _read_state(target)
        owner = str(film.folder.resolve())
        if state.pop(_OWNER, None) != owner:
            state = {}
        _check_free(edit, wanted, target, state)
        state |= {_OWNER: owner, _BEGUN: sorted(_ours(state) | {name for one in wanted for name in _names(edit, one)})}
        replace_file(target / _STATE, pack_record(state))
        done = _export(edit, wanted, target, state, crf=crf, again=again, on_work=on_work)
        del state[_BEGUN]
        replace_file(target / _STATE, pack_record(state))
        return done


def is_elsewhere(film: Path, folder: Path | None) -> bool:
    """Whether an export to `folder` leaves the folder of the film as it is, so that the film is only read."""
    return folder is not None and folder.resolve() != film.resolve()


def _export(
    edit: Edit,
    products: Sequence[Product],
    target: Path,
    state: dict[str, Any],
    *,
    crf: int | None,
    again: bool,
    on_work: OnWork | None,
) -> tuple[Exported, dict[Product, str]]:
    done: Exported = {}
    left_out: dict[Product, str] = {}
    quality = state[_QUALITY] = int(state.get(_QUALITY, DEFAULT_CRF)) if crf is None else crf
    for product in products:
        key, noted = _key(edit, product, quality), state.get(product, {})
        paths = tuple(target / name for name in noted.get("files", ()))
        if not again and noted.get("key") == key and [_size(path) for path in paths] == noted.get("sizes"):
            done[product] = paths
            continue
        progress = None if on_work is None else partial(on_work, product)
        try:
            done[product], missing = _write(edit, product, target, quality, progress)
        except MissingExtraError as error:
            left_out[product] = str(error)
            continue
        if missing is not None:
            left_out[product] = missing
        _remove_old(target, paths, done[product])
        state[product] = {
            "key": key,
            "files": [path.relative_to(target).as_posix() for path in done[product]],
            "sizes": [_size(path) for path in done[product]],
        }
        replace_file(target / _STATE, pack_record(state))
    return done, left_out


def _size(path: Path) -> int | None:
    """Bytes of a file; None if there is none."""
    return path.stat().st_size if path.is_file() else None


def _write(
    edit: Edit, product: Product, target: Path, crf: int, progress: Callable[[int, int], None] | None
) -> tuple[tuple[Path, ...], str | None]:
    """The files, and what of the product was left out and why."""
    if product == "film":
        join_film(edit, target / FILM, crf=crf, on_progress=progress)
        return (target / FILM,), None
    if product == "sheet":
        return contact_sheet(edit, target / SHEET, on_progress=progress), None
    if product == "clips":
        make_folder(target / CLIPS)
        return write_clips(edit, target / CLIPS, crf=crf, on_progress=progress), None
    try:
        return write_timeline(edit, target, target / CLIPS), None
    except TooShortError as error:  # the exact timeline is written
        return (target / TIMELINES[0],), f"{' and '.join(TIMELINES[1:])}: {error}"


def _check_free(edit: Edit, products: Collection[Product], target: Path, state: dict[str, Any]) -> None:
    """What somebody else put there stays.

    Raises:
        FilmError: a file that would be written is there and not of `state`.
    """
    ours = _ours(state)
    for name in (name for product in products for name in _names(edit, product)):
        if name not in ours and os.path.lexists(target / name):
            raise FilmError(
                f"{target / name}: was not written by an export of this film, or the film was moved since: move "
                "the file away, or choose another folder."
            )


def _ours(state: dict[str, Any]) -> set[str]:
    """The files that exports of the film wrote, or may have begun to."""
    written = {name for product in PRODUCTS for name in state.get(product, {}).get("files", ())}
    return written | set(state.get(_BEGUN, ()))


def _names(edit: Edit, product: Product) -> list[str]:
    """The files of a product, relative to the folder it is exported to."""
    match product:
        case "film":
            return [FILM]
        case "sheet":
            return [path.as_posix() for path in page_paths(Path(SHEET), len(edit.shots))]
        case "clips":
            return [f"{CLIPS}/{clip_name(edit, index)}" for index in range(len(edit.shots))]
        case "timeline":
            return list(TIMELINES)


def _remove_old(target: Path, before: tuple[Path, ...], now: tuple[Path, ...]) -> None:
    """Take away what an earlier export wrote and this one did not, such as the clip of a shot that is gone."""
    for path in before:
        inside = path.resolve().is_relative_to(target.resolve())
        if inside and path not in now and path.is_file():
            remove_file(path)


def _key(edit: Edit, product: Product, crf: int) -> str:
    """What the product depends on."""
    shots = [
        [
            *(shot.id, shot.prompt, shot.scene, shot.scene_title, shot.drop, shot.settings.get("take")),
            [picture.key + picture.label for picture in shot.memory],
        ]
        for shot in edit.shots
    ]
    fps = str(edit.fps)
    quality = crf if product in ("film", "clips") else None
    return digest_of({"v": _VERSION, "what": product, "crf": quality, "title": edit.title, "fps": fps, "shots": shots,
                      "settings": dict(edit.settings)})  # fmt: skip


def _read_state(folder: Path) -> dict[str, Any]:
    """What the last export noted; a note that cannot be read only means that everything is written again."""
    try:
        return unpack_record((folder / _STATE).read_bytes())
    except (OSError, ValueError):
        return {}
