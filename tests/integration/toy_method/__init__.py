"""A method of another package: photos turn grey. Nothing in nst knows of it."""
