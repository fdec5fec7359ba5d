"""What the manager's routes take and answer."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.connections import ConnectionRecord

CONNECTED = "Successfully connected to MCP server"

JsonObject = dict[str, Any]
ClientId = Annotated[str, Field(min_length=1, max_length=128, description="The connection.")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    client_id: ClientId


class CallToolRequest(_Body):
    """A tool, its arguments, and how long it may take."""

    tool_name: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: JsonObject = {}
    timeout: Annotated[float, Field(gt=0, le=230)] = 60


class ReadResourceRequest(_Body):
    """A resource."""

    uri: Annotated[str, Field(min_length=1, max_length=2048)]


class GetPromptRequest(_Body):
    """A prompt and its arguments."""

    prompt_name: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: dict[str, str] = {}


class ConfirmRequest(_Body):
    """The characters that a browser was shown at the end of an authorization."""

    code: Annotated[
        str,
        Field(min_length=1, max_length=64, description="The 8 characters that the browser showed."),
    ]


class DisconnectRequest(_Body):
    """A connection to end."""


class ConnectAnswer(BaseModel):
    """A connection and what its server offers."""

    status: Literal["connected"] = "connected"
    client_id: str
    tools: list[JsonObject]
    resources: list[JsonObject]
    prompts: list[JsonObject]
    message: str = CONNECTED


class AuthorizationAnswer(BaseModel):
    """A connection that waits for its user."""

    status: Literal["authorization_required"] = "authorization_required"
    client_id: str
    authorization_url: str
    expires_at: datetime | None
    message: str = (
        "Open authorization_url in a browser within ten minutes, then send the client_id, and as code "
        "the 8 characters that the browser shows, to POST /mcp/oauth/confirm."
    )


class _Listing(BaseModel):
    status: Literal["success"] = "success"
    client_id: str
    count: int
    truncated: Annotated[
        Literal[True] | None, Field(description="Given where the server has more than is listed.")
    ] = None
    left_out: Annotated[
        list[str] | None, Field(description="Entries that could not be taken, in sentences.")
    ] = None
    changed: Annotated[
        list[str] | None,
        Field(description="Entries that could not be taken as they are, in sentences."),
    ] = None


class ToolsAnswer(_Listing):
    """Tools of a connection's server."""

    tools: list[JsonObject]


class ResourcesAnswer(_Listing):
    """Resources of a connection's server."""

    resources: list[JsonObject]


class PromptsAnswer(_Listing):
    """Prompts of a connection's server."""

    prompts: list[JsonObject]


class CallToolAnswer(BaseModel):
    """What came of a call: ``result`` is the tool's structured content, else its content."""

    status: Literal["success", "error"]
    result: JsonObject | None
    content: list[JsonObject]
    error: str | None
    execution_time: float


class ResourceAnswer(BaseModel):
    """A resource: ``content`` is the first of its parts, ``contents`` are all."""

    status: Literal["success"] = "success"
    client_id: str
    uri: str
    content: JsonObject
    contents: list[JsonObject]


class PromptAnswer(BaseModel):
    """A prompt with its arguments filled in."""

    status: Literal["success"] = "success"
    client_id: str
    prompt_name: str
    content: JsonObject


class DisconnectAnswer(BaseModel):
    """A connection that has ended."""

    status: Literal["disconnected"] = "disconnected"
    client_id: str
    message: str = "Successfully disconnected from MCP server"


class ClientMetadata(BaseModel):
    """A connection without its secrets."""

    created_at: datetime
    transport: str
    auth_type: str
    name: str
    mcp_url: str | None
    command: str | None
    last_activity: datetime
    status: str

    @classmethod
    def of(cls, record: ConnectionRecord) -> "ClientMetadata":
        """Returns what may be shown of a record."""
        return cls.model_validate({name: getattr(record, name) for name in cls.model_fields})


class ClientSummary(ClientMetadata):
    """One connection of the list."""

    client_id: str


class ClientsAnswer(BaseModel):
    """All connections of the caller, oldest first."""

    status: Literal["success"] = "success"
    clients: list[ClientSummary]
    count: int


class ClientAnswer(BaseModel):
    """One connection."""

    status: Literal["success"] = "success"
    client_id: str
    metadata: ClientMetadata
