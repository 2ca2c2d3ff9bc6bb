"""Faces on photos."""
