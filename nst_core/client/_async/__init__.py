"""The client itself; the synchronous one is generated from the asynchronous one."""
