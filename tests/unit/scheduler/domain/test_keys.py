"""The form of API keys."""

import re

from scheduler.domain.keys import new_api_key


def test_a_key_has_digits_that_name_it_and_a_secret() -> None:
    keys = {new_api_key() for _ in range(3)}
    assert len(keys) == 3
    assert all(re.fullmatch(r"nst_[0-9a-f]{8}_[\w-]{43}", key) for key in keys)
    assert new_api_key("3f9a10c2").startswith("nst_3f9a10c2_")
