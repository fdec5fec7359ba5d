"""A tool is one typed async method: the route, the MCP tool and the function schema are derived from it.

From the signature come the JSON Schema of the arguments and of the result, from the Google-style
docstring the descriptions, from the decorator the title, MCP's hints and the other traits::

    class ClockTools:
        @tool(title="Server time", read_only=True, open_world=False)
        async def server_time(self, context: CallContext) -> ServerTime:
            '''Returns the current time of this server.'''
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

from pydantic import ValidationError

from shared.context import CallContext
from shared.storage import Operation
from shared.strict_json import check_limits
from shared.tools.claims import Claims
from shared.tools.schema import ToolArguments, ToolSignature, invalid_arguments, signature_of
from shared.tools.toolset import JsonObject, ToolSpec
from shared.tracing import tool_span

Handler = Callable[..., Awaitable[Any]]
HandlerT = TypeVar("HandlerT", bound=Handler)

_MARK = "__tool_traits__"


@dataclass(frozen=True, slots=True)
class GetRoute:
    """A route that calls a tool with GET, besides `POST /tools/<name>`.

    Attributes:
        path: The path, with arguments of the tool in braces, such as ``/videos/{job_id}``.
        name: The name of the route, and of its function.
        tag: The group of the route in the OpenAPI description.
    """

    path: str
    name: str
    tag: str


@dataclass(frozen=True, slots=True)
class Job:
    """The job that a tool starts and returns.

    Its results have its ``id``, its ``status``, its ``progress`` in percent, the seconds after which to
    ask again as ``retry_after`` until it has ended, and an ``error`` where it failed.

    Attributes:
        path: The path of the job, with fields of the result in braces.
        tool: The tool that tells how far it is, and in the end has what was made.
        argument: The argument of that tool that takes the id.
    """

    path: str
    tool: str
    argument: str = "job_id"


@dataclass(frozen=True, slots=True)
class ToolResource:
    """An MCP resource that is the result of a tool, called without arguments.

    Attributes:
        uri: The URI.
        name: The name for programs.
        title: The name to show to people.
        description: The description for people and models.
    """

    uri: str
    name: str
    title: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """The traits of a tool, as `tool` describes them."""

    title: str
    read_only: bool
    destructive: bool
    idempotent: bool
    open_world: bool
    idempotent_by_key: bool
    detached: bool
    paid: bool
    has_media: bool
    only_named: bool
    long_text: bool
    takes_long: bool
    job: Job | None
    get_route: GetRoute | None
    resource: ToolResource | None
    instructions: str | None
    icon: str | None

    @property
    def annotations(self) -> Mapping[str, Any]:
        """The hints of MCP."""
        return {
            "readOnlyHint": self.read_only,
            "destructiveHint": self.destructive,
            "idempotentHint": self.idempotent,
            "openWorldHint": self.open_world,
        }


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
    has_media: bool = False,
    only_named: bool = False,
    long_text: bool = False,
    takes_long: bool = False,
    job: Job | None = None,
    get_route: GetRoute | None = None,
    resource: ToolResource | None = None,
    instructions: str | None = None,
    icon: str | None = None,
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
        detached: It runs to its end though its caller disconnects, because what it makes is stored.
        paid: Each call costs money, so a chat may make only a few.
        has_media: Its result has stored media, which MCP clients get as links and pictures, too.
        only_named: A chat offers it to its model only where the caller names it, because it would have
            one model ask another.
        long_text: Its arguments may be megabytes, as whole conversations are.
        takes_long: It takes so long that MCP clients get a task in place of its result, where they can.
        job: It starts a job and returns it, over HTTP with status 202.
        get_route: A GET route that calls it too.
        resource: An MCP resource that is its result.
        instructions: A sentence about it in the instructions of the MCP server, which clients give to
            their model.
        icon: The file of its icon for MCP clients, in the folder ``pages``.

    Raises:
        TypeError: A paid tool is marked as read-only: clients may call those without asking.
    """
    if read_only and paid:
        raise TypeError("A paid tool must not be read_only: clients call those without asking.")
    traits = Traits(
        title=title,
        read_only=read_only,
        destructive=destructive,
        idempotent=idempotent,
        open_world=open_world,
        idempotent_by_key=idempotent_by_key,
        detached=detached,
        paid=paid,
        has_media=has_media,
        only_named=only_named,
        long_text=long_text,
        takes_long=takes_long,
        job=job,
        get_route=get_route,
        resource=resource,
        instructions=instructions,
        icon=icon,
    )

    def mark(handler: HandlerT) -> HandlerT:
        setattr(handler, _MARK, traits)
        return handler

    return mark


class Tool:
    """A tool that can be called.

    Args:
        handler: The marked method, bound to its services.
        claims: Claims calls by their idempotency keys, and completes detached ones.

    Attributes:
        name: The name to call it by.
        traits: The traits of the tool.

    Whatever follows from the method's signature raises TypeError where the method lacks an annotation
    or a described parameter.
    """

    def __init__(self, handler: Handler, claims: Claims) -> None:
        self._handler = handler
        self._claims = claims
        self.name: str = handler.__name__
        self.traits: Traits = getattr(handler, _MARK)

    @cached_property
    def _signature(self) -> ToolSignature:
        # When it is asked for: a cold start waits for no model or schema that it does not need.
        return signature_of(getattr(self._handler, "__func__", self._handler))

    @property
    def description(self) -> str:
        """The description for models and people."""
        return self._signature.description

    @property
    def arguments_model(self) -> type[ToolArguments]:
        """The pydantic model of its arguments."""
        return self._signature.arguments_model

    @property
    def result_type(self) -> Any:
        """The type of its result."""
        return self._signature.result_type

    @cached_property
    def spec(self) -> ToolSpec:
        """The tool as callers see it."""
        signature = self._signature
        return ToolSpec(
            name=self.name,
            title=self.traits.title,
            description=signature.description,
            input_schema=signature.input_schema,
            output_schema=signature.output_schema,
            annotations=self.traits.annotations,
            is_paid=self.traits.paid,
            only_named=self.traits.only_named,
            icon=self.traits.icon,
        )

    def make_spec(self) -> None:
        """Makes `spec`, so that no request waits for it."""
        _ = self.spec

    def check(self, arguments: Mapping[str, Any]) -> ToolArguments:
        """Checks arguments.

        Raises:
            InvalidRequest: They are wrong; the text names each field.
        """
        check_limits(arguments)
        try:
            return self.arguments_model.model_validate(arguments)
        except ValidationError as error:
            raise invalid_arguments(error) from error

    async def call(self, arguments: ToolArguments, context: CallContext) -> JsonObject:
        """Runs the tool with checked arguments and returns its result as a JSON object."""
        # Where the result differs from call to call, none is remembered.
        key = context.idempotency_key if self.traits.idempotent_by_key else None
        # Several calls can share a context, as those of one chat do, but not their ids.
        operation = Operation.begin()
        context = replace(context, tool=self.name, idempotency_key=key, operation=operation)
        if context.idempotency_key is None and not self.traits.detached:
            return await self._run(arguments, context)
        with context.detached() as its_context:
            return await self._claims.background.complete(self._run(arguments, its_context))

    async def refresh(self, result: JsonObject, context: CallContext) -> JsonObject:
        """Returns the result of an earlier call with fresh links to its media."""
        return await self._claims.refresh(result, result, context)

    async def _run(self, arguments: ToolArguments, context: CallContext) -> JsonObject:
        # The MCP SDK makes the span of a call at its door.
        with nullcontext() if context.door == "mcp" else tool_span(self.name):
            async with context.scope():
                if context.idempotency_key is None:
                    return await self._make(arguments, context)
                return await self._make_once(arguments, context)

    async def _make_once(self, arguments: ToolArguments, context: CallContext) -> JsonObject:
        request = f"{self.name} {arguments.model_dump_json(exclude_unset=True)}".encode()
        async with self._claims.claim(request, context) as claim:
            if claim.is_done:
                return await self._claims.refresh(claim.result, claim.result, context)
            its_context = replace(context, operation=claim.operation)
            result = claim.result = await self._make(arguments, its_context)
            return result

    async def _make(self, arguments: ToolArguments, context: CallContext) -> JsonObject:
        values = {name: getattr(arguments, name) for name in type(arguments).model_fields}
        result = await self._handler(**values, context=context)
        structured: JsonObject = self._signature.result.dump_python(result, mode="json")
        return structured


def find_tools(family: object, claims: Claims) -> Iterator[Tool]:
    """Yields the tools of a family, in the order of its methods.

    Args:
        family: An object whose methods are marked with `tool`.
        claims: Of the tools.
    """
    for name in vars(type(family)):
        member = getattr(family, name)
        if hasattr(member, _MARK):
            yield Tool(member, claims)
