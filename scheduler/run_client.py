"""The part of the client that trains styles: `Client.runs`."""

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from scheduler.event_client import Event, EventClient
from scheduler.resources import Preset
from scheduler.run_resources import ForkRequest, Run, Sample, TrainRequest
from scheduler.runs import RunStatus
from scheduler.transport import Transport, quoted

_PAGE = 200


@dataclass(frozen=True, kw_only=True)
class _Presets:
    data: list[Preset]


@dataclass(frozen=True, kw_only=True)
class _Samples:
    data: list[Sample]


class RunClient:
    """Calls the API about runs, the trainings of styles. Safe to share between threads."""

    def __init__(self, api: Transport, *, sleep: Callable[[float], None], clock: Callable[[], float]) -> None:
        self._api = api
        self._sleep = sleep
        self._clock = clock

    def presets(self) -> list[Preset]:
        """Return the presets of trainings."""
        return self._api.read(_Presets, "GET", "/v1/training-presets").data

    def train(
        self, request: TrainRequest, *, painting: Path | bytes | None = None, idempotency_key: str | None = None
    ) -> Run:
        """Submit the training of a style; the same key gives the same run again.

        `painting` is a file of at most 64 MiB, or its bytes, where the request names no address. Raises ApiError where
        the painting is no picture, or there are no photos.
        """
        body, headers = _given(TrainRequest, request), _key(idempotency_key)
        if painting is None:
            return self._api.read(Run, "POST", "/v1/styles", json=body, headers=headers)
        name, data = ("painting", painting) if isinstance(painting, bytes) else (painting.name, painting.read_bytes())
        # Bytes, not an open file: the call may be repeated.
        files = {"painting": (name, data), "request": (None, json.dumps(body).encode(), "application/json")}
        return self._api.read(Run, "POST", "/v1/styles", files=files, headers=headers)

    def get(self, run_id: str) -> Run:
        """Return a run as it stands."""
        return self._api.read(Run, "GET", _path(run_id))

    def all(self, *, name: str | None = None, status: RunStatus | None = None, page: int = _PAGE) -> Iterator[Run]:
        """Yield runs, the newest first: all, or those of a style's name or a status."""
        chosen: dict[str, str] = {} if status is None else {"status": status.value}
        chosen |= {} if name is None else {"name": name}
        return self._api.pages(Run, "/v1/runs", {"limit": page, **chosen})

    def newest(self, name: str) -> Run | None:
        """Return the newest run of a style's name, or None where there is none."""
        return next(self.all(name=name, page=1), None)

    def pause(self, run_id: str) -> Run:
        """Let a run wait after the step in hand."""
        return self._api.read(Run, "POST", _path(run_id, "pause"))

    def resume(self, run_id: str) -> Run:
        """Let a run go on from its last checkpoint that is paused, failed or cancelled."""
        return self._api.read(Run, "POST", _path(run_id, "resume"))

    def cancel(self, run_id: str) -> Run:
        """End a run after the step in hand; its last checkpoint is kept."""
        return self._api.read(Run, "POST", _path(run_id, "cancel"))

    def publish(self, run_id: str) -> Run:
        """Let the style's name stand for what a run has made."""
        return self._api.read(Run, "POST", _path(run_id, "publish"))

    def extend(self, run_id: str, *, steps: int) -> Run:
        """Let a run go on to more steps than it was to have; `steps` counts from its beginning."""
        return self._api.read(Run, "POST", _path(run_id, "extend"), json={"steps": steps})

    def fork(self, run_id: str, request: ForkRequest, *, idempotency_key: str | None = None) -> Run:
        """Begin a new run with a checkpoint of another, and return it; the same key gives the same run again."""
        body = _given(ForkRequest, request)
        return self._api.read(Run, "POST", _path(run_id, "fork"), json=body, headers=_key(idempotency_key))

    def events(self, run_id: str, *, after: int = 0) -> Iterator[Event]:
        """Yield what happens to a run from its beginning to its end, or behind the event of an id; waits for more."""
        events = EventClient(self._api, sleep=self._sleep, clock=self._clock)
        return events.follow(_path(run_id, "events"), after=after)

    def losses(self, run_id: str) -> bytes:
        """Return the losses as CSV, a line a step; raise ApiError (`not_found`) while there are none."""
        return self._api.call("GET", _path(run_id, "losses.csv"))

    def curve(self, run_id: str) -> bytes:
        """Return the losses as a PNG; raise ApiError (`not_found`) while there are none."""
        return self._api.call("GET", _path(run_id, "losses.png"))

    def samples(self, run_id: str) -> list[Sample]:
        """Return where the samples are."""
        return self._api.read(_Samples, "GET", _path(run_id, "samples")).data

    def sample(self, run_id: str, file_name: str) -> bytes:
        """Return a sample, a JPEG."""
        return self._api.call("GET", _path(run_id, "samples", file_name))

    def sheet(self, run_id: str) -> bytes:
        """Return the preview sheet of a run that succeeded, a JPEG."""
        return self._api.call("GET", _path(run_id, "sheet.jpg"))

    def painting(self, run_id: str) -> bytes:
        """Return the painting as it was submitted."""
        return self._api.call("GET", _path(run_id, "painting"))

    def curve_url(self, run_id: str) -> str:
        """Return the address of the curve for people; it asks for the key as all others do."""
        return self._api.url + _path(run_id, "losses.png")

    def sheet_url(self, run_id: str) -> str:
        """Return the address of the preview sheet for people."""
        return self._api.url + _path(run_id, "sheet.jpg")

    def sample_url(self, run_id: str, sample: Sample) -> str:
        """Return the address of a sample for people."""
        return self._api.url + _path(run_id, "samples", sample.file_name)

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


def _path(run_id: str, *parts: str) -> str:
    return "/".join(["/v1/runs", *map(quoted, (run_id, *parts))])


def _key(idempotency_key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}


def _given(cls: type[Any], request: Any) -> dict[str, Any]:
    """Return a request as JSON without what is left to the API."""
    values: dict[str, Any] = TypeAdapter(cls).dump_python(request, mode="json")
    return {name: value for name, value in values.items() if value is not None}
