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
  Milo the fox takes a walk by the sea, meets Zora the owl in the village, and both dance until night.

# The words below are those that the small model `storyland` knows; large models take any.

# Whoever is named here is described in every prompt that names them, behind the first mention:
# "Milo waves" becomes "Milo, a little orange fox with a blue cap and a red scarf, waves".
cast:
  Milo: a little orange fox with a blue cap and a red scarf
  Zora:
    description: a tall white owl with a green top hat and a yellow bow tie
    # Pictures of her, in the folder of this file; they become the film's first memory.
    # references: [zora.png, zora_side.png]
    # Or a portrait that is made before the film and remembered: true, false, or the prompt of it. `storyland` makes one
    # of everybody who is described here, if nothing else is said.
    # portrait: Zora waves in the meadow at noon. Medium shot.

# Settings for the whole film. All of them may be left out, and then they are the model's own; options of the command
# line go before them.
defaults:
  seed: 7
  # duration: 5        # seconds per shot
  # width: 832         # pixels, multiples of 16
  # height: 480
  # negative_prompt: blurry, text, watermark

scenes:
  - title: The beach
    shots:
      # A shot may be just its prompt. It begins with a cut.
      - Milo walks on the beach on a sunny morning. Wide shot.

      # cut: false makes a shot go on from the last frame of the one before.
      - prompt: Milo walks on the beach on a sunny morning. Wide shot. The camera follows.
        cut: false

  - title: The village
    shots:
      - prompt: Zora waves hello in the village at noon. The sky is clear. Medium shot.
        id: welcome        # a name that stays when shots are moved; without it, scene and number: 02-01
        # duration: 2      # other than the film's default
        # seed: 3          # likewise
        # negative_prompt: crowd

      # Put a prompt with a colon or a # in quotes, or write it under '>-':
      - >-
        Wide shot: Milo, on the left, dances and Zora, on the right, sings
        in the village at night.
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
