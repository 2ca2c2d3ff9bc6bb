"""The shared library of nst: neural style transfer as the papers describe it."""

__version__ = "0.1.0"
