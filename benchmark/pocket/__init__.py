"""Pocket: the small language model that ships with the project, the world it was trained on, and its training."""
