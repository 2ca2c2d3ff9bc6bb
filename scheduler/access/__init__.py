"""Who a request is from, what it may do, where, and how much of it."""
