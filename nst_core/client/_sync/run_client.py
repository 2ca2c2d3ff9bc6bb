# Generated from nst_core/client/_async/run_client.py by `make client`; changes belong there.
"""The part of the client that trains styles: `runs`."""

import json
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from nst_core.client._sync.event_client import EventClient
from nst_core.client._sync.transport import Transport
from nst_core.client.blocking import Sleep, run_io
from nst_core.client.requests import PAGE, body_of, once_only, path_of, query_of
from nst_core.client.resources.events import Event
from nst_core.client.resources.runs import (
    ExtendRequest,
    ForkRequest,
    Run,
    RunPage,
    RunStatus,
    Sample,
    SamplePage,
    TrainRequest,
)
from nst_core.client.resources.styles import Preset, PresetPage


class RunClient:
    """Calls the API about runs, the trainings of styles."""

    def __init__(self, api: Transport, *, sleep: Sleep, clock: Callable[[], float]) -> None:
        self._api = api
        self._sleep = sleep
        self._clock = clock

    def presets(self) -> list[Preset]:
        """Return the presets of trainings."""
        return [preset for preset in self._api.pages(PresetPage, path_of("training-presets"), {})]

    def train(
        self, request: TrainRequest, *, painting: Path | bytes | None = None, idempotency_key: str | None = None
    ) -> Run:
        """Submit the training of a style; a repeated key returns the first run.

        `painting` is a file of at most 64 MiB, or its bytes, if the request names no address. Raises ApiError if
        the painting is not a picture, or there are no photos.
        """
        body, headers = body_of(request), once_only(idempotency_key)
        if painting is None:
            return self._api.read(Run, "POST", path_of("styles"), json=body, headers=headers)
        # Bytes, not an open file: the call may be repeated.
        data = painting if isinstance(painting, bytes) else run_io(painting.read_bytes)
        name = "painting" if isinstance(painting, bytes) else painting.name
        files = {"painting": (name, data), "request": (None, json.dumps(body).encode(), "application/json")}
        return self._api.read(Run, "POST", path_of("styles"), files=files, headers=headers)

    def get(self, run_id: str) -> Run:
        """Return a run."""
        return self._api.read(Run, "GET", path_of("runs", run_id))

    def all(self, *, name: str | None = None, status: RunStatus | None = None, page: int = PAGE) -> Iterator[Run]:
        """Yield runs, the newest first: all, or those of a style's name or a status."""
        return self._api.pages(RunPage, path_of("runs"), query_of(limit=page, status=status, name=name))

    def newest(self, name: str) -> Run | None:
        """Return the newest run of a style's name, or None if there is none."""
        return next(self.all(name=name, page=1), None)

    def pause(self, run_id: str) -> Run:
        """Pause a run after its current step."""
        return self._api.read(Run, "POST", path_of("runs", run_id, "pause"))

    def resume(self, run_id: str) -> Run:
        """Resume a paused, failed or cancelled run from its last checkpoint."""
        return self._api.read(Run, "POST", path_of("runs", run_id, "resume"))

    def delete(self, run_id: str) -> None:
        """Delete a training; its styles stay. Raises ApiError (`unfinished`) if it has not ended."""
        self._api.call("DELETE", path_of("runs", run_id))

    def cancel(self, run_id: str) -> Run:
        """Cancel a run after its current step; its last checkpoint is kept."""
        return self._api.read(Run, "POST", path_of("runs", run_id, "cancel"))

    def publish(self, run_id: str) -> Run:
        """Let the style's name stand for the version that a run has made."""
        return self._api.read(Run, "POST", path_of("runs", run_id, "publish"))

    def extend(self, run_id: str, *, steps: int) -> Run:
        """Continue a run to a larger number of steps; `steps` counts from its beginning."""
        body = body_of(ExtendRequest(steps=steps))
        return self._api.read(Run, "POST", path_of("runs", run_id, "extend"), json=body)

    def fork(self, run_id: str, request: ForkRequest, *, idempotency_key: str | None = None) -> Run:
        """Begin a new run with a checkpoint of another, and return it; a repeated key returns the first run."""
        body = body_of(request)
        return self._api.read(
            Run, "POST", path_of("runs", run_id, "fork"), json=body, headers=once_only(idempotency_key)
        )

    def events(self, run_id: str, *, after: int = 0) -> Generator[Event]:
        """Yield what happens to a run from its beginning to its end, or after the event of an id; waits for more."""
        events = EventClient(self._api, sleep=self._sleep, clock=self._clock)
        return events.follow(path_of("runs", run_id, "events"), after=after)

    def losses(self, run_id: str) -> bytes:
        """Return the losses as CSV, a line a step; raise ApiError (`not_found`) while there are none."""
        return self._api.call("GET", path_of("runs", run_id, "losses.csv"))

    def curve(self, run_id: str) -> bytes:
        """Return the losses as a PNG; raise ApiError (`not_found`) while there are none."""
        return self._api.call("GET", path_of("runs", run_id, "losses.png"))

    def samples(self, run_id: str) -> list[Sample]:
        """Return where the samples are."""
        return [sample for sample in self._api.pages(SamplePage, path_of("runs", run_id, "samples"), {})]

    def sample(self, run_id: str, file_name: str) -> bytes:
        """Return a sample, a JPEG."""
        return self._api.call("GET", path_of("runs", run_id, "samples", file_name))

    def sheet(self, run_id: str) -> bytes:
        """Return the preview sheet of a run that succeeded, a JPEG."""
        return self._api.call("GET", path_of("runs", run_id, "sheet.jpg"))

    def painting(self, run_id: str) -> bytes:
        """Return the painting as it was submitted."""
        return self._api.call("GET", path_of("runs", run_id, "painting"))

    def curve_url(self, run_id: str) -> str:
        """Return the address of the curve; like all addresses of the API, it needs the key."""
        return self._api.url + path_of("runs", run_id, "losses.png")

    def sheet_url(self, run_id: str) -> str:
        """Return the address of the preview sheet for people."""
        return self._api.url + path_of("runs", run_id, "sheet.jpg")

    def sample_url(self, run_id: str, sample: Sample) -> str:
        """Return the address of a sample for people."""
        return self._api.url + path_of("runs", run_id, "samples", sample.id)

    def wait(
        self,
        run_id: str,
        *,
        on_poll: Callable[[Run], None] | None = None,
        poll_s: float = 1.0,
        timeout_s: float | None = None,
    ) -> Run:
        """Return the run once it is finished, or paused; raise TimeoutError after `timeout_s`.

        `on_poll` gets the run each time.
        """
        started = self._clock()
        while True:
            run = self.get(run_id)
            if on_poll is not None:
                on_poll(run)
            if run.status.is_terminal or run.status is RunStatus.PAUSED:
                return run
            if timeout_s is not None and self._clock() - started >= timeout_s:
                raise TimeoutError(f"Run {run_id} is still {run.status} after {timeout_s:g} s.")
            self._sleep(poll_s)
