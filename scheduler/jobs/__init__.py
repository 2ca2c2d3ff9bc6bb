"""Jobs, from their submission to their reports."""
