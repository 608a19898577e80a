"""The JSON Schema of a script, made from the same classes that check it, so that the two cannot drift apart."""

from __future__ import annotations

from typing import Any

from storymem.story.load import ScriptForm

__all__ = ["json_schema"]


def json_schema(form: ScriptForm = "yaml") -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one form of script, for editors and other programs.

    It describes every field. What only the whole shows is left to `load_story`: lengths of 4k + 1 frames, lists of the
    same length, ids given twice, a first shot without a cut, reference images that do not exist.
    """
    from storymem.story.entries import FilmScript
    from storymem.story.stbench import StBenchStory

    model = FilmScript if form == "yaml" else StBenchStory
    schema = _without_null(model.model_json_schema())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:storymem:script:{form}",
        **schema,
    }


def _without_null(schema: Any) -> Any:
    """`schema` without the null of optional fields: a field that says nothing is left out, it is never null."""
    if isinstance(schema, list):
        return [_without_null(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: _without_null(value) for key, value in schema.items() if not (key == "default" and value is None)}
    choices = out.get("anyOf")
    if choices and {"type": "null"} in choices:
        del out["anyOf"]
        left = [choice for choice in choices if choice != {"type": "null"}]
        out = {**left[0], **out} if len(left) == 1 else {**out, "anyOf": left}
    return out
