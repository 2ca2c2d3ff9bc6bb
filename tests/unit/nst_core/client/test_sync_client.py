"""The synchronous client matches the one generated from the asynchronous client."""

import pytest

from tests.sync_client import TARGET, generate, to_sync


def test_the_synchronous_client_is_up_to_date() -> None:
    found = {path: path.read_text("utf-8") for path in TARGET.glob("*.py")}
    assert found == generate(), "run `make client`"


def test_every_file_says_that_it_is_generated_and_names_its_source() -> None:
    for path, text in generate().items():
        assert text.startswith(f"# Generated from nst_core/client/_async/{path.name} by `make client`")


def test_no_file_contains_asynchronous_code() -> None:
    words = ("async ", "await ", "asyncio", "aclose", "aread", "Async")
    left = [f"{path.name}: {word}" for path, text in generate().items() for word in words if word in text]
    assert left == []


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("async def get(self) -> AsyncIterator[int]:\n    pass\n", "def get(self) -> Iterator[int]:\n    pass\n"),
        ("x = await (await f()).g(await h)\n", "x = (f()).g(h)\n"),
        ("async with a as b:\n    async for c in d: pass\n", "with a as b:\n    for c in d: pass\n"),
        ("[x async for x in y]\n", "[x for x in y]\n"),
        ("await f(\n    # AsyncX waits\n    1,\n)\n", "f(\n    # X waits\n    1,\n)\n"),
        ('def f() -> "AsyncX":\n    """Return an\n    AsyncX."""\n', 'def f() -> "X":\n    """Return an\n    X."""\n'),
        ("awaited = asynchronous = Asynchronous\n", "awaited = asynchronous = Asynchronous\n"),
        ("from a._async.b import AsyncC\nc.aclose()\n", "from a._sync.b import C\nc.close()\n"),
    ],
)
def test_tokens_are_replaced_and_everything_else_is_kept(source: str, result: str) -> None:
    assert to_sync(source) == result
