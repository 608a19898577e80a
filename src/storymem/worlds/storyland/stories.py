"""Groups of clips that share heroes and places, and stories of many shots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random

from storymem.worlds.storyland.captions import CaptionStyle, caption, describe
from storymem.worlds.storyland.heroes import ATTRIBUTES, Hero, Split, sample_heroes, sample_names
from storymem.worlds.storyland.places import PLACES, TIMES, Place, sample_place
from storymem.worlds.storyland.rendering import FPS
from storymem.worlds.storyland.shots import ACTIONS, SHOT_TYPES, ShotSpec, sample_conditions, stage
from storymem.worlds.storyland.truth import ground_truth

__all__ = ["Clip", "Group", "StoryShot", "WorldStory", "sample_group", "sample_story"]


@dataclass(frozen=True, slots=True)
class Clip:
    """A shot with its caption.

    Attributes:
        spec: what it shows.
        caption: says so.
        style: how much of the looks the caption tells.
        portrait: it introduces a hero, as portraits before a film do.
    """

    spec: ShotSpec
    caption: str
    style: CaptionStyle
    portrait: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Clips of the same heroes in the same few places, for training with memory.

    Attributes:
        heroes, names: one or two, of different species and colours.
        places: of which each clip has one.
        clips: in no order; any may be the target, and others its memory.
    """

    heroes: tuple[Hero, ...]
    names: tuple[str, ...]
    places: tuple[Place, ...]
    clips: tuple[Clip, ...]

    def subjects(self, index: int) -> tuple[tuple[int, ...], ...]:
        """For each hero of clip `index`, from left to right, the other clips that show that hero; in a group with
        portraits these alone, but for what a portrait itself is to remember."""

        def shows(clip: Clip, name: str) -> bool:
            return name in {actor.name for actor in clip.spec.actors}

        others = [(i, clip) for i, clip in enumerate(self.clips) if i != index]
        if not self.clips[index].portrait and any(clip.portrait for _, clip in others):
            others = [(i, clip) for i, clip in others if clip.portrait]
        actors = self.clips[index].spec.actors
        return tuple(tuple(i for i, clip in others if shows(clip, actor.name)) for actor in actors)


@dataclass(frozen=True, slots=True)
class StoryShot:
    """One shot of a story.

    Attributes:
        spec: what it shows.
        prompt: its caption.
        style: how much the prompt tells of the looks.
        scene: 1-based.
        cut: False if it goes on where the shot before it ended.
    """

    spec: ShotSpec
    prompt: str
    style: CaptionStyle
    scene: int
    cut: bool


@dataclass(frozen=True, slots=True)
class WorldStory:
    """A story: `shots` in order; `heroes` and `names` belong together."""

    title: str
    overview: str
    heroes: tuple[Hero, ...]
    names: tuple[str, ...]
    shots: tuple[StoryShot, ...]
    seed: int


def _style(rng: Random, heroes: int, actors: int, told: float) -> CaptionStyle:
    """Some captions tell the looks, others leave them to memory, but never so that nobody can know who is meant."""
    if rng.random() < told:
        return rng.choice(("full", "full", "look"))
    if heroes == 2:
        return "brief"
    assert actors == 1
    return rng.choice(("brief", "name", "name", "hero"))


def sample_group(
    seed: int,
    split: Split = "train",
    *,
    clips: int = 16,
    two_heroes: float = 0.4,
    told: float = 0.4,
    together: float | None = None,
    portraits: float = 0.0,
    actions: Mapping[str, float] | None = None,
) -> Group:
    """A group by lot.

    Args:
        seed: together with the split decides everything.
        split: which heroes and layouts to draw from.
        clips: how many.
        two_heroes: the chance that the group has a second hero.
        told: the chance that a caption tells the looks, which others leave to memory.
        together: in groups of two heroes, the chance that a clip shows both; after one of each alone and one of both.
            None: about a third do.
        portraits: the chance that the first clip of each hero alone is a portrait.
        actions: how often each is drawn, beside those not named, which count 1; None: all alike.
    """
    rng = Random(f"storyland/group/{split}/{seed}")
    number = 2 if rng.random() < two_heroes else 1
    heroes, names = sample_heroes(rng, number, split), sample_names(rng, number)
    places = tuple(sample_place(rng, split) for _ in range(rng.choice((2, 3, 3, 4))))
    casts: tuple[tuple[int, ...], ...] = ((0,),) if number == 1 else ((0,), (1,), (0, 1))
    introduced = bool(portraits) and rng.random() < portraits  # no lot is drawn where there never are any
    made = []
    for index in range(clips):
        if introduced and index < number:
            spec = _portrait(rng, heroes[index], names[index], split)
            made.append(Clip(spec, caption(spec, "full"), "full", portrait=True))
            continue
        # Everyone is in at least one of the first clips; after that by lot.
        if index < (2 if together is None else 1) * len(casts):
            cast = casts[index % len(casts)]
        elif together is None or number == 1:
            cast = rng.choice(casts)
        else:
            cast = casts[-1] if rng.random() < together else rng.choice(casts[:-1])
        place = rng.choice(places)
        spec = stage(
            rng,
            tuple(heroes[i] for i in cast),
            tuple(names[i] for i in cast),
            place,
            *sample_conditions(rng, place),
            actions=actions,
        )
        style = _style(rng, number, len(cast), told)
        made.append(Clip(spec, caption(spec, style), style))
    rng.shuffle(made)
    return Group(heroes, names, places, tuple(made))


def _portrait(rng: Random, hero: Hero, name: str, split: Split) -> ShotSpec:
    """As the small model makes portraits: the hero waves in the meadow at noon, in a medium shot."""
    place = sample_place(rng, split, "meadow")
    spec = stage(rng, (hero,), (name,), place, "noon", "clear", shot_type="medium")
    actor = replace(spec.actors[0], action="wave", x=round(rng.uniform(-0.12, 0.12), 3))
    return replace(spec, actors=(actor,), camera="static")


_AND = {1: "{0}", 2: "{0} and {1}"}
_TITLES = ("{who} and the {place}", "The {adjective} Day of {who}", "{who} and the {adjective} Day", "A Day with {who}")
_ADJECTIVES = ("Long", "Bright", "Quiet", "Little", "Big", "Lucky")
_PLACE_TITLES = {
    "forest": "Deep Forest",
    "beach": "Wide Beach",
    "city": "Big City",
    "village": "Small Village",
    "desert": "Red Desert",
    "mountain": "Snowy Mountain",
    "meadow": "Flower Meadow",
    "harbour": "Old Harbour",
    "kitchen": "Warm Kitchen",
    "library": "Great Library",
    "bedroom": "Blue Bedroom",
    "market": "Busy Market",
    "castle": "Old Castle",
    "cave": "Crystal Cave",
}


def sample_story(
    seed: int,
    split: Split = "test",
    *,
    shots: int = 8,
    heroes: int = 1,
    continued: float = 0.12,
    num_frames: int = 17,
    fps: float = FPS,
) -> WorldStory:
    """A story by lot: a day from one place to the next.

    The first shot of every hero is a medium or wide one that shows and tells the looks in full; later prompts leave
    them out: by name or "the hero" in stories of one hero, by name and species in stories of two.

    Args:
        seed: together with everything else decides the story.
        split: which heroes and layouts to draw from; "test" are those that training never sees.
        shots: how many, at least 2.
        heroes: 1 or 2.
        continued: the chance that a shot goes on without a cut.
        num_frames: of each shot, which says where one that goes on without a cut begins.
        fps: frames per second.
    """
    assert shots >= 2, shots
    assert heroes in (1, 2), heroes
    rng = Random(f"storyland/story/{split}/{seed}/{shots}/{heroes}")
    cast, names = sample_heroes(rng, heroes, split), sample_names(rng, heroes)
    scenes = max(1, round(shots / 3))
    kinds = rng.sample(tuple(PLACES), min(scenes, len(PLACES)))
    places = [sample_place(rng, split, kinds[i % len(kinds)]) for i in range(scenes)]
    made: list[StoryShot] = []
    introduced: set[int] = set()
    for index in range(shots):
        scene = index * scenes // shots
        fresh = not made or made[-1].scene != scene + 1
        if not fresh and len(introduced) == heroes and rng.random() < continued and made[-1].cut:
            before = made[-1]
            spec = replace(before.spec.continued((num_frames - 1) / fps), seed=before.spec.seed)
            style = _later_style(rng, heroes)
            made.append(StoryShot(spec, caption(spec, style, seed=rng.randrange(2**31)), style, scene + 1, False))
            continue
        if fresh:
            weather = rng.choice(PLACES[places[scene].kind].weathers)
            clock = TIMES[min(3, scene * 4 // scenes)] if scenes > 1 else rng.choice(TIMES)
            time = "noon" if PLACES[places[scene].kind].timeless else clock
        who = _who(rng, index, heroes, introduced)
        new = any(i not in introduced for i in who)
        spec = _varied(rng, cast, names, who, places[scene], time, weather, new, made[-1].spec if made else None)
        style = "full" if new else _later_style(rng, heroes)
        introduced.update(who)
        made.append(StoryShot(spec, caption(spec, style), style, scene + 1, True))
    who_text = _AND[heroes].format(*names)
    title = rng.choice(_TITLES).format(who=who_text, place=_PLACE_TITLES[kinds[0]], adjective=rng.choice(_ADJECTIVES))
    looks = _AND[heroes].format(*(f"{name}, {describe(hero)}," for name, hero in zip(names, cast, strict=True)))
    way = ", then ".join(f"the {_PLACE_TITLES[place.kind].lower()}" for place in places)
    overview = f"{looks} {'spends' if heroes == 1 else 'spend'} a day out and about: {way}."
    return WorldStory(title, overview, cast, names, tuple(made), seed)


def _later_style(rng: Random, heroes: int) -> CaptionStyle:
    return "brief" if heroes == 2 else rng.choice(("name", "name", "hero"))


def _who(rng: Random, index: int, heroes: int, introduced: set[int]) -> tuple[int, ...]:
    if heroes == 1:
        return (0,)
    if index < 2 and len(introduced) < 2:  # each alone first, so that memory shows who is who
        return (index,)
    return rng.choice(((0,), (1,), (0, 1), (0, 1)))


def _varied(
    rng: Random,
    cast: tuple[Hero, ...],
    names: tuple[str, ...],
    who: tuple[int, ...],
    place: Place,
    time: str,
    weather: str,
    new: bool,
    before: ShotSpec | None,
) -> ShotSpec:
    """A shot that differs from the one before in action and, mostly, in shot type."""
    while True:
        shot_type = rng.choice(("medium", "medium", "wide")) if new else rng.choice(SHOT_TYPES)
        spec = stage(
            rng, tuple(cast[i] for i in who), tuple(names[i] for i in who), place, time, weather, shot_type=shot_type
        )
        actions = [actor.action for actor in spec.actors]
        assert all(action in ACTIONS for action in actions)
        if new and ("sleep" in actions or not _all_to_be_seen(spec)):  # no way to be introduced
            continue
        if before is None or [actor.action for actor in before.actors] != actions:
            return spec


def _all_to_be_seen(spec: ShotSpec) -> bool:
    return all(len(hero["visible"]) == len(ATTRIBUTES) for hero in ground_truth(spec)["heroes"])
