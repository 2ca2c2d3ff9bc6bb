"""Who may give a style's name another version: each tenant has names of its own; those that come with nst are fixed."""

from nst_core.styles import shipped_styles
from scheduler.domain.errors import StyleExistsError
from scheduler.store import styles as access
from scheduler.store.database import Connection
from scheduler.store.styles import StyleRow


def own_style(connection: Connection, name: str, tenant: str) -> StyleRow | None:
    """Return a tenant's style of a name, None if the name is free; raise StyleExistsError if it is nst's."""
    found = access.find_style(connection, name, tenant=tenant)
    if found is not None and found.tenant == tenant:  # also where nst came to have that name later
        return found
    if found is not None or any(name == style.name for style in shipped_styles()):
        raise StyleExistsError(
            f"The style {name!r} comes with nst and can be neither replaced nor deleted; take another name."
        )
    return None
