"""Signatures according to Standard Webhooks 1.0.0."""

import pytest

from nst_core.client.signing import SignatureError, new_secret, sign, verify

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
NOW = 1614265330
HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": str(NOW),
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


def test_the_example_of_the_standard_is_signed_and_verified() -> None:
    assert sign([SECRET], id=HEADERS["webhook-id"], timestamp=NOW, body=BODY) == HEADERS["webhook-signature"]
    assert verify(SECRET, HEADERS, BODY, now=NOW) == "msg_p5jXN8AQM9LWM0D4loKWxJek"


def test_one_of_several_signatures_and_secrets_is_enough() -> None:
    old, new = new_secret(), new_secret()
    signature = sign([new, old], id="m", timestamp=NOW, body=BODY)
    headers = {"Webhook-Id": "m", "WEBHOOK-TIMESTAMP": str(NOW), "webhook-signature": f"v1a,xyz {signature}"}
    for secrets in (old, new, [new_secret(), old]):
        assert verify(secrets, headers, BODY, now=NOW) == "m"
    with pytest.raises(SignatureError):
        verify(new_secret(), headers, BODY, now=NOW)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook-id", "msg_other"),
        ("webhook-timestamp", str(NOW + 1)),
        ("webhook-timestamp", "now"),
        ("webhook-timestamp", "٣"),
        ("webhook-timestamp", "9" * 5000),
        ("webhook-signature", ""),
        ("webhook-signature", "v1,"),
        ("webhook-signature", "v1,ä"),
        ("webhook-signature", "v1,\ud800"),
        ("webhook-id", "\ud800"),
        ("webhook-signature", "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ("webhook-signature", "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ],
)
def test_a_changed_message_is_refused(name: str, value: str) -> None:
    with pytest.raises(SignatureError):
        verify(SECRET, HEADERS | {name: value}, BODY, now=NOW)


@pytest.mark.parametrize("name", HEADERS)
def test_a_missing_header_is_refused(name: str) -> None:
    with pytest.raises(SignatureError, match=name):
        verify(SECRET, {key: value for key, value in HEADERS.items() if key != name}, BODY, now=NOW)


def test_another_body_is_refused() -> None:
    with pytest.raises(SignatureError):
        verify(SECRET, HEADERS, BODY + b" ", now=NOW)


def test_the_time_may_differ_by_five_minutes() -> None:
    for near in (NOW - 300, NOW + 300):
        verify(SECRET, HEADERS, BODY, now=near)
    for far in (NOW - 301, NOW + 301, float("nan")):
        with pytest.raises(SignatureError, match="timestamp"):
            verify(SECRET, HEADERS, BODY, now=far)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_no base64", "whsec_" + "QUJD" * 30])
def test_an_invalid_secret_is_refused(secret: str) -> None:
    with pytest.raises(SignatureError, match="secret"):
        verify(secret, HEADERS, BODY, now=NOW)


def test_new_secrets_differ_and_have_32_bytes() -> None:
    first, second = new_secret(), new_secret()
    assert first != second
    assert first.startswith("whsec_")
    assert len(first) == len("whsec_") + 44
