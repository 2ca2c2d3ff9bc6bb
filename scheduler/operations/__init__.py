"""Commands for operators: what they do is done here, and not by the API."""
