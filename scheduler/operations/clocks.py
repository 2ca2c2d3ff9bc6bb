"""Judges the difference between the clocks of two machines."""

from scheduler.operations.findings import Finding, ok, problem, warning

#: S3 refuses requests whose time differs by more than a quarter of an hour.
REFUSED_S = 900.0
#: The answers of servers are exact to a second or less.
NOTICED_S = 5.0
_REMEDY = "Let a time service (chrony, systemd-timesyncd) set the clocks of both."


def clock_finding(check: str, server: str, ahead_s: float) -> Finding:
    """Return the finding for a server whose clock is `ahead_s` seconds ahead of this machine's."""
    off_s = abs(ahead_s)
    found = f"The clock of {server} is {_span(off_s)} {'ahead of' if ahead_s > 0 else 'behind'} that of this machine."
    if off_s >= REFUSED_S:
        return problem(check, "clock_wrong", f"{found} Storage refuses more than 15 minutes.", _REMEDY)
    if off_s >= NOTICED_S:
        return warning(check, "clock_off", found, _REMEDY)
    return ok(check, f"The clock of {server} agrees with that of this machine within {NOTICED_S:g} s.")


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
