"""Instruments of the look: how much of the painting a picture has, how much of the photo, and faults that people see.

No training minimises any of them, so they tell what a loss does not. Pictures are H x W x 3 uint8, at least 64 px high
and wide; grey levels are those of 255.
"""
