"""Pictures with twice or four times as many pixels on each side, by a network that was trained on painted ones."""
