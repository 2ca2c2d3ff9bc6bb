"""Tests of scheduler.store."""
