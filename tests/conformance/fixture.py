"""A server with the tools, resources and prompts that the suite's scenarios for servers expect.

What each has to do: https://github.com/modelcontextprotocol/conformance (the fixture of each scenario).
"""

import json
import warnings
from base64 import b64decode
from typing import Annotated, Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import Context, MCPServer, RequestStateSecurity
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, Field

PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAA"
    "AABJRU5ErkJggg=="
)
SOUND = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
OK = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}

# Fixed, so that any process of several could answer the second round of a call.
_STATE_KEY = b"seals the state of a call between two rounds"

mcp = MCPServer(
    "conformance",
    version="1",
    request_state_security=RequestStateSecurity(keys=[_STATE_KEY]),
    log_level="ERROR",
)


def fixture_server() -> Server[Any]:
    """Returns the server."""
    server = mcp._lowlevel_server
    server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, accept)
    server.add_request_handler("resources/subscribe", types.SubscribeRequestParams, accept)
    server.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, accept)
    return server


async def accept(request: ServerRequestContext[Any], params: object) -> types.EmptyResult:
    """Answers what revision 2025-11-25 has and nothing here depends on."""
    return types.EmptyResult()


def text(value: str) -> types.TextContent:
    """A part of a result."""
    return types.TextContent(type="text", text=value)


def picture() -> types.ImageContent:
    """A part of a result."""
    return types.ImageContent(type="image", data=PICTURE, mime_type="image/png")


def embedded(uri: str, mime_type: str, value: str) -> types.EmbeddedResource:
    """A part of a result."""
    contents = types.TextResourceContents(uri=uri, mime_type=mime_type, text=value)
    return types.EmbeddedResource(type="resource", resource=contents)


def question(message: str, schema: dict[str, Any] = NAME) -> types.ElicitRequest:
    """A question to the user."""
    params = types.ElicitRequestFormParams(message=message, requested_schema=schema)
    return types.ElicitRequest(params=params)


def sample(prompt: str) -> types.CreateMessageRequest:
    """A question to the client's model."""
    message = types.SamplingMessage(role="user", content=text(prompt))
    params = types.CreateMessageRequestParams(messages=[message], max_tokens=100)
    return types.CreateMessageRequest(params=params)


def told(answer: object, field: str) -> object:
    """What the user answered in a field."""
    if not isinstance(answer, types.ElicitResult):
        return None
    return (answer.content or {}).get(field)


@mcp.tool()
def test_simple_text() -> str:
    """Returns a text."""
    return "This is a simple text response for testing."


@mcp.tool()
def test_image_content() -> list[types.ImageContent]:
    """Returns a picture."""
    return [picture()]


@mcp.tool()
def test_audio_content() -> list[types.AudioContent]:
    """Returns a sound."""
    return [types.AudioContent(type="audio", data=SOUND, mime_type="audio/wav")]


@mcp.tool()
def test_embedded_resource() -> list[types.EmbeddedResource]:
    """Returns a resource."""
    return [
        embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")
    ]


@mcp.tool()
def test_multiple_content_types() -> list[
    types.TextContent | types.ImageContent | types.EmbeddedResource
]:
    """Returns a text, a picture and a resource."""
    mixed = '{"test": "data", "value": 123}'
    return [
        text("Multiple content types test:"),
        picture(),
        embedded("test://mixed-content-resource", "application/json", mixed),
    ]


@mcp.tool()
async def test_tool_with_logging(ctx: Context[Any]) -> str:
    """Logs to its caller."""
    with warnings.catch_warnings():
        # Revision 2025-11-25 still has it.
        warnings.simplefilter("ignore")
        for step in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            await ctx.info(step)
    return "Tool with logging executed successfully"


@mcp.tool()
async def test_tool_with_progress(ctx: Context[Any]) -> str:
    """Reports progress."""
    for progress in (0, 50, 100):
        await ctx.report_progress(progress, 100, f"Completed step {progress} of 100")
    return "done"


@mcp.tool()
def test_error_handling() -> str:
    """Fails."""
    raise RuntimeError("This tool intentionally returns an error for testing")


@mcp.tool()
async def test_missing_capability(ctx: Context[Any]) -> str:
    """Wants a caller that can sample."""
    capabilities = ctx.client_capabilities
    if capabilities is None or capabilities.sampling is None:
        raise MCPError(
            types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            "This tool requires the client's capability 'sampling'.",
            {"requiredCapabilities": {"sampling": {}}},
        )
    return "The client can sample."


@mcp.tool()
def test_x_mcp_header(
    region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})],
) -> str:
    """Takes an argument that stands in a header, too."""
    return f"region={region}"


@mcp.tool()
async def test_trigger_tool_change(ctx: Context[Any]) -> str:
    """Says that the tools have changed."""
    await ctx.notify_tools_changed()
    return "tool list changed"


@mcp.tool()
async def test_trigger_prompt_change(ctx: Context[Any]) -> str:
    """Says that the prompts have changed."""
    await ctx.notify_prompts_changed()
    return "prompt list changed"


Asked = str | types.InputRequiredResult


@mcp.tool()
async def test_input_required_result_elicitation(ctx: Context[Any]) -> Asked:
    """Asks the user."""
    if "user_name" in (responses := ctx.input_responses or {}):
        return f"Hello, {told(responses['user_name'], 'name')}!"
    return types.InputRequiredResult(input_requests={"user_name": question("What is your name?")})


@mcp.tool()
async def test_input_required_result_sampling(ctx: Context[Any]) -> Asked:
    """Asks the client's model."""
    if "capital_question" in (ctx.input_responses or {}):
        return "The model has answered."
    asked = sample("What is the capital of France?")
    return types.InputRequiredResult(input_requests={"capital_question": asked})


@mcp.tool()
async def test_input_required_result_list_roots(ctx: Context[Any]) -> Asked:
    """Asks for the client's roots."""
    answer = (ctx.input_responses or {}).get("client_roots")
    if isinstance(answer, types.ListRootsResult):
        return f"Client exposed {len(answer.roots)} root(s)."
    return types.InputRequiredResult(input_requests={"client_roots": types.ListRootsRequest()})


@mcp.tool()
async def test_input_required_result_request_state(ctx: Context[Any]) -> Asked:
    """Asks, and wants its state back."""
    if "confirm" in (ctx.input_responses or {}) and ctx.request_state == "nonce":
        return "state-ok: confirmation received"
    asked = {"confirm": question("Please confirm", OK)}
    return types.InputRequiredResult(input_requests=asked, request_state="nonce")


@mcp.tool()
async def test_input_required_result_tampered_state(ctx: Context[Any]) -> Asked:
    """Asks, and takes no other state back."""
    if ctx.request_state is not None:
        return f"state-ok: {ctx.request_state}"
    asked = {"confirm": question("Please confirm", OK)}
    return types.InputRequiredResult(input_requests=asked, request_state="round-1")


@mcp.tool()
async def test_input_required_result_multiple_inputs(ctx: Context[Any]) -> Asked:
    """Asks for three things together."""
    if {"user_name", "greeting", "client_roots"} <= (ctx.input_responses or {}).keys():
        return "All inputs received."
    return types.InputRequiredResult(
        input_requests={
            "user_name": question("What is your name?"),
            "greeting": sample("Generate a greeting"),
            "client_roots": types.ListRootsRequest(),
        },
        request_state="multiple-inputs",
    )


@mcp.tool()
async def test_input_required_result_multi_round(ctx: Context[Any]) -> Asked:
    """Asks twice."""
    state: dict[str, Any] = json.loads(ctx.request_state) if ctx.request_state else {}
    responses = ctx.input_responses or {}
    if state.get("round") == 2 and "step2" in responses:
        return f"{state['name']} likes {told(responses['step2'], 'color')}."
    asked = {"step1": question("Step 1: What is your name?")}
    state = {"round": 1}
    if "step1" in responses:
        color = {"type": "object", "properties": {"color": {"type": "string"}}}
        asked = {"step2": question("Step 2: What is your favorite color?", color)}
        state = {"round": 2, "name": told(responses["step1"], "name")}
    return types.InputRequiredResult(input_requests=asked, request_state=json.dumps(state))


@mcp.tool()
async def test_input_required_result_capabilities(ctx: Context[Any]) -> types.InputRequiredResult:
    """Asks for what the client is able to give."""
    able = ctx.client_capabilities
    requests: dict[str, types.InputRequest] = {}
    if able is None or able.sampling is not None:
        requests["sample"] = sample("Say hello")
    if able is None or able.elicitation is not None:
        requests["ask"] = question("What is your name?")
    return types.InputRequiredResult(input_requests=requests, request_state="capability-gated")


class Answer(BaseModel):
    """What `test_elicitation` asks for."""

    response: str = ""


@mcp.tool()
async def test_elicitation(ctx: Context[Any], message: str) -> str:
    """Asks its caller, who cannot be asked here."""
    answer = await ctx.elicit(message, Answer)
    return f"User response: action={answer.action}"


@mcp.resource("test://static-text", mime_type="text/plain")
def static_text() -> str:
    return "This is the content of the static text resource."


@mcp.resource("test://static-binary", mime_type="image/png")
def static_binary() -> bytes:
    return b64decode(PICTURE)


@mcp.resource("test://template/{id}/data", mime_type="application/json")
def template(id: str) -> str:
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


@mcp.resource("test://watched-resource", mime_type="text/plain")
def watched() -> str:
    return "Watched resource content"


@mcp.prompt()
def test_simple_prompt() -> list[UserMessage]:
    """A prompt without arguments."""
    return [UserMessage(text("This is a simple prompt for testing."))]


@mcp.prompt()
def test_prompt_with_arguments(arg1: str, arg2: str) -> list[UserMessage]:
    """A prompt with two arguments."""
    return [UserMessage(text(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))]


@mcp.prompt()
def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:
    """A prompt with a resource."""
    resource = embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
    return [UserMessage(resource), UserMessage(text("Please process the embedded resource above."))]


@mcp.prompt()
def test_prompt_with_image() -> list[UserMessage]:
    """A prompt with a picture."""
    """A prompt with a resource."""
    return [UserMessage(picture()), UserMessage(text("Please analyze the image above."))]


@mcp.prompt()
async def test_input_required_result_prompt(
    ctx: Context[Any],
) -> list[UserMessage] | types.InputRequiredResult:
    """A prompt that asks the user."""
    if "user_context" in (responses := ctx.input_responses or {}):
        return [UserMessage(text(f"Use the context: {told(responses['user_context'], 'context')}"))]
    schema = {"type": "object", "properties": {"context": {"type": "string"}}}
    asked = question("What context should the prompt use?", schema)
    return types.InputRequiredResult(input_requests={"user_context": asked})


@mcp.completion()  # type: ignore[no-untyped-call, untyped-decorator]
async def complete(
    ref: types.PromptReference | types.ResourceTemplateReference,
    argument: types.CompletionArgument,
    context: types.CompletionContext | None,
) -> types.Completion:
    return types.Completion(values=[], total=0, has_more=False)
