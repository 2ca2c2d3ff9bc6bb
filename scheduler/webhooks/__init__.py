"""Webhooks: telling other programs of events, by Standard Webhooks 1.0.0."""
