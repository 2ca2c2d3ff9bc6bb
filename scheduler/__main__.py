"""`python -m scheduler` runs a scheduler that is configured by `NST_*` variables."""

from scheduler.app import run_scheduler
from scheduler.settings import SchedulerSettings

if __name__ == "__main__":
    run_scheduler(SchedulerSettings())
