"""Faces on photos: where they are, and how strongly they are painted."""
