"""The fields of our own form of a script: what `yaml_form` reads and the published JSON Schema describes."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from storymem.settings import MAX_FPS, MAX_SIZE, MAX_STEPS, Recall
from storymem.story.check import SWITCHES, Cut, Form, Frames, Text, TextOrFields, refuse
from storymem.story.nodes import describe

__all__ = [
    "NAME",
    "CharacterEntry",
    "DefaultsEntry",
    "FilmScript",
    "MemoryEntry",
    "SceneEntry",
    "ShotEntry",
    "seconds_of",
]

MAX_SECONDS = 600
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
# Names that Windows does not give to files, whatever their ending.
_RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{digit}" for name in ("com", "lpt") for digit in range(1, 10))}
NAME = re.compile(r"\S(.{0,78}\S)?")


def seconds_of(value: object) -> float:
    """A duration as a script gives it, a number or a text such as ``"3s"``, in seconds."""
    number: object = value
    if isinstance(value, str) and (match := re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*s\s*", value)):
        number = float(match.group(1))
    if isinstance(number, (int, float)) and not isinstance(number, bool) and 0 < number <= MAX_SECONDS:
        return float(number)
    raise refuse(
        f'found {describe(value)}; a duration is seconds, above 0 and at most {MAX_SECONDS}, such as 3 or "3s"'
    )


def _id(value: object) -> object:
    if isinstance(value, str) and _ID.fullmatch(value) and value not in _RESERVED:
        return value
    slug = re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")[:64] if isinstance(value, str) else ""
    example = slug if _ID.fullmatch(slug) and slug not in _RESERVED else "opening"
    raise refuse(
        f"found {describe(value)}; an id names files: 1 to 64 small letters, digits, - and _, a letter or digit first, "
        f'and no name that Windows reserves, such as "{example}"'
    )


def _portrait(value: object) -> object:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if (word := SWITCHES.get(value.strip().lower())) is not None:
            return word
        if _says_something(value):
            return value
    raise refuse(f"found {describe(value)}; allowed: true, false, or the prompt of the portrait")


def _names(value: object) -> object:
    names = [value] if isinstance(value, str) else value
    if isinstance(names, list) and all(not isinstance(name, str) or _says_something(name) for name in names):
        return names
    raise refuse(f"found {describe(value)}; a name, or a list of names, is wanted, each with a letter in it")


def _says_something(text: str) -> bool:
    return any(character.isalnum() for character in text)


Duration = Annotated[
    float,
    BeforeValidator(seconds_of),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_SECONDS},
                {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*s\s*$"},
            ],
            "examples": [3, "2.5s"],
        }
    ),
]
ShotId = Annotated[
    str,
    BeforeValidator(_id),
    WithJsonSchema({"type": "string", "pattern": f"^{_ID.pattern}$", "examples": ["opening"]}),
]
References = Annotated[
    list[Text],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"\S"},
                {"type": "array", "items": {"type": "string", "pattern": r"\S"}},
            ],
            "examples": [["mara.png", "mara_side.png"]],
        }
    ),
]
Portrait = Annotated[
    bool | str,
    BeforeValidator(_portrait),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": r"\S"}]}),
]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]


Names = Annotated[
    list[Text],
    BeforeValidator(_names),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"\S"},
                {"type": "array", "items": {"type": "string", "pattern": r"\S"}},
            ],
            "examples": ["the girl", ["the girl", "Miss Stone"]],
        }
    ),
]


class CharacterEntry(TextOrFields):
    """A character: a description, or fields."""

    model_config = ConfigDict(title="Character")

    description: Text | None = Field(
        default=None,
        description="What the character looks like; put behind the name where a prompt first names the character.",
        examples=["a girl with a red coat and short black hair"],
    )
    references: References | None = Field(
        default=None,
        description="Reference images, as paths from the script's folder; they are the film's first memory.",
    )
    portrait: Portrait | None = Field(
        default=None,
        description="true: a picture of the character is made before the film and remembered; or the prompt of it.",
        examples=[True, "Mara stands by a window and looks into the camera. Medium shot."],
    )
    called: Names | None = Field(
        default=None, description="What prompts call the character beside the name; one text or a list."
    )


class MemoryEntry(Form):
    """How keyframes are chosen and kept."""

    model_config = ConfigDict(title="Memory")

    capacity: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        default=None, description="Most keyframes in the memory; 0 switches it off.", examples=[10]
    )
    sink: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        default=None, description="How many of the first keyframes stay for ever.", examples=[3]
    )
    max_keyframes_per_shot: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="Most keyframes taken from one shot.", examples=[3]
    )
    similarity_threshold: Annotated[float, Field(ge=-1, le=1)] | None = Field(
        default=None, description="A frame less similar than this to the last keyframe becomes one.", examples=[0.9]
    )
    threshold_step: Annotated[float, Field(gt=0, le=2)] | None = Field(
        default=None,
        description="By how much the threshold falls while a shot has too many keyframes.",
        examples=[0.01],
    )
    quality_threshold: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        default=None, description="A frame scored below this is no keyframe.", examples=[3.0]
    )
    encoder: Text | None = Field(default=None, description="Name of the frame encoder.", examples=["builtin"])
    scorer: Text | None = Field(default=None, description="Name of the quality scorer.", examples=["builtin", "none"])
    recall: Recall | None = Field(
        default=None,
        description="What a shot sees of the memory: all of it, the cast that it names, or also the last of its scene.",
        examples=["cast"],
    )


class DefaultsEntry(Form):
    """Settings for the whole film; options of the command line go before them."""

    model_config = ConfigDict(title="Defaults")

    width: Annotated[int, Field(ge=16, le=MAX_SIZE, multiple_of=16)] | None = Field(
        default=None, description="Width of the picture in pixels, a multiple of 16.", examples=[832]
    )
    height: Annotated[int, Field(ge=16, le=MAX_SIZE, multiple_of=16)] | None = Field(
        default=None, description="Height of the picture in pixels, a multiple of 16.", examples=[480]
    )
    fps: Annotated[int, Field(ge=1, le=MAX_FPS)] | None = Field(
        default=None, description="Frames per second; those of the model if not said.", examples=[16]
    )
    duration: Duration | None = Field(default=None, description="Length of a shot in seconds.")
    num_frames: Frames | None = Field(default=None, description="Length of a shot in frames, 4k + 1.")
    num_inference_steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = Field(
        default=None, description="Denoising steps.", examples=[40]
    )
    solver: Literal["unipc", "dpm++", "euler"] | None = Field(default=None, description="Solver.", examples=["unipc"])
    shift: Annotated[float, Field(gt=0, le=100)] | None = Field(default=None, description="Flow shift.", examples=[4.0])
    boundary_ratio: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="Where the low-noise expert takes over, as a share of the noise.", examples=[0.9]
    )
    guidance_scale: Annotated[float, Field(ge=1, le=100)] | None = Field(
        default=None,
        description="Guidance; 1 switches it off. Of the high-noise expert, if the other is said too.",
        examples=[3.5],
    )
    guidance_scale_2: Annotated[float, Field(ge=1, le=100)] | None = Field(
        default=None, description="Guidance of the low-noise expert.", examples=[3.5]
    )
    memory_guidance_scale: Annotated[float, Field(ge=1, le=100)] | None = Field(
        default=None, description="How strongly memory leads a shot; 1 is the method's.", examples=[1.5]
    )
    guidance_every: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = Field(
        default=None, description="Guidance asks the model at every so many steps: faster, less exact.", examples=[2]
    )
    memory_stride: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = Field(
        default=None, description="Distance in time, in latent frames, between memory keyframes.", examples=[5]
    )
    seed: Seed | None = Field(
        default=None, description="The film's seed; every shot gets its own from it.", examples=[7]
    )
    negative_prompt: str | None = Field(default=None, description="What no shot should show.")
    model: Text | None = Field(default=None, description="Name or folder of the model, as for --model.")
    lora: Text | None = Field(default=None, description="Name or folder of the LoRA, as for --lora.")
    portraits: bool | None = Field(
        default=None,
        description="true: a portrait of every described character without pictures is made before the film.",
        examples=[True],
    )
    takes: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Takes made of each shot; a critic puts the best into the film.", examples=[3]
    )
    memory: MemoryEntry | None = Field(default=None, description="How keyframes are chosen and kept.")


class ShotEntry(TextOrFields):
    """A shot: its prompt, or fields."""

    model_config = ConfigDict(title="Shot")

    prompt: Text = Field(
        description="What is to be seen in the shot. Name the cast as in `cast`.",
        examples=["Mara opens the door of the lighthouse. Wide shot, slow camera."],
    )
    cut: Cut = Field(
        default=True,
        description="true: the shot begins with a cut; false: it goes on from the last frame of the one before.",
    )
    id: ShotId | None = Field(
        default=None, description="A name for the shot that stays when shots are moved; files are named by it."
    )
    seed: Seed | None = Field(default=None, description="A seed for this shot alone.", examples=[7])
    duration: Duration | None = Field(default=None, description="Length in seconds.")
    num_frames: Frames | None = Field(default=None, description="Length in frames, 4k + 1; instead of `duration`.")
    negative_prompt: str | None = Field(default=None, description="What this shot should not show.")
    forget: bool = Field(
        default=False,
        description="true: this shot and those after it do not see what was made before; references stay.",
    )
    shows: list[Text] | None = Field(
        default=None,
        description="Who of the cast is in the shot, if the prompt does not name them; an empty list is nobody.",
        examples=[["Mara"], []],
    )
    describe_cast: bool = Field(
        default=True, description="false: the descriptions of the cast are not put into this prompt."
    )
    first_frame_prompt: Text | None = Field(
        default=None, description="A description of the first frame; kept, not used by the model."
    )


class SceneEntry(Form):
    """A scene: shots that belong together."""

    model_config = ConfigDict(title="Scene")

    title: Text | None = Field(default=None, description="A title for you; the model does not see it.")
    shots: list[ShotEntry] = Field(min_length=1, description="The shots, in order.")


class FilmScript(Form):
    """A story script in StoryMem's own form."""

    model_config = ConfigDict(
        title="StoryMem script",
        json_schema_extra={"oneOf": [{"required": ["scenes"]}, {"required": ["shots"]}]},
    )

    title: Text = Field(description="The title of the film.", examples=["The Lighthouse"])
    overview: str | None = Field(default=None, description="The story in a few sentences.")
    cast: dict[str, CharacterEntry] | None = Field(
        default=None,
        description="The characters, by the name that prompts use.",
        examples=[{"Mara": "a girl with a red coat"}],
        json_schema_extra={"propertyNames": {"pattern": f"^{NAME.pattern}$"}},
    )
    defaults: DefaultsEntry | None = Field(default=None, description="Settings for the whole film.")
    scenes: list[SceneEntry] | None = Field(default=None, min_length=1, description="The scenes, in order.")
    shots: list[ShotEntry] | None = Field(
        default=None, min_length=1, description="The shots of a film of one scene; instead of `scenes`."
    )
