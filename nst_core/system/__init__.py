"""This machine: files, memory, devices and signs of life."""
