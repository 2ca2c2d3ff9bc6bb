"""The machine: files, memory, devices and the heartbeat of a process."""
