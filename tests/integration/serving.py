"""A real HTTP server with the API, in a separate thread."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from scheduler.local.servers import HOST, free_port


@contextmanager
def serving(api: FastAPI) -> Iterator[str]:
    """Serve an app for the block, and yield its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(api, host=HOST, port=port, log_level="error", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://{HOST}:{port}"
    finally:
        server.should_exit = True
        thread.join()
