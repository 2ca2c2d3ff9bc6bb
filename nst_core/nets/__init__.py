"""Networks: the transformer, the loss networks, their weights and the memory that they need."""
