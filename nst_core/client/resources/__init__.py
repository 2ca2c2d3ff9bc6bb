"""What clients send to the API and get from it, one module for each noun.

The API checks requests with these models and builds its answers from them, so they are also its OpenAPI document. The
modules import the standard library, pydantic and light modules of nst_core, and nothing else.
"""
