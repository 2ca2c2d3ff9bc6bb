"""What an earlier release left in its database and sent through Redis, and that this one understands it."""
