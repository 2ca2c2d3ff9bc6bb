"""Who may give a style's name another version: the tenant that made it, and nobody where it comes with nst."""

from sqlalchemy import Connection

from nst_core.styles import shipped_styles
from scheduler.errors import StyleExistsError
from scheduler.store import access
from scheduler.store.access import StyleRow


def own_style(connection: Connection, name: str, tenant: str) -> StyleRow | None:
    """Return a tenant's style of a name, None where the name is free; raise StyleExistsError where it is another's."""
    if any(name == style.name for style in shipped_styles()):
        raise StyleExistsError(f"The style {name!r} comes with nst and cannot be replaced.")
    found = access.find_style(connection, name)
    if found is not None and found.tenant != tenant:
        raise StyleExistsError(f"There is a style {name!r} that somebody else made; take another name.")
    return found
