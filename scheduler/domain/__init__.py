"""The words of the scheduler: values and rules that need no database."""
