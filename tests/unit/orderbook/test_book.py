"""Books are read from every form that publishers use, keep their digits, and equal a naive model."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peatio_ws.orderbook.book import FEW_LEVELS, Book, read

EMPTY = b'{"asks":[],"bids":[]}'


def book(*bodies: bytes) -> bytes:
    """Return a snapshot with later changes, rendered."""
    first, *rest = [read(body) for body in bodies]
    assert first is not None
    found = Book(first)
    for change in rest:
        assert change is not None
        found.apply(change)
    return found.render()


@pytest.mark.parametrize(
    ("body", "rendered"),
    [
        (b'{"asks":[["15.0","21.7"]],"bids":[]}', b'{"asks":[["15.0","21.7"]],"bids":[]}'),
        (b'{"asks":["15.0","21.7"]}', b'{"asks":[["15.0","21.7"]],"bids":[]}'),
        (b'{"bids":[15,21.70]}', b'{"asks":[],"bids":[[15,21.70]]}'),
        (b'{"bids":["15",21.70]}', b'{"asks":[],"bids":[["15",21.70]]}'),
        (b' {\n"bids" : [ [ 15 ,\t"1" ] , [ "16" , 2 ] ] } ', b'{"asks":[],"bids":[["16",2],[15,"1"]]}'),
        (b'{"asks":[["9","1"],["10","1"],["1e1","3"]]}', b'{"asks":[["9","1"],["1e1","3"]],"bids":[]}'),
        (b'{"asks":[["-1","1"],["1","-2"]]}', b'{"asks":[["-1","1"],["1","-2"]],"bids":[]}'),
        (b'{"asks":[["2","0"],["1","0.00"],["3",0e5]]}', EMPTY),
        (b'{"asks":[["2","0"],["2.0","1"]]}', b'{"asks":[["2.0","1"]],"bids":[]}'),
        (b'{"asks":[["2","1"],["2.0","0"]]}', EMPTY),
        (b'{"asks":null}', EMPTY),
        (b'{"asks":[ ],"bids":null,"timestamp":7}', EMPTY),
        # A value without digits is not a number.
        (b'{"asks":[],"sequence":7}', b'{"asks":[],"bids":[],"sequence":7}'),
        (b'{"asks":[],"sequence":"007"}', b'{"asks":[],"bids":[],"sequence":"007"}'),
        (b'{"asks":[],"sequence":-1}', b'{"asks":[],"bids":[],"sequence":-1}'),
        (b'{"asks":[],"sequence":18446744073709551616}', b'{"asks":[],"bids":[],"sequence":18446744073709551616}'),
        *((b'{"asks":[],"sequence":%b}' % other, EMPTY) for other in [b"null", b"7.0", b"1e3", b'"x"', b"[7]", b'""']),
        (b'{"asks":[],"sequence":%b}' % (b"1" * 300), EMPTY),
        (b'{"asks":[],"sequence":"\xc3\xa9"}', EMPTY),
    ],
)
def test_a_book_is_read_and_rendered_compactly_with_its_digits(body: bytes, rendered: bytes) -> None:
    assert book(body) == rendered


@pytest.mark.parametrize(
    ("change", "rendered"),
    [
        (b'{"asks":["15.0","22.5"]}', b'{"asks":[["15.0","22.5"],["20.0","1"]],"bids":[["10","1"],["9","1"]]}'),
        (b'{"asks":["15.000",3]}', b'{"asks":[["15.000",3],["20.0","1"]],"bids":[["10","1"],["9","1"]]}'),
        (b'{"asks":["20","0.0"]}', b'{"asks":[["15.0","1"]],"bids":[["10","1"],["9","1"]]}'),
        (b'{"asks":["17","0"]}', b'{"asks":[["15.0","1"],["20.0","1"]],"bids":[["10","1"],["9","1"]]}'),
        (
            b'{"bids":[["9","0"],["11","2"],["9.5","3"]],"sequence":8}',
            b'{"asks":[["15.0","1"],["20.0","1"]],"bids":[["11","2"],["10","1"],["9.5","3"]],"sequence":8}',
        ),
        (b'{"sequence":"8"}', b'{"asks":[["15.0","1"],["20.0","1"]],"bids":[["10","1"],["9","1"]],"sequence":"8"}'),
    ],
)
def test_a_change_sets_and_removes_levels(change: bytes, rendered: bytes) -> None:
    before = b'{"asks":[["20.0","1"],["15.0","1"]],"bids":[["9","1"],["10","1"]],"sequence":7}'
    assert book(before, change) == rendered


ODD_VALUES = ["null", "true", '""', '"abc"', '"1."', '".5"', '"+1"', '" 1"', '"NaN"', '"Infinity"', "[]", "{}", "1e100"]
ODD_VALUES += ["1" * 65, "1" * 300, "0." + "1" * 300, "1e999999999", '"1e-999999999"', '"\\u0031"', '"é"', '"٣"']


@pytest.mark.parametrize("value", ODD_VALUES, ids="{:.12}".format)
@pytest.mark.parametrize("side", ["[{},1]", '["1",{}]', '[["1","2"],[{},"2"]]', "[[1,{}]]"])
def test_price_or_volume_that_is_not_a_plain_decimal_is_not_a_book(side: str, value: str) -> None:
    assert read(f'{{"asks":{side.format(value)}}}'.encode()) is None
    assert read(f'{{"asks":[["1","1"]],"bids":{side.format(value)}}}'.encode()) is None


@pytest.mark.parametrize(
    "side", ["5", '"1"', "{}", "[1]", "[1,2,3]", "[[1]]", "[[1,2,3]]", "[[1,2],3]", "[[]]", "[[[1,2]]]", '["1,2"]']
)
def test_body_with_a_side_of_another_form_is_not_a_book(side: str) -> None:
    assert read(f'{{"asks":{side}}}'.encode()) is None


@pytest.mark.parametrize(
    "body", [b"[1,2,3]", b"null", b"5", b'"asks"', b"{}", b'{"a":[1,2]}', b'[["1","2"]]', b"", b"{"]
)
def test_body_without_book_fields_is_not_a_change(body: bytes) -> None:
    assert read(body) is None


def test_sequence_alone_is_a_change_but_not_a_book() -> None:
    change = read(b'{"sequence":5}')
    assert change is not None
    assert (change.sequence, change.has_sides) == (5, False)


# ---- against a model: a dict of decimals, sorted at the end

PRICES = st.sampled_from([Decimal(price) for price in ["1", "1.5", "10", "15", "100", "0.003", "-2"]]) | st.decimals(
    -50, 50, allow_nan=False, places=2
)
VOLUMES = st.sampled_from([Decimal(0), Decimal("0.0")]) | st.decimals(0, 1000, allow_nan=False, places=3)


@st.composite
def spelled(draw: st.DrawFn, values: st.SearchStrategy[Decimal]) -> str:
    """Return a decimal as JSON: a number or a text, with trailing zeros or an exponent."""
    value = draw(values)
    text = f"{value:f}"
    form = draw(st.sampled_from(["plain", "noughts", "exponent"]))
    if form == "noughts":
        text += ("" if "." in text else ".") + draw(st.sampled_from(["0", "000"]))
    elif form == "exponent":
        text = f"{value.scaleb(3):f}e-3"
    return f'"{text}"' if draw(st.booleans()) else text


LEVELS = st.tuples(spelled(PRICES), spelled(VOLUMES))
MANY = st.lists(LEVELS, min_size=FEW_LEVELS, max_size=FEW_LEVELS + 8)
SIDES = st.none() | LEVELS | st.lists(LEVELS, max_size=5) | MANY
Side = tuple[str, str] | list[tuple[str, str]] | None


def written(side: Side) -> str:
    if isinstance(side, tuple):
        return f"[{side[0]},{side[1]}]"
    return f"[{','.join(map(written, side or []))}]"


def modelled(sides: list[Side], descending: bool) -> str:
    model: dict[Decimal, str] = {}
    for side in sides:
        for price, volume in [side] if isinstance(side, tuple) else side or []:
            model[Decimal(price.strip('"'))] = f"[{price},{volume}]"
            if not Decimal(volume.strip('"')):
                del model[Decimal(price.strip('"'))]
    return f"[{','.join(model[price] for price in sorted(model, reverse=descending))}]"


@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=8))
def test_any_book_equals_the_model(changes: list[tuple[Side, Side]]) -> None:
    bodies = [f'{{"asks":{written(asks)},"bids":{written(bids)}}}'.encode() for asks, bids in changes]
    asks, bids = modelled([asks for asks, _ in changes], False), modelled([bids for _, bids in changes], True)
    assert book(*bodies) == f'{{"asks":{asks},"bids":{bids}}}'.encode()


@given(st.lists(LEVELS, max_size=40), st.lists(LEVELS, max_size=40))
def test_rendered_book_is_read_back_unchanged(asks: list[tuple[str, str]], bids: list[tuple[str, str]]) -> None:
    once = book(f'{{"asks":{written(asks)},"bids":{written(bids)},"sequence":7}}'.encode())
    assert book(once) == once
    json.loads(once)


# ---- any input

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["1.0", "0", "1e5"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["asks", "bids", "sequence", "x"]), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary())
def test_any_body_is_a_change_or_is_ignored(body: bytes) -> None:
    change: Any = read(body)
    if change is not None:
        json.loads(Book(change).render())


@pytest.mark.parametrize("start", [b"[", b'{"asks":', b'{"asks":[', b'{"x":'])
def test_deeply_nested_body_is_not_a_change(start: bytes) -> None:
    assert read(start * 50_000) is None
    assert read(b'{"asks":[],"bids":' + b"[" * 50_000 + b"]" * 50_000 + b"}") is None


def test_side_of_100000_levels_is_read_in_any_order() -> None:
    rows = [f'["{price}","1"]' for price in range(100_000)]
    down = book(f'{{"asks":[{",".join(reversed(rows))}]}}'.encode())
    assert down == book(f'{{"asks":[{",".join(rows)}]}}'.encode())
    assert read(f'{{"asks":[{",".join(rows)},["x","1"]]}}'.encode()) is None
