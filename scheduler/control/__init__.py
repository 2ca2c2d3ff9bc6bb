"""What the control loops share."""
