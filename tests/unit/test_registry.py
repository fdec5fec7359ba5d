from typing import Annotated, Any, Literal

import pytest
from pydantic import Field
from typing_extensions import TypedDict

from shared.auth import Principal
from shared.context import CallContext
from shared.deadline import Deadline
from shared.errors import BUG, DeadlineExceeded, Failure, InvalidRequest, NotConfigured, NotFound
from shared.tools import Claims, ToolRegistry, ToolResult, ToolSpec, tool


class Greeting(TypedDict):
    greeting: str


class Greeters:
    def __init__(self) -> None:
        self.failure: Exception | None = None

    @tool(title="Greet", read_only=True)
    async def greet(
        self,
        context: CallContext,
        name: Annotated[str, Field(min_length=1)],
        tone: Literal["warm", "cool"] = "warm",
        times: int | None = None,
    ) -> Greeting:
        """Greets somebody.

        Says nothing else.

        Args:
            name: Whom to greet,
                by first name.
            tone: How.
            times: How often.
        """
        if self.failure is not None:
            raise self.failure
        await context.report_progress(1, 2, "greeting")
        return {"greeting": f"{tone} {name} {times}"}

    async def not_a_tool(self) -> None:
        raise AssertionError


@pytest.fixture
def greeters() -> Greeters:
    return Greeters()


@pytest.fixture
def registry(greeters: Greeters, claims: Claims) -> ToolRegistry:
    return ToolRegistry([greeters], claims)


@pytest.fixture
def context() -> CallContext:
    return CallContext(Principal("p", frozenset()), Deadline.after(60))


async def test_description_is_derived_from_signature_and_docstring(
    registry: ToolRegistry, context: CallContext
) -> None:
    assert await registry.list(context) == [
        ToolSpec(
            name="greet",
            title="Greet",
            description="Greets somebody.\n\nSays nothing else.",
            input_schema={
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "name": {
                        "type": "string",
                        "description": "Whom to greet, by first name.",
                    },
                    "tone": {
                        "type": "string",
                        "enum": ["warm", "cool"],
                        "default": "warm",
                        "description": "How.",
                    },
                    "times": {"type": "integer", "description": "How often."},
                },
                "required": ["name"],
            },
            output_schema={
                "type": "object",
                "properties": {"greeting": {"type": "string"}},
            },
            annotations={
                "readOnlyHint": True,
                "destructiveHint": False,
                "idempotentHint": False,
                "openWorldHint": True,
            },
        )
    ]


async def test_call_returns_the_result_as_object_and_as_text(
    registry: ToolRegistry, context: CallContext
) -> None:
    result = await registry.call("greet", {"name": "Ada", "times": None}, context)
    assert result == ToolResult('{"greeting":"warm Ada None"}', {"greeting": "warm Ada None"})


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({}, "name: This field is required"),
        ({"name": ""}, "name: Must not be empty"),
        ({"name": "a", "tone": "hot"}, "tone: Must be 'warm' or 'cool'"),
        ({"name": "a", "nmae": "b"}, "nmae: There is no field of this name"),
    ],
)
async def test_bad_argument_is_an_error_that_names_it(
    registry: ToolRegistry, context: CallContext, arguments: dict[str, Any], complaint: str
) -> None:
    result = await registry.call("greet", arguments, context)
    failure = Failure("invalid_request", "client_error")
    assert result == ToolResult(f"Invalid arguments. {complaint}", is_error=True, failure=failure)
    with pytest.raises(InvalidRequest) as caught:
        registry.get("greet").check(arguments)
    (error,) = caught.value.errors
    assert error["loc"] == ("body", complaint.split(":")[0])


async def test_our_errors_are_results_for_whoever_takes_results(
    registry: ToolRegistry, greeters: Greeters, context: CallContext
) -> None:
    greeters.failure = NotConfigured("Set SOMETHING.")
    result = await registry.call("greet", {"name": "a"}, context)
    failure = Failure("not_configured", "error")
    assert result == ToolResult("Set SOMETHING.", is_error=True, failure=failure)


async def test_bug_is_an_error_without_its_text_and_is_logged(
    registry: ToolRegistry,
    greeters: Greeters,
    context: CallContext,
    caplog: pytest.LogCaptureFixture,
) -> None:
    greeters.failure = ValueError("internals")
    result = await registry.call("greet", {"name": "a"}, context)
    text = "The tool 'greet' failed because of a bug in it."
    assert result == ToolResult(text, is_error=True, failure=BUG)
    assert "Tool greet failed" in caplog.text
    assert "internals" in caplog.text


async def test_deadline_is_no_result_of_one_tool(
    registry: ToolRegistry, greeters: Greeters, context: CallContext
) -> None:
    greeters.failure = context.deadline.exceeded()
    with pytest.raises(DeadlineExceeded):
        await registry.call("greet", {"name": "a"}, context)


async def test_unknown_tool_is_not_found(registry: ToolRegistry, context: CallContext) -> None:
    with pytest.raises(NotFound, match=r"'nope'.*greet"):
        await registry.call("nope", {}, context)


def test_tool_that_costs_money_cannot_be_read_only() -> None:
    with pytest.raises(TypeError, match="paid"):
        tool(title="Ask", read_only=True, paid=True)


def test_tool_with_an_undescribed_parameter_is_refused(claims: Claims) -> None:
    class Careless:
        @tool(title="Careless")
        async def careless(self, context: CallContext, secret: str) -> Greeting:
            """Does not say what secret is."""
            return {"greeting": secret}

    [careless] = ToolRegistry([Careless()], claims)
    with pytest.raises(TypeError, match="does not describe 'secret'"):
        _ = careless.spec
