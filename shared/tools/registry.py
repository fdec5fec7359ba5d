"""A tool is one typed async method; all that is said of it elsewhere is derived here.

From the signature come the JSON Schema of the arguments and of the result, from the Google-style
docstring the descriptions, from the decorator the title and MCP's hints::

    class ClockTools:
        @tool(title="Server time", read_only=True, open_world=False)
        async def server_time(self, context: CallContext) -> ServerTime:
            '''Returns the current time of this server.'''
"""

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar, get_type_hints

import docstring_parser
from pydantic import (
    BaseModel,
    ConfigDict,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import to_json

from shared.context import CallContext
from shared.errors import (
    BUG,
    DeadlineExceeded,
    GatewayError,
    InvalidRequest,
    NotFound,
    shorten,
)
from shared.strict_json import as_integer, check_limits
from shared.telemetry import current_record
from shared.tools.claims import Claims, Listener
from shared.tools.schema import tidy
from shared.tools.toolset import JsonObject, ToolResult, ToolSpec

logger = logging.getLogger(__name__)

Handler = Callable[..., Awaitable[Any]]
HandlerT = TypeVar("HandlerT", bound=Handler)

_MARK = "__tool_traits__"


class ToolArguments(BaseModel):
    """Base of every tool's arguments.

    They are what the JSON Schema says and nothing else: no unknown names, no text for numbers, and no
    NaN, which Python reads but JSON does not have. But 2.0 is an integer in JSON Schema.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    @model_validator(mode="before")
    @classmethod
    def _read_integers(cls, arguments: Any) -> Any:
        if not isinstance(arguments, Mapping):
            return arguments
        return {name: as_integer(value) for name, value in arguments.items()}


@dataclass(frozen=True, slots=True)
class _Traits:
    title: str
    annotations: Mapping[str, Any]
    is_idempotent_by_key: bool
    is_detached: bool
    is_paid: bool
    takes_long_text: bool
    job_path: str | None


def tool(
    *,
    title: str,
    read_only: bool = False,
    destructive: bool = False,
    idempotent: bool = False,
    open_world: bool = True,
    idempotent_by_key: bool = False,
    detached: bool = False,
    paid: bool = False,
    long_text: bool = False,
    job_path: str | None = None,
) -> Callable[[HandlerT], HandlerT]:
    """Marks an async method as a tool; the method's name is the tool's name.

    Args:
        title: The name to show to people.
        read_only: It changes nothing and costs nothing.
        destructive: It may delete or overwrite something.
        idempotent: Calling it again with the same arguments changes nothing more.
        open_world: It talks to the outside world, such as a provider.
        idempotent_by_key: A repeat with the same idempotency key returns the first result, because a
            second run would cost money, or add something twice.
        detached: It stores what it is paid for, so it goes on when its caller leaves.
        paid: Each call costs money, so a chat may make only a few.
        long_text: Its arguments may be megabytes, as whole conversations are.
        job_path: It returns a job that goes on after it: where to ask how far that is, with names of
            fields of the result in braces.

    Raises:
        TypeError: A paid tool is marked as read-only: clients may call those without asking.
    """
    if read_only and paid:
        raise TypeError("A paid tool must not be read_only: clients call those without asking.")
    annotations = {
        "title": title,
        "readOnlyHint": read_only,
        "destructiveHint": destructive,
        "idempotentHint": idempotent,
        "openWorldHint": open_world,
    }

    traits = _Traits(title, annotations, idempotent_by_key, detached, paid, long_text, job_path)

    def mark(handler: HandlerT) -> HandlerT:
        setattr(handler, _MARK, traits)
        return handler

    return mark


class Tool:
    """One tool, ready to be called with arguments that nobody has checked yet.

    Args:
        handler: The marked method, bound to its services.
        claims: Sees to it that it runs once for each idempotency key, and to its end.

    Raises:
        TypeError: The method lacks an annotation or a described parameter.
    """

    def __init__(self, handler: Handler, claims: Claims) -> None:
        traits: _Traits = getattr(handler, _MARK)
        documentation = docstring_parser.parse(
            handler.__doc__ or "", docstring_parser.DocstringStyle.GOOGLE
        )
        hints = get_type_hints(handler, include_extras=True)
        self._handler = handler
        self._claims = claims
        self._traits = traits
        self._result: TypeAdapter[Any] = TypeAdapter(hints["return"])
        self.name: str = handler.__name__
        self.title = traits.title
        self.annotations = traits.annotations
        self.is_paid = traits.is_paid
        self.takes_long_text = traits.takes_long_text
        self.job_path = traits.job_path
        self.description = (documentation.description or "").strip()
        self.result_type = hints["return"]
        self.arguments_model = _arguments_model(handler, hints, documentation)

    @cached_property
    def spec(self) -> ToolSpec:
        """What callers are told about the tool."""
        return ToolSpec(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=tidy(self.arguments_model.model_json_schema()),
            output_schema=tidy(self._result.json_schema(mode="serialization")),
            annotations=self.annotations,
            is_paid=self.is_paid,
        )

    async def call(self, arguments: ToolArguments, context: CallContext) -> JsonObject:
        """Runs the tool with checked arguments and returns its result as a JSON object."""
        if not self._traits.is_idempotent_by_key:
            # What it returns differs from call to call, so there is nothing to remember.
            context = replace(context, idempotency_key=None)
        if context.idempotency_key is None and not self._traits.is_detached:
            return await self._run(arguments, context)
        listener = Listener(context.report_progress)
        try:
            return await self._claims.complete(
                self._run_in_scope(arguments, replace(context, report_progress=listener.report))
            )
        finally:
            listener.has_left = True

    async def _run_in_scope(self, arguments: ToolArguments, context: CallContext) -> JsonObject:
        async with context.scope():
            return await self._run(arguments, context)

    async def _run(self, arguments: ToolArguments, context: CallContext) -> JsonObject:
        request = f"{self.name} {arguments.model_dump_json(exclude_unset=True)}".encode()
        async with self._claims.claim(request, context) as claim:
            if not claim.is_done:
                context = replace(context, operation=claim.operation)
                values = {name: getattr(arguments, name) for name in type(arguments).model_fields}
                result = await self._handler(**values, context=context)
                claim.result = self._result.dump_python(result, mode="json")
        structured: JsonObject = claim.result
        return structured

    def check(self, arguments: Mapping[str, Any]) -> ToolArguments:
        """Checks arguments.

        Raises:
            InvalidRequest: They are wrong; the text names each field.
        """
        check_limits(arguments)
        try:
            return self.arguments_model.model_validate(arguments)
        except ValidationError as error:
            raise _invalid(error) from error


class ToolRegistry:
    """Our own tools, as a `Toolset` and by name.

    Args:
        families: Objects whose methods are marked with `tool`.
        claims: See to it that calls run once for each idempotency key, and to their end.
    """

    def __init__(self, families: Iterable[object], claims: Claims) -> None:
        self._tools = {
            found.name: found for family in families for found in _find_tools(family, claims)
        }

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def get(self, name: str) -> Tool:
        """Returns a tool by name.

        Raises:
            NotFound: There is none of this name.
        """
        if found := self._tools.get(name):
            return found
        raise NotFound(f"There is no tool named '{name}'. The tools are: {', '.join(self._tools)}.")

    async def list(self, context: CallContext) -> Sequence[ToolSpec]:
        """Returns all tools."""
        return [found.spec for found in self]

    async def call(self, name: str, arguments: JsonObject, context: CallContext) -> ToolResult:
        """Calls a tool for a caller who takes errors as results: an MCP client or the agent.

        Raises:
            NotFound: There is none of this name.
            DeadlineExceeded: The request's budget is used up.
        """
        found = self.get(name)
        current_record().add_tool(found.name)
        try:
            structured = await found.call(found.check(arguments), context)
        except DeadlineExceeded:
            raise
        except GatewayError as error:
            return ToolResult(error.detail, is_error=True, failure=error.failure)
        except Exception:
            logger.exception("Tool %s failed", name)
            text = f"The tool '{name}' failed because of a bug in it."
            return ToolResult(text, is_error=True, failure=BUG)
        return ToolResult(to_json(structured).decode(), structured)


def _find_tools(family: object, claims: Claims) -> Iterator[Tool]:
    for name in vars(type(family)):
        member = getattr(family, name)
        if hasattr(member, _MARK):
            yield Tool(member, claims)


def _arguments_model(
    handler: Handler, hints: Mapping[str, Any], documentation: docstring_parser.Docstring
) -> type[ToolArguments]:
    descriptions = {param.arg_name: param.description for param in documentation.params}
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(handler).parameters.items():
        if name == "context":
            continue
        if name not in descriptions:
            raise TypeError(f"{handler.__qualname__}: the docstring does not describe '{name}'")
        required = parameter.default is inspect.Parameter.empty
        default = ... if required else parameter.default
        info = FieldInfo.from_annotated_attribute(hints[name], default)
        info.description = " ".join((descriptions[name] or "").split())
        fields[name] = (info.annotation, info)
    model_name = handler.__name__.title().replace("_", "") + "Arguments"
    return create_model(model_name, __base__=ToolArguments, **fields)


def _invalid(error: ValidationError) -> InvalidRequest:
    complaints = shorten(
        error.errors(include_url=False, include_context=False, include_input=False)
    )
    sentences = [
        f"{'.'.join(str(step) for step in complaint['loc']) or 'arguments'}: {complaint['msg']}"
        for complaint in complaints
    ]
    errors = [{**complaint, "loc": ("body", *complaint["loc"])} for complaint in complaints]
    return InvalidRequest("Invalid arguments. " + "; ".join(sentences), errors)
