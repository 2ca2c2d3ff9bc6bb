"""Events of jobs and runs, as they happen."""
