"""Trainings. A worker takes a run a few steps further in each segment, from one checkpoint to the next."""
