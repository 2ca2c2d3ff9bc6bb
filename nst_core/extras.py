"""How the extras of nst are installed: from its checkout, since no package index has nst."""


def install_command(extra: str) -> str:
    """Return the command that installs an extra, for the middle of a sentence."""
    return f"`pip install '.[{extra}]'` in the checkout of nst"
