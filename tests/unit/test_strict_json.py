"""JSON of others: what is refused before it is decoded, and what is not."""

import json

import pytest
from pytest_mock import MockerFixture

from shared import strict_json
from shared.agent.calls import decode_arguments
from shared.errors import InvalidRequest
from shared.strict_json import MAX_VALUES, read_json

too_many_values = pytest.mark.parametrize(
    "document",
    [
        b"[" * 4_000_000,
        b"[" + b"{}," * 1_300_000 + b"{}]",
        b"[" + b'"a\\"",' * MAX_VALUES + b"0]",
        b"[" + (b"[" * 60 + b"]" * 60 + b",") * 34_000 + b"0]",
        b"{" + b'"a":[{}],' * MAX_VALUES + b'"b":0}',
    ],
    ids=["lists in lists", "objects", "texts", "nested lists", "pairs"],
)


@too_many_values
def test_too_many_values_are_refused_before_they_are_decoded(
    document: bytes, mocker: MockerFixture
) -> None:
    decode = mocker.spy(strict_json, "from_json")
    with pytest.raises(InvalidRequest, match=f"more than {MAX_VALUES} values"):
        read_json(document)
    assert decode.call_count == 0


@pytest.mark.parametrize("depth", [65, 200, 201, 5000])
def test_what_is_nested_too_deep_is_told_so_however_deep(depth: int) -> None:
    with pytest.raises(InvalidRequest, match="more than 64 levels deep"):
        read_json(b"[" * depth + b"]" * depth)


@pytest.mark.parametrize(
    "value",
    [
        {"text": ',[{"' * MAX_VALUES},
        {"text": "\\," * MAX_VALUES},
        {"text": '\\",{' * MAX_VALUES},
        [*range(MAX_VALUES)],
        [[] for _ in range(MAX_VALUES)],
    ],
    ids=["quotes", "backslashes", "both", "numbers", "lists"],
)
def test_what_texts_hold_does_not_count(value: object) -> None:
    assert read_json(json.dumps(value).encode()) == value


@too_many_values
def test_arguments_of_models_with_too_many_values_are_not_decoded(
    document: bytes, mocker: MockerFixture
) -> None:
    decode = mocker.spy(json, "loads")
    assert decode_arguments(document.decode()) == document.decode()
    assert decode.call_count == 0
