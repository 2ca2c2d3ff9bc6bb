"""Networks: the transformer, the loss networks and their weights."""
