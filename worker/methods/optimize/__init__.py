"""The method optimize: the pixels of a photo, optimised for minutes."""
