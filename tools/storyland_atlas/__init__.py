"""Draws the sprites of Storyland: run by `tools/build_atlas.py`, never by the package."""
