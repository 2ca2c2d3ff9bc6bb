"""The feed-forward method: photos through a trained network."""
