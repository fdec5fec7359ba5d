"""Leaves out tools of connections that do not fit into a call, and renames those that clash."""

import json
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, replace

from shared.connections.client.cleaning import any_object
from shared.connections.client.operations import JsonObject, Listing
from shared.connections.sources import MAX_NAME_CHARS, Source, marked_name
from shared.errors import InvalidRequest
from shared.tools import ToolSpec

MAX_CONNECTION_BYTES = 200_000
MAX_CALL_BYTES = 400_000
"""Maximum bytes of the definitions of tools, of one connection and of all, in each call of a model."""

MAX_NAMED = 20
"""Maximum tools that are named where some are left out."""

_TOO_LONG = (
    f"The definitions of these tools are too long together: {MAX_CONNECTION_BYTES} bytes are taken of a "
    f"connection, {MAX_CALL_BYTES} of all. Name fewer."
)


class ToolBudget:
    """The tools that fit into the budget: of each list the first ones, and the first connections' first.

    Tools that can no longer fit are dropped as soon as a list comes in, so that memory is bounded.

    Args:
        sources: The connections, in the order in which they are preferred.
        named: Names of the tools to select; None for all.
        limit: Maximum tools; None for any number.
        max_bytes: Maximum bytes of the definitions of all.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        named: Collection[str] | None,
        limit: int | None,
        max_bytes: int = MAX_CALL_BYTES,
    ) -> None:
        self._sources = sources
        self._named = None if named is None else frozenset(named)
        self._limit = limit
        self._max_bytes = max_bytes
        self._parts: dict[str, _Part] = {}

    def add(self, source: Source, listing: Listing) -> None:
        """Takes the tools of a connection.

        Raises:
            InvalidRequest: The named tools are too long together.
        """
        self._parts[source.client_id] = _Part(source, listing, self._named)
        size = count = 0
        is_full = False
        for part in self._received:
            for index, tool in enumerate(part.tools):
                is_full = is_full or size + tool.size > self._max_bytes or count == self._limit
                if is_full:
                    part.cut(index)
                    break
                size += tool.size
                count += 1
            is_full = is_full or part.is_cut
        if self._named is not None and any(part.omitted for part in self._received):
            raise InvalidRequest.for_field("tools", _TOO_LONG)

    @property
    def is_exceeded(self) -> bool:
        """Whether tools were dropped because all connections together have too many."""
        return any(part.is_cut for part in self._received)

    def left_out(self, source: Source) -> Sequence[str]:
        """Returns what of a connection's list is not selected, as sentences."""
        part = self._parts[source.client_id]
        return [*([_left_out(part)] if part.omitted else ()), *part.notes]

    def tools(self) -> dict[str, tuple[ToolSpec, Source, str]]:
        """Returns the selected tools by name, each with its connection and its name there."""
        selected: dict[str, tuple[ToolSpec, Source, str]] = {}
        for part in self._received:
            for tool in part.tools:
                spec = tool.spec
                if spec.name in selected:
                    spec = replace(spec, name=marked_name(spec.name, tool.name))
                selected[spec.name] = (spec, part.source, tool.name)
        return selected

    @property
    def _received(self) -> Sequence["_Part"]:
        ids = [source.client_id for source in self._sources]
        return [self._parts[each] for each in ids if each in self._parts]


@dataclass(frozen=True, slots=True)
class _Tool:
    """A tool that may be selected: its definition, its server's name for it, and its bytes."""

    spec: ToolSpec
    name: str
    size: int


class _Part:
    """What is held of one connection's list.

    Attributes:
        source: The connection.
        tools: The tools that may be selected.
        count: Number of tools in the list.
        omitted: Number of tools that do not fit.
        omitted_names: The first of them.
        is_cut: Whether tools were dropped for those of other connections.
        notes: What the list says of entries that could not be taken.
    """

    def __init__(self, source: Source, listing: Listing, named: Container[str] | None) -> None:
        self.source = source
        self.count = len(listing)
        self.notes = tuple(listing.left_out)
        self.tools: list[_Tool] = []
        self.omitted = 0
        self.omitted_names: list[str] = []
        self.is_cut = False
        size = 0
        names: set[str] = set()
        for tool in listing:
            theirs = str(tool["name"])
            name = source.tool_name(theirs, names)
            names.add(name)
            if named is not None and name not in named and marked_name(name, theirs) not in named:
                continue
            if not self.omitted:
                spec = _spec(name, tool, source)
                length = _length(spec)
                size += length
                if size <= MAX_CONNECTION_BYTES:
                    self.tools.append(_Tool(spec, theirs, length))
                    continue
            self.omitted += 1
            if self.omitted <= MAX_NAMED:
                self.omitted_names.append(theirs)

    def cut(self, count: int) -> None:
        """Keeps the first tools only."""
        self.is_cut = True
        dropped = [tool.name for tool in self.tools[count:]]
        del self.tools[count:]
        self.omitted += len(dropped)
        self.omitted_names = [*dropped, *self.omitted_names][:MAX_NAMED]


def _left_out(part: _Part) -> str:
    shown = ", ".join(name[:MAX_NAME_CHARS] for name in part.omitted_names)
    more = f" and {part.omitted - MAX_NAMED} more" if part.omitted > MAX_NAMED else ""
    return (
        f"Of its {part.count} tools {part.omitted} are left out: {shown}{more}. Models take only so "
        "many, and every call of a model pays for them: name the tools or the connections to use."
    )


def _length(spec: ToolSpec) -> int:
    definition = [spec.name, spec.description, spec.input_schema]
    return len(json.dumps(definition, ensure_ascii=False).encode())


def _spec(name: str, tool: JsonObject, source: Source) -> ToolSpec:
    annotations: Mapping[str, object] = tool.get("annotations") or {}
    title = tool.get("title") or annotations.get("title") or tool["name"]
    return ToolSpec(
        name=name,
        title=f"{source.name}: {title}",
        description=str(tool.get("description") or title),
        # OpenAI takes no schema of an object without properties.
        input_schema={"properties": {}, **(tool.get("inputSchema") or any_object())},
        output_schema=tool.get("outputSchema"),
        annotations=annotations,
    )
