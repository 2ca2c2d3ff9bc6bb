"""Files between this machine and the storage."""
