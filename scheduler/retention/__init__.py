"""Deletion of what is old or no longer wanted."""
