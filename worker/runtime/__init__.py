"""A process that stays well: engine, watchdog, health and reports."""
