"""Photos that clients bring."""
