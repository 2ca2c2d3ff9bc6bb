"""Tests of scheduler.jobs.methods."""
