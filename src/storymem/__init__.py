"""Films of many shots, made by AI, in which everything stays itself."""
