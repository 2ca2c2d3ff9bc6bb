"""Blends of styles: how they are read, and what they and their results are called."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nst_core.blends import MAX_NAME, Portion, file_name, name_of, parse_blend, result_name, styles_of, text_of
from nst_core.errors import ConfigError
from nst_core.styles import version_of_blend

names = st.from_regex(r"[a-z0-9_.-]{1,12}", fullmatch=True)
blends = st.dictionaries(names, st.integers(100, 10_000), min_size=2, max_size=4)


def test_shares_are_scaled_to_sum_to_one() -> None:
    expected = (Portion(style="great_wave", share=0.6), Portion(style="udnie", share=0.4))
    for text in ("great_wave:0.6,udnie:0.4", "udnie:2, great_wave:3", "great_wave:60,udnie:40"):
        assert parse_blend(text) == expected


def test_versions_are_in_the_text_and_not_in_the_name() -> None:
    portions = parse_blend("udnie@12345678:1,great_wave:3")
    assert text_of(portions) == "great_wave:0.75,udnie@12345678:0.25"
    assert name_of(portions) == "great_wave:0.75,udnie:0.25"
    assert styles_of("udnie@12345678:1,great_wave:3") == ["great_wave", "udnie@12345678"]
    assert styles_of("udnie@12345678") == ["udnie@12345678"]


def test_thirds_are_whole_thousandths() -> None:
    for order in permutations("abc"):
        text = ",".join(f"{style}:1" for style in order)
        assert name_of(parse_blend(text)) == "a:0.334,b:0.333,c:0.333"
        assert result_name(text) == "a-33.4+b-33.3+c-33.3"


def test_results_are_named_after_the_percents() -> None:
    assert result_name("great_wave:0.6,udnie:0.4") == "great_wave-60+udnie-40"
    assert result_name("great_wave:999,udnie@12345678:1") == "great_wave-99.9+udnie-0.1"
    assert result_name("great_wave@12345678") == "great_wave"


@given(blends)
def test_a_blend_is_the_same_however_it_is_written(amounts: dict[str, int]) -> None:
    made = parse_blend(",".join(f"{name}:{amount}" for name, amount in amounts.items()))
    turned = parse_blend(",".join(f"{name}:{amount / 1000}" for name, amount in reversed(amounts.items())))
    assert made == turned == parse_blend(text_of(made))
    assert sum(round(1000 * each.share) for each in made) == 1000
    whole = sum(amounts.values())
    assert all(abs(each.share - amounts[each.style] / whole) <= 0.001 for each in made)


@given(blends, blends)
def test_different_blends_have_different_file_names(one: dict[str, int], other: dict[str, int]) -> None:
    first, second = (parse_blend(",".join(f"{name}:{each}" for name, each in made.items())) for made in (one, other))
    assert (file_name(first) == file_name(second)) == (first == second)
    assert "+" in file_name(first)  # no style's name has one


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("udnie", "given as NAME:SHARE,NAME:SHARE"),
        ("udnie,great_wave", "given as NAME:SHARE,NAME:SHARE"),
        ("udnie:0.5,great_wave", "given as NAME:SHARE,NAME:SHARE"),
        ("udnie:-1,great_wave:2", "given as NAME:SHARE,NAME:SHARE"),
        ("udnie:nan,great_wave:1", "given as NAME:SHARE,NAME:SHARE"),
        (":1,great_wave:1", "given as NAME:SHARE,NAME:SHARE"),
        ("udnie:1", "2 to 4 styles, not 1"),
        ("a:1,b:1,c:1,d:1,e:1", "2 to 4 styles, not 5"),
        ("udnie:1,great_wave:0", "share above 0"),
        ("udnie:0,great_wave:0", "share above 0"),
        ("udnie:1,great_wave:9999", "at least 0.001"),
        ("udnie:1,udnie:2", "names each style once"),
        ("udnie@12345678:1,udnie:2", "names each style once"),
        (f"{'a' * 64}:1,{'b' * 64}:1,{'c' * 64}:1", f"{MAX_NAME} characters"),
    ],
)
def test_what_is_no_blend_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_blend(text)


def test_a_version_depends_on_versions_and_shares_and_not_on_their_order() -> None:
    version = version_of_blend([("a" * 64, 0.6), ("b" * 64, 0.4)])
    assert version == version_of_blend([("b" * 64, 0.4), ("a" * 64, 0.6)])
    others = (
        [("a" * 64, 0.4), ("b" * 64, 0.6)],
        [("a" * 64, 0.6), ("c" * 64, 0.4)],
        [("a" * 64, 0.601), ("b" * 64, 0.399)],
    )
    assert len({version, *map(version_of_blend, others)}) == 4
    assert len(version) == 64
