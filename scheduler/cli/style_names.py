"""Names of styles, and what a wrong one may have been meant to be."""

import difflib
from collections.abc import Sequence

from nst_core.client import ApiError, Client

_SHOWN = 12


def check_styles(client: Client, styles: Sequence[tuple[str, str | None]]) -> None:
    """Raise ApiError (`not_found`) with a suggestion if there is no style of a name, or of a version."""
    for name, version in styles:
        try:
            client.style(name, version=version)
        except ApiError as error:
            if error.status != 404:
                raise
            known = sorted(style.name for style in client.styles())
            if name in known:
                raise  # the version is the wrong part
            raise ApiError(status=404, code=error.code, detail=f"{error.detail} {_suggestion(name, known)}") from error


def _suggestion(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"Did you mean {near[0]}?"
    if not known:
        return "There are no styles yet: see nst styles train."
    more = f", and {len(known) - _SHOWN} more (nst styles list)" if len(known) > _SHOWN else ""
    return f"There are {', '.join(known[:_SHOWN])}{more}."
