"""What all work shares: Celery, the threads that run networks, health checks, the watchdog, reports and tasks."""
