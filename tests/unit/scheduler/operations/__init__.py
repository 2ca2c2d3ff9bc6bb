"""Tests of scheduler.operations."""
