"""Programs for the development of nst."""
