"""What all work shares: Celery, the thread that runs networks, health checks, the watchdog, reports and tasks."""
