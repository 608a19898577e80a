"""From frames to what the transformer sees: layout, positions and the shot condition."""
