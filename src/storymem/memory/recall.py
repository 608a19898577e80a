"""What of the memory a shot sees. The method shows it the whole bank; a film of several characters may want less.

A keyframe of one character is fetched best where little else is remembered, and of two characters none can be taken
for the other if only one of them is there (figures: `docs/storyland.md`, "With portraits").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from storymem.memory.bank import Keyframe

__all__ = ["recalled"]


def recalled(
    keyframes: Sequence[Keyframe],
    *,
    shows: Mapping[str, Sequence[str]],
    named: Sequence[str] | None,
    pinned: frozenset[str] = frozenset(),
    scene: frozenset[str] = frozenset(),
) -> tuple[Keyframe, ...]:
    """What a shot sees of the bank with ``recall: cast`` and ``cast+scene``.

    The reference images and portraits of the characters that are in it. Beside them what is pinned and, so that a place
    stays what it is, the latest keyframe of `scene`. A film without any picture of its cast is shown everything, as
    with ``recall: all``.

    Args:
        keyframes: the bank, in its order.
        shows: id of a reference image or portrait → names of the characters it is of.
        named: the characters that are in the shot; None if nobody can tell, and then they are all.
        pinned: ids that are always seen.
        scene: ids of the shots whose latest keyframe is seen too: those of the shot's own scene, or none.
    """
    pictures = {keyframe.id for keyframe in keyframes if keyframe.is_reference}
    if not pictures:
        return tuple(keyframes)
    wanted = pictures if named is None else {id_ for id_ in pictures if set(shows.get(id_, ())) & set(named)}
    latest = next((keyframe.id for keyframe in reversed(keyframes) if keyframe.shot_id in scene), None)
    return tuple(
        keyframe for keyframe in keyframes if keyframe.id in wanted or keyframe.id in pinned or keyframe.id == latest
    )
