"""Scripts to start from."""

from __future__ import annotations

import json

from storymem.story.load import ScriptForm, parse_story

__all__ = ["new_script"]

_YAML = """\
# A story script for StoryMem. Check it with:  storymem script check FILE
# Make the film with:                          storymem generate FILE -o FOLDER
title: @TITLE@
overview: >-
  A girl walks along the sea, finds a lighthouse, and is welcomed by its keeper.

# Whoever is named here is described in every prompt that names them, behind the first mention:
# "Mara stands" becomes "Mara (a girl with short black hair and a long red coat) stands".
cast:
  Mara: a girl with short black hair and a long red coat
  Tom:
    description: an old man with a white beard and a blue jumper
    # Pictures of him, in the folder of this file; they become the film's first memory.
    # references: [tom.png, tom_side.png]

# Settings for the whole film. All of them may be left out; options of the command line go before them.
defaults:
  duration: 5          # seconds per shot
  # width: 832         # pixels, multiples of 16
  # height: 480
  # seed: 7
  # negative_prompt: blurry, text, watermark

scenes:
  - title: The beach
    shots:
      # A shot may be just its prompt. It begins with a cut.
      - Mara stands on a wide grey beach and looks out at the sea. Wide shot, soft morning light.

      # cut: false makes a shot go on from the last frame of the one before.
      - prompt: Mara turns and sees a white lighthouse on the cliff. Medium shot.
        cut: false

  - title: The lighthouse
    shots:
      - prompt: Tom opens the green door of the lighthouse and smiles at Mara. Medium shot.
        id: welcome        # a name that stays when shots are moved; without it, scene and number: 02-01
        duration: 4        # other than the film's default
        # seed: 3
        # negative_prompt: crowd

      # Put a prompt with a colon or a # in quotes, or write it under '>-':
      - >-
        Close-up: Mara and Tom drink tea at a round window. Behind the glass the lamp turns
        and the sea goes dark.
"""

_STBENCH = """\
// A story script in the form of ST-Bench.
// Check it with:  storymem script check FILE
{
  "story_name": @TITLE@,
  "story_overview": "A girl in a red coat walks along the sea, finds a lighthouse, and is welcomed by its keeper.",
  "scenes": [
    {
      "scene_num": 1,
      // One prompt per shot. Every shot is made on its own: describe each time who is seen.
      "video_prompts": [
        "A girl in a long red coat stands on a wide grey beach and looks out at the sea. Wide shot.",
        "The girl in the red coat turns and sees a white lighthouse on the cliff. Medium shot."
      ],
      // true: the shot begins with a cut. false: it goes on from the last frame of the one before.
      "cut": [true, false]
    },
    {
      "scene_num": 2,
      "video_prompts": [
        "An old man with a white beard opens the green door of a lighthouse and smiles at the girl in the red coat."
      ],
      "cut": [true]
    }
  ]
}
"""


def new_script(title: str, form: ScriptForm = "yaml", *, comments: bool = True) -> str:
    """A script to start from, which passes the check.

    Args:
        title: of the film.
        form: how it is written.
        comments: False gives ST-Bench's form as plain JSON, which any JSON reader takes.

    Raises:
        ScriptError: the title is empty or has characters that no text may have.
    """
    lines = (_YAML if form == "yaml" else _STBENCH).splitlines(keepends=True)
    if form == "st-bench" and not comments:
        lines = [line for line in lines if not line.lstrip().startswith("//")]
    # A JSON string is also a YAML one.
    text = "".join(lines).replace("@TITLE@", json.dumps(title.strip(), ensure_ascii=False))
    parse_story(text, "--title", None, form)
    return text
