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
    INPUT_INVALID: "An address or a line of the manifest names no photo that can be used, or the input as a whole.",
    INPUT_INCOMPLETE: "The job was stopped before all of its input was read.",
    NO_INPUTS: "The job's input names no photo.",
    OUTPUT_IS_INPUT: "The image would replace the photo that it is made of.",
    OUTPUT_NAME_INVALID: "The image's name cannot be used, or is in a place where the tenant may not write.",
    OUTPUT_NAME_TAKEN: "An earlier item of the job has an image of the same name.",
    WORKER_LOST: "Workers in turn died or hung while they had it.",
    MAX_FAILURES: "More images failed than the job allows.",
    REPORTS_FAILED: "The job's reports cannot be written.",
}


class Failure(NamedTuple):
    """Why an item or a job failed."""

    code: str
    #: A sentence for people.
    message: str
