"""The Celery worker of nst."""
