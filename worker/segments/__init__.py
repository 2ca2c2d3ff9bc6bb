"""Trainings, segment by segment."""
