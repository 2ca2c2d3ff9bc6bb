"""A process that stays well: the engine, health checks, the watchdog, reports and the base of all tasks."""
