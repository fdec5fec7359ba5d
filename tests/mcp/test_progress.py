"""Progress while a call waits for its model: clients end calls that are silent for long."""

from collections.abc import Iterator

import pytest

from shared.app import create_app
from shared.settings import load_settings
from shared.timing import Timing
from tests.conftest import StandIn, ThreadServer
from tests.gate import Gate
from tests.mcp.support import MODES, connected

WAITING = "Waiting for the model"


@pytest.fixture
def impatient(environment: dict[str, str]) -> Iterator[str]:
    """Origin of an app that tells progress again after a twentieth of a second."""
    app = create_app(load_settings(environment), Timing(ping=0.05))
    with ThreadServer(app) as server:
        yield server.origin


@pytest.mark.parametrize("mode", MODES)
async def test_progress_is_told_again_and_grows_while_the_model_is_silent(
    impatient: str, mode: str, stand_in: StandIn, gate: Gate
) -> None:
    told: list[tuple[float, str | None]] = []
    async with connected(f"{impatient}/mcp", mode) as client:
        with gate.holding() as hold:

            async def note(progress: float, total: float | None, message: str | None) -> None:
                told.append((progress, message))
                if [each for _, each in told].count(WAITING) > 3:
                    hold.over.set()

            result = await client.call_tool("generate", {"prompt": "Hello"}, progress_callback=note)
    assert not result.is_error
    assert [*dict.fromkeys(message for _, message in told)] == [WAITING, "The model has answered"]
    numbers = [progress for progress, _ in told]
    assert numbers == sorted(set(numbers))
    assert [number for number in numbers if number.is_integer()] == [0, 1]
