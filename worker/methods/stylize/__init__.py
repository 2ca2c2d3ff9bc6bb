"""The method feedforward: photos through a trained network."""
