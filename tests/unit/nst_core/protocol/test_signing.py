"""Signatures: a sealed message can be opened only for the same purpose and with the same secret."""

import json
from typing import Any

import pytest

from nst_core.errors import ProtocolError
from nst_core.protocol.signing import Signer

SIGNER = Signer("s" * 32)
VALUES = {"chunk_id": 1, "items": [{"input": "s3://nst/ü.jpg"}], "ms": 0.1}


def test_a_sealed_message_can_be_opened() -> None:
    assert SIGNER.open("nst.stylize", json.loads(json.dumps(SIGNER.seal("nst.stylize", VALUES)))) == VALUES


def test_another_purpose_and_another_secret_are_refused() -> None:
    sealed = SIGNER.seal("nst.stylize", VALUES)
    with pytest.raises(ProtocolError, match="NST_MESSAGE_SECRET"):
        SIGNER.open("nst.optimize", sealed)
    with pytest.raises(ProtocolError, match="NST_MESSAGE_SECRET"):
        Signer("t" * 32).open("nst.stylize", sealed)


def test_bytes_cannot_move_between_purpose_and_data() -> None:
    assert SIGNER.sign("ab", b"c") != SIGNER.sign("a", b"bc")


GOOD = SIGNER.seal("q", VALUES)


@pytest.mark.parametrize(
    "sealed",
    [
        VALUES,
        None,
        [],
        "text",
        7,
        {},
        {"body": GOOD["body"]},
        GOOD | {"body": GOOD["body"].replace("1", "2")},
        GOOD | {"body": [GOOD["body"]]},
        GOOD | {"body": "\ud800"},
        GOOD | {"signature": None},
        GOOD | {"signature": ""},
        GOOD | {"signature": True},
        GOOD | {"signature": "é" * 64},
        GOOD | {"signature": GOOD["signature"][:-1]},
        GOOD | {"signature": GOOD["signature"].upper()},
    ],
    ids=str,
)
def test_an_unsealed_message_is_refused(sealed: Any) -> None:
    with pytest.raises(ProtocolError):
        SIGNER.open("q", sealed)
