"""Pictures decoded in child processes that can be killed."""
