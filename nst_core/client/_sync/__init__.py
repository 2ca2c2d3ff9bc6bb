# Generated from nst_core/client/_async/__init__.py by `make client`; changes belong there.
"""The client itself; the synchronous one is generated from the asynchronous one."""
