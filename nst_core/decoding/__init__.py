"""Decoding of images in child processes, which can be killed."""
