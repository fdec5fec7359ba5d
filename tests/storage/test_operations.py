"""Operations: what makes two runs of one the same."""

from datetime import UTC, datetime

import pytest

from shared.storage import Operation

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def test_operation_has_one_seed_which_no_other_one_has() -> None:
    operation = Operation.begin(NOW)
    again = Operation(operation.seed, operation.began_at, is_repeat=True)
    assert again.id("picture 2") == operation.id("picture 2") != operation.id("picture 1")
    assert Operation.begin(NOW).id("picture 2") != operation.id("picture 2")


@pytest.mark.parametrize("name", ["seed", "began_at", "is_repeat", "another"])
def test_nothing_of_an_operation_can_be_set(name: str) -> None:
    operation = Operation.begin(NOW)
    with pytest.raises(AttributeError):
        setattr(operation, name, None)


def test_operation_shows_all_but_its_seed() -> None:
    assert repr(Operation.begin(NOW)) == f"Operation(began_at={NOW!r}, is_repeat=False)"
