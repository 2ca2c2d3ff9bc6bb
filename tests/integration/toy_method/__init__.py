"""A method of another package that turns photos grey. Nothing in nst knows it."""
