"""From options, script, film and model to the settings of a film: who is stronger, and what contradicts what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from storymem.cli.options import given
from storymem.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from storymem.cli.options import Continue
    from storymem.film.film_settings import FilmSettings
    from storymem.film.maker import ShotMaker
    from storymem.film.manifest import Manifest
    from storymem.film.resolve import ResolvedModel
    from storymem.settings import MemoryConfig, SamplingConfig
    from storymem.story import Story
    from storymem.story.model import FilmDefaults

__all__ = ["film_settings", "refuse_contradictions"]

_SHAPE = ("width", "height", "num_frames", "fps")  # of a film: no other LoRA changes them

_Kinship = Literal["same", "changed", "renewed", "other"]


def film_settings(
    story: Story,
    resolved: ResolvedModel,
    before: Manifest | None,
    maker: ShotMaker | None = None,
    *,
    sampling: dict[str, Any],
    memory: dict[str, Any],
    seed: int | None,
    continue_with: Continue | None,
    negative_prompt: str | None,
    portraits: bool | None = None,
    takes: int | None = None,
    critic: str | None = None,
) -> FilmSettings:
    """The settings of a film: options over the script over what the film has over what the model was made for.

    Of a film that is gone on with, a script says what it says otherwise than before; the rest the film has decided. A
    film does not tell what of that its user said from what its model did, so how much stays is up to the model:

    - the film's own weights, wherever they lie now: everything;
    - the same model with another LoRA, another first-shot model or another file: size, length and rate, the memory, the
      seed, the negative prompt, whether there are portraits and how many takes, chosen by whom; with the same LoRA, how
      shots are continued. How a shot is sampled is the new one's own;
    - other weights under the same name, of a newer storymem or trained again: what the model says nothing of was said
      by the user. So of size, length, rate, memory, portraits and takes that stays which the model says nothing of, and
      the seed and a negative prompt do. How a shot is sampled is as of today;
    - another model: nothing.

    Args:
        story: the story.
        resolved: the model.
        before: the film as it is, if it is gone on with.
        maker: of the model, if there is a film before: it knows whether the weights are the film's own. Without it,
            those that were asked for in the same words are taken for that.
        sampling: options for `SamplingConfig`; None is not given.
        memory: options for `MemoryConfig`, likewise.
        seed: option.
        continue_with: option.
        negative_prompt: option.
        portraits: option.
        takes: option.
        critic: option.
    """
    from dataclasses import replace

    from storymem.film.film_settings import FilmSettings

    sampling, memory = given(**sampling), given(**memory)
    base: dict[str, Any] = dict(resolved.sampling)
    base_memory: dict[str, Any] = dict(resolved.memory)
    of_film: dict[str, Any] = {}  # what stays beside sampling and memory
    if before is not None:
        own, kin = before.settings, _kinship(resolved, before, maker)
        base |= (kept_sampling := _kept(own.sampling, resolved.sampling, kin, names=_SHAPE))
        base_memory |= (kept_memory := _kept(own.memory, resolved.memory, kin))
        if kin != "other":
            of_film = {name: getattr(own, name) for name in ("seed", "negative_prompt", "portraits", "takes", "critic")}
        if kin == "renewed":  # an empty one cannot be told from none, nor "no" from a model that had none
            of_film["negative_prompt"] = own.negative_prompt or None
            of_film["portraits"] = None if resolved.portraits else own.portraits
            of_film["takes"] = None if resolved.takes > 1 else own.takes
            of_film["critic"] = resolved.critic or own.critic
        decided = {*kept_sampling, *kept_memory, *given(**of_film)}  # what the film has an answer to
        if "num_frames" in decided:
            decided.add("duration")
        if kin == "same":
            of_film["portrait_prompt"] = own.portrait_prompt
        if kin == "same" or (kin == "changed" and not _has_other_loras(resolved, before)):
            of_film["continue_with"] = own.continue_with
        rate = sampling.get("fps"), base.get("fps", own.sampling.fps)
        story = replace(story, defaults=_said_anew(story.defaults, before, decided, rate=rate))
    takes = _first_said(takes, story.defaults.takes, of_film.get("takes"), resolved.takes)
    if before is not None and before.settings.takes == 1 < takes:
        of_film["critic"] = None  # nobody chose yet
    said_sampling, said_memory = set(story.defaults.sampling()), story.defaults.memory()
    if story.defaults.duration is not None:
        said_sampling.add("num_frames")
    if "guidance_scale" in said_sampling:  # one number given means both experts
        said_sampling.add("guidance_scale_2")
    if "guidance_scale" in sampling and "guidance_scale_2" not in sampling:
        sampling["guidance_scale_2"] = sampling["guidance_scale"]
    if "capacity" in memory and "sink" not in memory and "sink" not in said_memory:
        # A bank smaller than the sink takes the sink down with it.
        memory["sink"] = min(base_memory.get("sink", 3), max(memory["capacity"], 0))
    return FilmSettings.for_story(
        story,
        sampling={**{key: value for key, value in base.items() if key not in said_sampling}, **sampling},
        memory={**{key: value for key, value in base_memory.items() if key not in said_memory}, **memory},
        seed=_first_said(seed, story.defaults.seed, of_film.get("seed")),
        continue_with=_first_said(
            None if continue_with is None else continue_with.value,
            of_film.get("continue_with"),
            resolved.continue_with,
        ),
        negative_prompt=_first_said(
            negative_prompt, story.defaults.negative_prompt, of_film.get("negative_prompt"), resolved.negative_prompt
        ),
        portraits=_first_said(portraits, story.defaults.portraits, of_film.get("portraits"), resolved.portraits),
        portrait_prompt=_first_said(of_film.get("portrait_prompt"), resolved.portrait_prompt),
        takes=takes,
        critic=_first_said(critic, of_film.get("critic"), resolved.critic),
    )


def _kinship(resolved: ResolvedModel, before: Manifest, maker: ShotMaker | None) -> _Kinship:
    """How the model that is asked for is related to the film's; see `film_settings`."""
    asked, had = resolved.request.to_json(), before.tools.description.get("request")
    if asked == had if maker is None else maker.identity == before.tools.model:
        return "same"
    if not isinstance(had, dict) or asked["model"] != had.get("model"):
        return "other"
    return "renewed" if asked == had else "changed"


def _has_other_loras(resolved: ResolvedModel, before: Manifest) -> bool:
    """Whether the LoRAs that are asked for are not the film's; which frames a shot is given is a matter of those."""
    return bool(resolved.request.to_json()["loras"] != before.tools.description["request"].get("loras"))


def _kept(
    own: SamplingConfig | MemoryConfig, of_model: Mapping[str, Any], kin: _Kinship, *, names: Collection[str] = ()
) -> dict[str, Any]:
    """What stays of the film's sampling or memory.

    Args:
        own: the film's.
        of_model: what today's model says.
        kin: how the models are related.
        names: all that can stay with weights that are not the film's own; none given is everything.
    """
    from dataclasses import asdict

    values = asdict(own)
    if kin == "other":
        return {}
    if kin != "same" and names:
        values = {name: values[name] for name in names}
    return {name: value for name, value in values.items() if kin != "renewed" or name not in of_model}


def _said_anew(
    defaults: FilmDefaults, before: Manifest, decided: set[str], *, rate: tuple[int | None, int]
) -> FilmDefaults:
    """What a script says otherwise than it did when the film decided; at another rate its seconds are counted again.

    Args:
        defaults: of the script.
        before: the film.
        decided: fields of the defaults that the film has an answer to.
        rate: frames per second as an option says them, and as they are if neither option nor script says them anew.
    """
    from dataclasses import asdict, replace

    now, old, (asked, otherwise) = asdict(defaults), asdict(before.story.defaults), rate
    said = replace(defaults, **{name: None for name in decided & now.keys() if now[name] == old[name]})
    is_another = (asked or said.fps or otherwise) != before.settings.sampling.fps
    return replace(said, duration=defaults.duration) if is_another else said


def refuse_contradictions(
    settings: FilmSettings, *, portraits: bool | None, quality: float | None, critic: str | None
) -> None:
    """See that options ask for nothing that the film's settings rule out.

    Args:
        settings: of the film.
        portraits: option.
        quality: option.
        critic: option.

    Raises:
        SettingsError: they do.
    """
    from storymem.film.critics import NO_CRITIC

    if portraits and not settings.memory.capacity:
        raise SettingsError(
            "--portraits and a memory of size 0 contradict each other, since portraits are made to be remembered: "
            "leave --portraits out, or give a larger --memory-size."
        )
    if quality is not None and settings.memory.scorer == "none":
        raise SettingsError(
            "--quality and the scorer none contradict each other, since nothing is scored then: leave --quality out, "
            "or give another --scorer, such as builtin."
        )
    if critic is not None and settings.takes == 1 and critic != NO_CRITIC:
        raise SettingsError(
            "--critic and one take of each shot contradict each other, since there is nothing to choose from: give "
            "--takes 2 or more, or leave --critic out."
        )


def _first_said(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
