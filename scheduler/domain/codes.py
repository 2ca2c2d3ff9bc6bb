"""Error codes of items, jobs and runs that do not come from an exception, and what they mean."""

from collections.abc import Mapping
from typing import NamedTuple

INPUT_INVALID = "input_invalid"
INPUT_INCOMPLETE = "input_incomplete"
NO_INPUTS = "no_inputs"
OUTPUT_IS_INPUT = "output_is_input"
OUTPUT_NAME_INVALID = "output_name_invalid"
OUTPUT_NAME_TAKEN = "output_name_taken"
WORKER_LOST = "worker_lost"
MAX_FAILURES = "max_failures"
REPORTS_FAILED = "reports_failed"

MEANINGS: Mapping[str, str] = {
    INPUT_INVALID: "An address, a line of the manifest or the whole input does not name a usable photo.",
    INPUT_INCOMPLETE: "The job was stopped before all of its input was read.",
    NO_INPUTS: "The job's input contains no photos.",
    OUTPUT_IS_INPUT: "The image would replace a file that the job reads, such as a photo.",
    OUTPUT_NAME_INVALID: "The image's name is not valid, or the tenant may not write there.",
    OUTPUT_NAME_TAKEN: "Another item of the job has an image with the same name.",
    WORKER_LOST: "Several workers died or hung while they processed it.",
    MAX_FAILURES: "More images failed than the job's max_failures.",
    REPORTS_FAILED: "The job's reports could not be written.",
}


class Failure(NamedTuple):
    """Why an item or a job failed."""

    code: str
    #: A sentence for people.
    message: str
