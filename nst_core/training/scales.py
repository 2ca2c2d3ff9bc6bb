"""Ranges of the two factors that change the look of a training's preset."""

#: Size of the strokes, times the preset's.
STROKES = (0.05, 20.0)
#: Weight of the style, times the preset's.
STRENGTHS = (0.01, 100.0)
