"""All of nst on one machine, as `nst up` runs it."""
