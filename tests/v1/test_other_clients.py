"""Programs for OpenAI's API run unchanged: client libraries other than OpenAI's for Python."""

from collections.abc import Iterator

import pytest

from tests.conftest import KEY
from tests.local_host.process import App
from tests.ports import free_port
from tests.v1.programs import EXPECTED, PROGRAMS, TIMEOUT, run_program

pytestmark = pytest.mark.any_python

MODELS = ("gpt-6-luna", "agent")


@pytest.fixture(scope="module")
def local_origin() -> Iterator[str]:
    """Origin of the app that ``python -m local`` starts, with its stand-in."""
    port = free_port()
    running = App(port, {"MCP_API_KEY": KEY})
    yield f"http://localhost:{port}"
    running.stop()


@pytest.mark.timeout(TIMEOUT + 120)
@pytest.mark.parametrize("name", PROGRAMS)
async def test_program_runs_unchanged_against_the_app_of_make_run(
    name: str, local_origin: str
) -> None:
    printed = await run_program(name, local_origin, KEY, *MODELS)
    assert printed == dict.fromkeys(MODELS, EXPECTED[name])
