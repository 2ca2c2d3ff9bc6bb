"""The styles that ship with nst, by name."""

from nst_core.styles import ShippedStyle, shipped_styles


def shipped_style(name: str) -> ShippedStyle:
    """Return a style in the package."""
    return next(style for style in shipped_styles() if style.name == name)
