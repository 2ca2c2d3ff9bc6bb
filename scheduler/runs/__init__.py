"""Trainings of styles, as runs: what clients ask of them, and the loops that keep each going to its end."""
