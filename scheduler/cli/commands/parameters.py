"""Arguments and options that several commands have."""

from datetime import datetime
from typing import Annotated

import typer

from nst_core.client.resources.jobs import Priority

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; everything else goes to standard error.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10**9, help="Show at most this many.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before deleting.")]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "--option", metavar="FIELD=VALUE", help="Change a field of the preset's config. Can be repeated."
    ),
]
Labels = Annotated[list[str], typer.Option("--label", metavar="KEY=VALUE", help="Label of the job. Can be repeated.")]
OwnId = Annotated[
    str | None, typer.Option("--id", help="Your own id for the job. The same command again finds the same job.")
]
#: What `--since` takes.
SINCE = "30m, 12h or 7d before now, or a local time such as 2026-12-31 or 2026-12-31T18:00"
Deadline = Annotated[
    datetime | None,
    typer.Option(
        metavar="TIME",
        help="Cancel images that have not started by this local time: 2026-12-31, or 2026-12-31T18:00:00.",
    ),
]
ExpiresAfter = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Cancel images that have not started after this time: 30m, 12h, 1.5d, 2w."),
]
MaxFailures = Annotated[int | None, typer.Option(min=0, help="Stop the job when more images than this have failed.")]
MaxAttempts = Annotated[
    int | None, typer.Option(min=1, max=10, help="How often to try an image after temporary errors.")
]
ResultName = Annotated[
    str,
    typer.Option("--name", metavar="TEMPLATE", help="File name of a result, made of {stem}, {index}, {style}, {ext}."),
]
AmongJobs = Annotated[Priority, typer.Option("--priority", help="Priority among your own jobs.")]
Quality = Annotated[int, typer.Option(min=1, max=100, help="Quality of JPEG and WebP results.")]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Only show what the job would do. Nothing is submitted. The exit code is 3 if some images would fail, and "
        "1 if the job would be refused.",
    ),
]
