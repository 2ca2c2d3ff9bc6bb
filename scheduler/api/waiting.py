"""`Prefer: wait=N` (RFC 7240): delays the response until the job has ended, without occupying a thread."""

import asyncio
import re
from collections.abc import Callable

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from scheduler.domain.jobs import Job

MAX_WAIT_S = 60
#: Seconds between two queries for the job: the first and the longest pause.
_FIRST_S = 0.5
_LONGEST_S = 2.0


def wait_s(prefer: str) -> int | None:
    """Return how many seconds a client wants to wait, at most 60; None if the header is missing or invalid."""
    for preference in prefer.split(","):
        match = re.fullmatch(r'\s*wait\s*=\s*"?(\d{1,9})"?\s*(;.*)?', preference, re.IGNORECASE)
        if match is not None:
            # The first value counts (RFC 7240).
            return min(int(match[1]), MAX_WAIT_S) or None
    return None


async def wait_for_end(job: Job, look: Callable[[], Job], *, request: Request, response: Response, prefer: str) -> Job:
    """Return the job from `look` when it has ended or after `seconds`.

    It queries the database at most twice a second, and less often as time passes. It stops when the client disconnects.
    """
    seconds = wait_s(prefer)
    if seconds is None:
        return job
    response.headers["Preference-Applied"] = f"wait={seconds}"
    clock = asyncio.get_running_loop().time
    end, pause = clock() + seconds, _FIRST_S
    while not job.status.is_terminal and not await request.is_disconnected():
        rest = end - clock()
        if rest < _FIRST_S / 2:
            break
        # Do not query shortly before the last query.
        await asyncio.sleep(rest if rest < pause + _FIRST_S else pause)
        pause = min(pause * 1.5, _LONGEST_S)
        job = await run_in_threadpool(look)
    return job
