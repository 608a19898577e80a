"""From pydantic's findings to messages for film makers: what was found, what is allowed, on which line."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError

from storymem.errors import Problem
from storymem.story.model import MAX_NUM_FRAMES
from storymem.story.nodes import Key, Tree, describe, field_path, shorten

__all__ = ["SWITCHES", "Cut", "Form", "Frames", "Mistakes", "Text", "TextOrFields", "refuse", "validated"]

_NOT_BLANK = r"\S"
SWITCHES = {"true": True, "yes": True, "false": False, "no": False}
"""What people write for true and false where a text may stand, in capitals or not."""

# What people write when they mean one of our fields.
_SYNONYMS = {
    "name": ("title", "story_name"),
    "story_name": ("title",),
    "title": ("story_name",),
    "story_overview": ("overview",),
    "overview": ("story_overview",),
    "summary": ("overview", "story_overview"),
    "characters": ("cast",),
    "settings": ("defaults",),
    "text": ("prompt",),
    "video_prompt": ("prompt", "video_prompts"),
    "prompts": ("video_prompts",),
    "prompt": ("video_prompts",),
    "continues": ("cut",),
    "cuts": ("cut",),
    "length": ("duration",),
    "seconds": ("duration",),
    "frames": ("num_frames",),
    "negative": ("negative_prompt",),
    "images": ("references",),
    "image": ("references",),
    "steps": ("num_inference_steps",),
    "cfg": ("guidance_scale",),
    "look": ("description",),
}


def refuse(message: str) -> PydanticCustomError:
    """The error that a validator of ours raises: its message is shown as it is."""
    return PydanticCustomError("storymem", "{message}", {"message": message})


class Form(BaseModel):
    """Base of everything that may stand in a script: nothing is converted silently, nothing unknown is passed over."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class TextOrFields(Form):
    """A form that may also be written as a plain text, which is then the value of its first field."""

    @classmethod
    def main_field(cls) -> str:
        """The field that a plain text stands for."""
        return next(iter(cls.model_fields))

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: object) -> object:
        if isinstance(data, dict) and len(data) == 1:
            name, rest = next(iter(data.items()))
            if isinstance(rest, str) and name not in cls.model_fields and not _close_to(name, cls.model_fields):
                raise refuse(f"found '{shorten(f'{name}: {rest}')}', no field here; if it is a text, put it in quotes")
        return {cls.main_field(): data} if isinstance(data, str) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Either a text as for the main field, or the fields."""
        reference = handler(schema)
        definition = handler.resolve_ref_schema(reference)
        fields = dict(definition)
        heading = {name: fields.pop(name) for name in ("title", "description")}
        definition.clear()
        definition.update(heading, anyOf=[fields["properties"][cls.main_field()], fields])
        return reference


FormT = TypeVar("FormT", bound=Form)

Text = Annotated[str, Field(pattern=_NOT_BLANK)]


def _cut(value: object) -> object:
    if isinstance(value, str):
        word = SWITCHES.get(value.strip().lower())
        if word is not None:
            return word
    elif isinstance(value, bool):
        return value
    raise refuse(f"found {describe(value)}; allowed: true (begins with a cut) or false (continues the shot before)")


_ANY_CASE = "|".join("".join(f"[{letter.upper()}{letter}]" for letter in word) for word in SWITCHES)
Cut = Annotated[
    bool,
    BeforeValidator(_cut),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": f"^({_ANY_CASE})$"}]}),
]


def _frames(value: int) -> int:
    if not 1 <= value <= MAX_NUM_FRAMES or (value - 1) % 4:
        lower = min(max(1, (value - 1) // 4 * 4 + 1), MAX_NUM_FRAMES - 4)
        allowed = f"a number of frames is 4k + 1 and at most {MAX_NUM_FRAMES}, such as {lower} or {lower + 4}"
        raise refuse(f"found the number {describe(value).removeprefix('the number ')}; {allowed}")
    return value


Frames = Annotated[
    int,
    AfterValidator(_frames),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_NUM_FRAMES, "examples": [49, 81]}),
]


class Mistakes:
    """Collects what is wrong with one script, with lines."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._problems: list[Problem] = []

    def add(self, path: Sequence[Key], message: str) -> None:
        """Note one mistake at `path`."""
        self._problems.append(Problem(field_path(path), message, self.tree.line_of(path)))

    @property
    def problems(self) -> list[Problem]:
        """Every mistake, those of the reader included, in file order."""
        return sorted([*self.tree.mistakes, *self._problems], key=lambda problem: problem.line or 0)


def validated(form: type[FormT], data: object, mistakes: Mistakes) -> FormT | None:
    """`data` as a `form`, or None with every reason noted in `mistakes`."""
    try:
        return form.model_validate(data)
    except ValidationError as error:
        findings = error.errors(include_url=False)
        misspelt = {
            (*found["loc"][:-1], _close_to(str(found["loc"][-1]), _form_at(form, found["loc"][:-1]).model_fields))
            for found in findings
            if found["type"] == "extra_forbidden"
        }
        for details in findings:
            path = details["loc"]
            is_null = details["input"] is None and details["type"] != "missing" and path
            if is_null or details["type"] == "string_unicode":
                continue  # the reader has already said what is wrong there
            if details["type"] != "missing":
                mistakes.add(path, _message(form, details))
            elif path not in misspelt:  # a misspelt field is one mistake, not an unknown one and a missing one
                mistakes.add(path, f"is missing; {_wanted(form, path)}")
        return None


# What is allowed, for those findings of pydantic that need no more than their context.
_ALLOWED = {
    "literal_error": "allowed: {expected}",
    "too_short": "at least one entry is wanted",
    "list_type": "a list is wanted",
    "int_type": "a whole number is wanted",
    "int_from_float": "a whole number is wanted",
    "float_type": "a number is wanted",
    "finite_number": "an ordinary number is wanted",
    "bool_type": "allowed: true or false",
    "greater_than_equal": "it must be at least {ge:g}",
    "greater_than": "it must be above {gt:g}",
    "less_than_equal": "it must be at most {le}",
}


def _message(form: type[Form], details: ErrorDetails) -> str:
    value, path, kind = details["input"], details["loc"], details["type"]
    context: dict[str, Any] = details.get("ctx", {})
    if kind == "storymem":
        return str(context["message"])
    if kind == "extra_forbidden":
        return _unknown(str(path[-1]), _form_at(form, path[:-1]).model_fields)
    if kind == "string_pattern_mismatch":  # the only pattern is that of `Text`: not blank
        allowed = _wanted(form, path)
    elif kind == "string_type":
        allowed = "a text is wanted" + (": put it in quotes" if isinstance(value, (bool, int, float)) else "")
    elif kind == "model_type":
        inner = _form_at(form, path)
        text = "a text or fields are wanted" if issubclass(inner, TextOrFields) else "fields are wanted"
        allowed = f"{text} ({', '.join(inner.model_fields)})"
    elif kind == "dict_type":
        fields = ", ".join(_form_at(form, path).model_fields)
        allowed = f"names are wanted, each with its fields ({fields}), such as 'Milo: a fox' on a line of its own"
    elif kind == "multiple_of":
        step = context["multiple_of"]
        lower = max(step, value // step * step)
        allowed = f"it must be a multiple of {step}, such as {lower} or {lower + step}"
    elif kind in _ALLOWED:
        allowed = _ALLOWED[kind].format(**context)
        if kind == "list_type" and path[-1] == "shots":
            allowed += ", such as '- Milo waves' on a line of its own"
    else:
        allowed = details["msg"][:1].lower() + details["msg"][1:]
    return f"found {describe(value)}; {allowed}"


def _wanted(form: type[Form], path: Sequence[Key]) -> str:
    """What belongs at `path`, from the description of the field."""
    names = [key for key in path if isinstance(key, str)]
    parent = _form_at(form, path[:-1] if isinstance(path[-1], str) else path[:-2])
    field = parent.model_fields.get(names[-1]) if names else None
    meaning = field.description.split(". ")[0].rstrip(".") if field and field.description else "a text"
    return f"wanted: {meaning[:1].lower()}{meaning[1:]}"


def _unknown(name: str, allowed: Iterable[str]) -> str:
    close = _close_to(name, allowed)
    return f"unknown field; did you mean {close}?" if close else f"unknown field; allowed: {', '.join(allowed)}"


def _close_to(name: str, allowed: Iterable[str]) -> str | None:
    """The field that was probably meant by `name`."""
    names = list(allowed)
    close = [synonym for synonym in _SYNONYMS.get(name.lower(), ()) if synonym in names]
    close = close or difflib.get_close_matches(name.lower().replace("-", "_").replace(" ", "_"), names, n=1)
    return close[0] if close else None


def _form_at(form: type[Form], path: Sequence[Key]) -> type[Form]:
    """The form that describes the mapping at `path`."""
    for key in path:
        field = form.model_fields.get(key) if isinstance(key, str) else None
        inner = None if field is None else _form_in(field.annotation)
        form = inner or form
    return form


def _form_in(annotation: Any) -> type[Form] | None:
    """The form inside ``list[X]``, ``dict[str, X]``, ``X | None`` and their combinations."""
    if get_origin(annotation) in (list, dict, Union, types.UnionType, Annotated):
        return next((inner for argument in get_args(annotation) if (inner := _form_in(argument)) is not None), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, Form) else None
