import asyncio

import pytest

from shared.deadline import Deadline
from shared.errors import DeadlineExceeded


async def test_block_that_outlives_the_deadline_is_cancelled() -> None:
    deadline = Deadline.after(0.01)
    with pytest.raises(DeadlineExceeded, match=r"0\.01 seconds.*REQUEST_DEADLINE_SECONDS"):
        await deadline.wait_for(asyncio.Event().wait())


async def test_timeout_of_somebody_else_is_left_alone() -> None:
    async def fail() -> None:
        raise TimeoutError("theirs")

    with pytest.raises(TimeoutError, match="theirs"):
        await Deadline.after(60).wait_for(fail())


async def test_within_takes_the_earlier_of_both() -> None:
    deadline = Deadline.after(60)
    assert deadline.within(3600) == deadline
    assert deadline.within(1).at < deadline.at


async def test_remaining_is_never_negative() -> None:
    assert Deadline.after(-1).remaining() == 0
