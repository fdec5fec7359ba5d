"""What differs from tool to tool is a trait of the tool: its doors know none by name."""

import re
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from mcp import Client
from mcp.server.lowlevel import Server
from typing_extensions import TypedDict

import shared
from shared.auth import Guard, Principal
from shared.context import CallContext
from shared.deadline import Deadline
from shared.mcp_server.server import build_server
from shared.mcp_server.tasks import Tasks
from shared.routes.tools import tools_router
from shared.selection import ToolSelector
from shared.services import Services
from shared.settings import load_settings
from shared.tools import Claims, GetRoute, ToolRegistry, ToolResource, tool
from shared.tools import Job as JobTrait


class Job(TypedDict):
    id: str


class Jobs:
    @tool(title="Start job", job=JobTrait("/jobs/{id}", tool="get_job"))
    async def start_job(self, context: CallContext) -> Job:
        """Starts a job."""
        return {"id": "7"}

    @tool(title="Get job", get_route=GetRoute("/jobs/{job_id}", name="job_get", tag="jobs"))
    async def get_job(self, context: CallContext, job_id: str) -> Job:
        """Returns a job.

        Args:
            job_id: The id of the job.
        """
        return {"id": job_id}

    @tool(
        title="First job",
        resource=ToolResource("jobs://first", "first_job", "First job", "The oldest job."),
        instructions="first_job is the oldest one.",
    )
    async def first_job(self, context: CallContext) -> Job:
        """Returns the oldest job."""
        return {"id": "1"}


@pytest.fixture
def registry(claims: Claims) -> ToolRegistry:
    return ToolRegistry([Jobs()], claims)


@pytest.fixture
def server(registry: ToolRegistry, tmp_path: Path) -> Server:
    services = Services.make(load_settings({"LOCAL_STORAGE_PATH": str(tmp_path)}))
    context = CallContext(Principal("p", frozenset()), Deadline.after(60))
    selector = ToolSelector(registry, services.connections, 60)
    tasks = Tasks(registry, services.storage)
    return build_server(
        registry,
        selector,
        services.media,
        services.conversations,
        tasks,
        lambda _: context,
        ping_seconds=60,
    )


def test_routes_follow_from_the_traits(registry: ToolRegistry, tmp_path: Path) -> None:
    services = Services.make(load_settings({"LOCAL_STORAGE_PATH": str(tmp_path)}))
    router = tools_router(registry, services.selector, Guard([]))
    assert [
        (route.name, route.path, route.methods, route.tags, route.status_code)
        for route in router.routes
        if isinstance(route, APIRoute) and route.name not in ("tools_list", "tool_of_connection")
    ] == [
        ("tool_start_job", "/tools/start_job", {"POST"}, ["tools"], 202),
        ("tool_get_job", "/tools/get_job", {"POST"}, ["tools"], 200),
        ("job_get", "/jobs/{job_id}", {"GET"}, ["jobs"], None),
        ("tool_first_job", "/tools/first_job", {"POST"}, ["tools"], 200),
    ]


async def test_client_that_introduces_itself_waits_for_the_schema_of_no_tool(
    server: Server, registry: ToolRegistry
) -> None:
    async with Client(server) as client:
        assert [tool.name for tool in registry if "spec" in vars(tool)] == []
        await client.list_tools()
    assert [tool.name for tool in registry if "spec" not in vars(tool)] == []


async def test_resource_of_a_tool_is_listed_and_is_its_result(server: Server) -> None:
    async with Client(server) as client:
        [resource] = (await client.list_resources()).resources
        [contents] = (await client.read_resource(resource.uri)).contents
        assert "first_job is the oldest one." in (client.instructions or "")
    assert (resource.uri, resource.name, resource.title, resource.description) == (
        "jobs://first",
        "first_job",
        "First job",
        "The oldest job.",
    )
    assert contents.model_dump(exclude_none=True, include={"uri", "mime_type", "text"}) == {
        "uri": "jobs://first",
        "mime_type": "application/json",
        "text": '{"id":"1"}',
    }


def test_nothing_but_the_tools_knows_a_tool_by_name(tmp_path: Path) -> None:
    registry = Services.make(load_settings({"LOCAL_STORAGE_PATH": str(tmp_path)})).tools
    # One word, such as "generate", is a name of many things.
    names = "|".join(each.name for each in registry if "_" in each.name)
    package = Path(shared.__file__).parent
    found = {
        (path.relative_to(package).as_posix(), match)
        for path in package.rglob("*.py")
        if path.relative_to(package).parts[0] != "tools"
        for match in re.findall(rf"\b(?:{names})\b", path.read_text())
    }
    assert found == set()
