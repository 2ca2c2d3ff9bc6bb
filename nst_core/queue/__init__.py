"""Redis: the Celery app, the event stream and hints."""
