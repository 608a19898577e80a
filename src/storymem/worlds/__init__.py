"""Procedural worlds: endless footage with captions and ground truth, for training and for measuring."""
