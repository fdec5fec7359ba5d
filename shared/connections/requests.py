"""The request to connect, which is the body of `POST /mcp/connect`, and the record that it becomes."""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from shared.connections.config import OperatorServer
from shared.connections.credentials import Secrets
from shared.connections.records import (
    AuthType,
    ConnectionRecord,
    TransportName,
    hide_query,
    new_id,
    now,
)
from shared.errors import InvalidRequest

Url = Annotated[str, Field(min_length=1, max_length=2048)]
Text = Annotated[str, Field(min_length=1, max_length=512)]
Secret = Annotated[SecretStr, Field(min_length=1, max_length=8192)]

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_VISIBLE = re.compile(r"[\x21-\x7e]+")


class ConnectRequest(BaseModel):
    """The MCP server to connect to, and the credentials to use."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    transport: TransportName = Field("http", description="Transport of the protocol.")
    mcp_url: Url | None = Field(
        None, description="URL of the server, for http and sse; its query is never shown."
    )
    server: Text | None = Field(
        None,
        description="Name of a server of MCP_SERVERS that each principal authorizes; with it nothing "
        "else is needed.",
    )
    command: Text | list[Text] | None = Field(
        None, description="Name of a command of MCP_STDIO_COMMANDS, for stdio."
    )
    auth_type: AuthType = Field("none", description="Kind of credentials.")
    bearer_token: Secret | None = Field(
        None, description="Token that the server is sent, for auth_type bearer."
    )
    oauth_grant_type: Literal["authorization_code", "client_credentials"] | None = Field(
        None,
        description="Grant type. Default: client_credentials where only a token URL is given, else "
        "authorization_code.",
    )
    oauth_client_id: Text | None = Field(
        None, description="Client id; default: the app registers itself."
    )
    oauth_client_secret: Secret | None = Field(None, description="Client secret.")
    oauth_auth_url: Url | None = Field(
        None, description="Authorization endpoint; default: discovered."
    )
    oauth_token_url: Url | None = Field(None, description="Token endpoint; default: discovered.")
    oauth_redirect_uri: Url | None = Field(
        None,
        description="Redirect URI: this app's own GET /mcp/oauth/callback. Where the app "
        "runs on your own machine also a page there that sends them on to it with the same query.",
    )
    oauth_scopes: Annotated[list[Text], Field(max_length=100)] = Field(
        default=[], description="Scopes to ask for; default: those that the server names."
    )
    name: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        None,
        description="Name of the connection, which the names of its tools in chat begin with; default: "
        "the host.",
    )
    timeout: float = Field(30, gt=0, le=120, description="Seconds that connecting may take.")

    def check(self, callback_url: str) -> None:
        """Makes sure that the fields fit together.

        Args:
            callback_url: This app's own `GET /mcp/oauth/callback`.

        Raises:
            InvalidRequest: They do not.
        """
        if self.transport == "stdio":
            if self.command is None:
                raise InvalidRequest.for_field("command", "Needed for the transport stdio.")
            if self.auth_type != "none":
                raise InvalidRequest.for_field("auth_type", "A command takes no credentials.")
        elif self.mcp_url is None:
            raise InvalidRequest.for_field("mcp_url", f"Needed for the transport {self.transport}.")
        self._check_credentials()
        if self.auth_type == "oauth":
            self._check_redirect(callback_url)
            self._check_oauth()

    def _check_credentials(self) -> None:
        given = [name for name in type(self).model_fields if getattr(self, name)]
        for name in given:
            needed = "bearer" if name == "bearer_token" else "oauth"
            if name.startswith(("bearer_", "oauth_")) and self.auth_type != needed:
                raise InvalidRequest.for_field(
                    "auth_type", f"Must be '{needed}' where {name} is given."
                )
        if self.auth_type != "bearer":
            return
        if self.bearer_token is None:
            raise InvalidRequest.for_field("bearer_token", "Needed for auth_type bearer.")
        if not _VISIBLE.fullmatch(self.bearer_token.get_secret_value()):
            raise InvalidRequest.for_field(
                "bearer_token", "Must be visible ASCII characters, without spaces or line breaks."
            )

    def _check_redirect(self, callback_url: str) -> None:
        """Lets codes come back to this app only: whoever else gets one could play its user's browser."""
        redirect_uri = self.oauth_redirect_uri
        if redirect_uri is None or redirect_uri == callback_url:
            return
        if not (_is_loopback_page(callback_url) and _is_loopback_page(redirect_uri)):
            raise InvalidRequest.for_field(
                "oauth_redirect_uri",
                f"Must be {callback_url}, or be left out: codes come back to this app only.",
            )

    def _check_oauth(self) -> None:
        if not all(map(is_scope, self.oauth_scopes)):
            raise InvalidRequest.for_field(
                "oauth_scopes",
                'Give each scope as an item: visible ASCII characters but " and \\, no spaces.',
            )
        if self.oauth_auth_url and not self.oauth_token_url:
            raise InvalidRequest.for_field("oauth_token_url", "Needed beside oauth_auth_url.")
        if self.oauth_auth_url and self.grant == "client_credentials":
            raise InvalidRequest.for_field(
                "oauth_auth_url", "No user is asked for the grant type client_credentials."
            )
        if self.oauth_token_url and self.grant == "authorization_code" and not self.oauth_auth_url:
            raise InvalidRequest.for_field("oauth_auth_url", "Needed beside oauth_token_url.")

    def for_server(self, server: OperatorServer) -> "ConnectRequest":
        """Returns the request to connect to the operator's server that this one names.

        Raises:
            InvalidRequest: It says more than how the user's browser comes back.
        """
        allowed = {"server", "timeout", "oauth_redirect_uri"}
        if others := sorted(self.model_fields_set - allowed):
            raise InvalidRequest.for_field(others[0], "Leave it out beside server.")
        return ConnectRequest(
            mcp_url=server.url,
            name=self.server,
            auth_type="oauth",
            oauth_grant_type="authorization_code",
            oauth_client_id=server.client_id,
            oauth_client_secret=SecretStr(server.client_secret) if server.client_secret else None,
            oauth_scopes=list(server.scopes),
            oauth_redirect_uri=self.oauth_redirect_uri,
            timeout=self.timeout,
        )

    @property
    def command_name(self) -> str:
        """The name of the command, however it was written.

        Raises:
            InvalidRequest: There is more than a name.
        """
        words = [self.command] if isinstance(self.command, str) else self.command or []
        if len(words) != 1:
            raise InvalidRequest.for_field(
                "command", "Give the name of one of the operator's commands, without arguments."
            )
        return words[0]

    @property
    def grant(self) -> Literal["authorization_code", "client_credentials"]:
        """On whose behalf tokens are asked for."""
        if self.oauth_grant_type is not None:
            return self.oauth_grant_type
        is_own = self.oauth_token_url is not None and self.oauth_auth_url is None
        return "client_credentials" if is_own else "authorization_code"


def new_record(request: ConnectRequest) -> tuple[ConnectionRecord, Secrets]:
    """Returns the record of a connection that is about to be made, and its secrets."""
    is_command = request.transport == "stdio"
    url, query = hide_query(request.mcp_url or "")
    moment = now()
    record = ConnectionRecord(
        id=new_id(),
        name=request.name or _default_name(request),
        transport=request.transport,
        mcp_url=None if is_command else url,
        command=request.command_name if is_command else None,
        auth_type=request.auth_type,
        created_at=moment,
        last_activity=moment,
        timeout=request.timeout,
    )
    return record, Secrets(bearer_token=plain(request.bearer_token), url_query=query)


def _default_name(request: ConnectRequest) -> str:
    if request.transport == "stdio":
        return request.command_name[:64]
    host = urlsplit(request.mcp_url or "").hostname or "server"
    return re.sub(r"^(www|mcp|api)\.", "", host)[:64]


def _is_loopback_page(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    except ValueError:
        return False
    return is_local and parts.scheme in ("http", "https") and not parts.fragment


def plain(secret: SecretStr | None) -> str | None:
    """Returns the secret's text."""
    return None if secret is None else secret.get_secret_value()


def is_scope(text: str) -> bool:
    """Whether a text is one scope of OAuth (RFC 6749, section 3.3)."""
    return _SCOPE.fullmatch(text) is not None
