"""Whatever the bytes: a story or a ScriptError. And a story that is written is read again as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from storymem.errors import ScriptError
from storymem.story import Character, FilmDefaults, Scene, Shot, Story, load_story, parse_story
from storymem.story.cast import normalise, weave
from storymem.story.check import SWITCHES
from storymem.story.write import dump_story

FILMS = [path.read_bytes() for path in (Path(__file__).parents[2] / "examples").glob("*.yaml")]
FILMS += [path.read_bytes() for path in (Path(__file__).parents[1] / "data" / "scripts").glob("*.json*")]
FILMS.append(
    b"title: x\ncast: {A: {references: a.png}, B: b}\nscenes:\n- shots: [a, {prompt: b, cut: no, id: c, seed: 1}]\n"
)
PIECES = [
    *(
        piece.encode()
        for piece in ["title", ": ", "- ", "\n", "  ", "{", "}", "[", "]", ",", '"', "'", "&a ", "*a", "!!int "]
    ),
    *(
        piece.encode()
        for piece in ["|", ">-", "#", "cut", "shots", "no", "1e999", "9" * 400, "\ufeff", "\0", "\t", "?", "//"]
    ),
    *(piece.encode() for piece in ["%YAML 1.1\n", "---\n", "...\n", "/*", "\\ud800", "\\", "<<", "null", "\u2028"]),
    b"\xff",
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A film with a few pieces put in, taken out or repeated."""
    film = draw(st.sampled_from(FILMS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(film)))
        end = min(len(film), start + draw(st.integers(0, 30)))
        film = film[:start] + draw(st.sampled_from(PIECES) | st.just(film[start:end] * 2)) + film[end:]
    return film


def check_outcome(read: Callable[[], Story]) -> None:
    """Whatever `read` gives can be worked with: a story that holds together, or one line per mistake."""
    try:
        outcome: Story | ScriptError = read()
    except ScriptError as error:
        outcome = error
    str(outcome).encode()  # no half characters, which no file or terminal takes
    if isinstance(outcome, ScriptError):
        assert outcome.problems
        assert all(problem.message and "\n" not in problem.message for problem in outcome.problems)
    else:
        assert outcome.shots[0].cut
        assert len({shot.id for shot in outcome.shots}) == len(outcome.shots)


@given(content=st.binary(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join) | damaged())
@example(content=b"null")
@example(content=b'{"\\ud800story_name": "x"}')
@example(content=b"%YAML 1.1\n--- &a [*a]")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
def test_any_bytes_are_a_story_or_a_script_error(tmp_path: Path, content: bytes) -> None:
    for name in ("film.yaml", "film.json"):
        path = tmp_path / name
        path.write_bytes(content)
        check_outcome(partial(load_story, path))


@given(st.text(max_size=60), st.sampled_from(["a.yaml", "a.json", "a"]))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_story_or_a_script_error(text: str, source: str) -> None:
    check_outcome(partial(parse_story, text, source, None))


words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30).map(str.strip).filter(bool)
# What a script takes for a prompt there: it says something, and no word that means true or false.
portrait_prompts = words.filter(lambda text: any(map(str.isalnum, text)) and text.lower() not in SWITCHES)
seeds = st.integers(0, 2**63 - 1)
frames = st.integers(0, 60).map(lambda k: 4 * k + 1)
maybe = st.none


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """A story as only a script could give it."""
    names = draw(st.lists(words.map(normalise).filter(lambda n: n == n.strip()), max_size=3, unique=True))
    looks = [" ".join(draw(words | st.just("")).split()) for _ in names]
    portraits = [draw(maybe() | st.just(False) | portrait_prompts | st.just(True if text else None)) for text in looks]
    called = [tuple(draw(st.lists(st.from_regex(r"the [a-z]{3,9}", fullmatch=True), max_size=2))) for _ in names]
    taken = [set(called[number]) & {*names, *(n for c in called[:number] for n in c)} for number in range(len(names))]
    cast = tuple(
        Character(name, text, (), portrait, () if already else others)
        for name, text, portrait, others, already in zip(names, looks, portraits, called, taken, strict=True)
    )
    scenes, index, ids = [], 0, set[str]()
    for number in range(1, draw(st.integers(1, 3)) + 1):
        shots = []
        for position in range(1, draw(st.integers(1, 3)) + 1):
            prompt = draw(words | st.sampled_from(names) if names else words)
            described = draw(st.booleans())
            full_prompt, characters = weave(prompt, cast, describe=described)
            own = draw(st.from_regex(r"[a-z][a-z0-9_-]{3,10}", fullmatch=True).filter(lambda i: i not in ids) | maybe())
            name = own or f"{number:02d}-{position:02d}"
            ids.add(name)
            shots.append(
                Shot(
                    id=name,
                    index=index,
                    scene=number,
                    prompt=prompt,
                    full_prompt=full_prompt,
                    cut=index == 0 or draw(st.booleans()),
                    seed=draw(maybe() | seeds),
                    num_frames=draw(maybe() | frames),
                    negative_prompt=draw(maybe() | words | st.just("")),
                    forget=draw(st.booleans()),
                    first_frame_prompt=draw(maybe() | words),
                    characters=characters,
                    describe_cast=described,
                    shows=draw(maybe() | st.lists(st.sampled_from(names), unique=True).map(tuple)) if names else None,
                )
            )
            index += 1
        scenes.append(Scene(number, tuple(shots), draw(maybe() | words)))
    defaults = FilmDefaults(
        width=draw(maybe() | st.just(320)),
        num_frames=draw(maybe() | frames),
        solver=draw(maybe() | st.just("euler")),
        shift=draw(maybe() | st.floats(0.5, 20)),
        seed=draw(maybe() | seeds),
        negative_prompt=draw(maybe() | words),
        lora=draw(maybe() | words),
        capacity=draw(maybe() | st.integers(3, 20)),
        similarity_threshold=draw(maybe() | st.floats(-1, 1)),
        guidance_every=draw(maybe() | st.integers(1, 9)),
        portraits=draw(maybe() | st.booleans()),
        recall=draw(maybe() | st.sampled_from(["all", "cast", "cast+scene"])),
    )
    return Story(draw(words), draw(words | st.just("")), tuple(scenes), cast, defaults)


@given(stories())
@settings(max_examples=60, deadline=None)
def test_a_written_story_is_read_again_as_it_was(story: Story) -> None:
    text = dump_story(story)
    assert parse_story(text, "film.yaml", None) == story


# Words of all lengths, longer than a line too, with what YAML has a meaning for; and the gaps that people type.
long_words = st.text("abcdeé李'\"\\:#-", min_size=1, max_size=12) | st.text("ab", min_size=90, max_size=130)
gaps = st.sampled_from([" ", " ", " ", "  ", ".  ", "   ", ", ", ": ", " #", "\n", "\n\n", " \n ", "\u00a0", "\u2003 "])


@st.composite
def long_prompts(draw: st.DrawFn) -> str:
    """A prompt of several lines, as somebody may have typed it."""
    pieces = draw(st.lists(st.tuples(long_words, gaps), min_size=1, max_size=40))
    return "a" + "".join(word + gap for word, gap in pieces) + "z"


@given(long_prompts(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_long_texts_are_read_again_as_they_were(prompt: str, alone: bool) -> None:
    first = parse_story(json.dumps({"title": "x", "shots": [prompt, "b"]}), "film.yaml", None)
    shots = (replace(first.shots[0], describe_cast=alone), first.shots[1])
    story = replace(first, overview=prompt, scenes=(Scene(1, shots),))
    assert parse_story(dump_story(story), "film.yaml", None) == story


def test_two_blanks_behind_full_stops_stay_and_other_prompts_are_folded() -> None:
    sentence = "Mara walks slowly along the wide grey beach and looks out at the sea in the warm evening light."
    once, twice = (blanks.join([sentence] * 3) for blanks in (" ", "  "))
    text = dump_story(parse_story(json.dumps({"title": "x", "shots": [once, twice]}), "film.yaml", None))
    assert [shot.prompt for shot in parse_story(text, "film.yaml", None).shots] == [once, twice]
    assert f"- {twice}\n" in text
    assert max(len(line) for line in text.splitlines() if "  Mara" not in line) < 120


def test_references_are_written_as_paths_from_the_script(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"")
    story = parse_story("title: x\ncast: {A: {references: pictures/a.png}}\nshots: [A runs]", "a.yaml", tmp_path)
    text = dump_story(story, tmp_path)
    assert "- pictures/a.png" in text
    assert parse_story(text, "b.yaml", tmp_path) == story
