"""Reads one line of a manifest, or one element of its array: which photo it names, and what it says about it."""

import csv
import json
from collections.abc import Callable, Sequence
from typing import Any

from nst_core.client.resources.jobs import MAX_REGIONS
from nst_core.errors import ConfigError
from nst_core.storage.blobs import BlobUri
from scheduler.domain import addresses, codes
from scheduler.domain.codes import Failure
from scheduler.jobs.inputs import InputEntry

_MAX_CUSTOM_ID = 255
#: No field that is read is a number, and Python refuses integers of more than 4,300 digits.
DECODER = json.JSONDecoder(parse_int=float)


def parse(values_of: Callable[[], Any], number: int, may_read: Callable[[BlobUri], bool]) -> InputEntry:
    """Return the entry of a line with `input`, and perhaps an id and masks; of others, one with an error."""
    try:
        values = values_of()
        custom_id, mask = values.get("custom_id"), values.get("mask")
        address = _readable(values["input"], "input", may_read)
        if custom_id is not None and not (
            isinstance(custom_id, str) and len(custom_id) <= _MAX_CUSTOM_ID and addresses.storable(custom_id)
        ):
            raise ConfigError(f"custom_id is not a plain text of at most {_MAX_CUSTOM_ID} characters.")
        own_mask = None if mask is None else str(_readable(mask, "mask", may_read))
        regions = _regions(values.get("regions"), may_read)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError) as error:
        reason = error.message if isinstance(error, ConfigError) else 'it is not a JSON object with a text "input".'
        message = f"Line {number} of the manifest: {reason}"
        return InputEntry(uri=f"line:{number}", line=number, error=Failure(codes.INPUT_INVALID, message))
    return InputEntry(uri=str(address), custom_id=custom_id, mask=own_mask, regions=regions, line=number)


def _regions(value: Any, may_read: Callable[[BlobUri], bool]) -> tuple[str | None, ...]:
    """Return the masks of regions that a line names: a list of addresses and nulls, in CSV as JSON."""
    if value is None:
        return ()
    try:
        masks = DECODER.decode(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        masks = None
    if not isinstance(masks, list) or len(masks) > MAX_REGIONS:
        raise ConfigError(f"regions is not a list of at most {MAX_REGIONS} addresses of masks, or nulls.")
    return tuple(None if mask is None else str(_readable(mask, "regions", may_read)) for mask in masks)


def _readable(text: Any, field: str, may_read: Callable[[BlobUri], bool]) -> BlobUri:
    """Return the address in a field of a line; raise ConfigError unless the job may read such an object."""
    if not (isinstance(text, str) and addresses.storable(text)):
        raise ConfigError(f"{field} has characters that no address has.")
    address = BlobUri.parse(text)
    if not address.key or not may_read(address):
        raise ConfigError(f"{text} is not an object that the job may read.")
    return address


def columns(header: str) -> tuple[Sequence[str], str]:
    """Return the names of the columns of CSV, and its delimiter; raise ConfigError as `fields` does."""
    delimiter = max(",;\t", key=header.count)
    return tuple(name.strip().lower() for name in fields(header, delimiter)), delimiter


def fields(line: str, delimiter: str) -> list[str]:
    """Return the fields of a line of CSV; raise ConfigError if Python's limit for the length of a field is exceeded."""
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error as error:
        raise ConfigError(f"its CSV cannot be read: {error}.") from error
