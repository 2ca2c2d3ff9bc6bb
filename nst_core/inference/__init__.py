"""Engines, which run a trained style on photos: their protocol, the list of them, and the reference engine."""
