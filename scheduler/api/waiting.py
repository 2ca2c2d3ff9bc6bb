"""`Prefer: wait=N` (RFC 7240): an answer that waits for the end of a job, and holds no thread meanwhile."""

import asyncio
import re
from collections.abc import Callable

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from scheduler.domain.jobs import Job

MAX_WAIT_S = 60
#: Pause between two looks at the job: at first, and at most.
_FIRST_S = 0.5
_LONGEST_S = 2.0


def wait_s(prefer: str) -> int | None:
    """Return how many seconds a client wants to wait, 60 at most; None where it says nothing, or nothing sensible."""
    for preference in prefer.split(","):
        match = re.fullmatch(r'\s*wait\s*=\s*"?(\d{1,9})"?\s*(;.*)?', preference, re.IGNORECASE)
        if match is not None:
            # The first counts, as the RFC says.
            return min(int(match[1]), MAX_WAIT_S) or None
    return None


async def wait_for_end(job: Job, look: Callable[[], Job], *, request: Request, response: Response, prefer: str) -> Job:
    """Return a job as `look` gives it when it has ended, or when the client's time is up; else as it is now.

    The database is asked once in half a second at most, and ever less often. A client that has gone is waited for no
    more.
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
        # No look shortly before the last one.
        await asyncio.sleep(rest if rest < pause + _FIRST_S else pause)
        pause = min(pause * 1.5, _LONGEST_S)
        job = await run_in_threadpool(look)
    return job
