"""Settings of the sign-in with Microsoft Entra ID."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from shared.settings.groups import SettingsGroup
from shared.settings.values import COMMA_SEPARATED, Origin, malformed

MAX_LISTED = 100
MAX_LISTED_CHARS = 255

_GUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_OF_GRAPH = ("https://graph.microsoft.com", "00000003-0000-0000-c000-000000000000")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def _guid(value: object) -> object:
    if isinstance(value, str) and _GUID.fullmatch(value.lower()):
        return value.lower()
    raise malformed(
        "is not an id such as 11111111-2222-3333-4444-555555555555: copy it from the overview of the "
        "app registration"
    )


def _authority(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise malformed("must begin with https://")
    return value


def _listed(value: str) -> str:
    if len(value) > MAX_LISTED_CHARS or not re.fullmatch(r"[\x21-\x7e]+", value):
        raise malformed(
            f"is not 1 to {MAX_LISTED_CHARS} visible ASCII characters: separate several with commas"
        )
    return value


def _audience(value: str) -> str:
    if value.rstrip("/") in _OF_GRAPH:
        raise malformed("names Microsoft Graph, whose tokens any program of the tenant may have")
    return value


Guid = Annotated[str, BeforeValidator(_guid)]
Audiences = Annotated[
    tuple[Annotated[str, AfterValidator(_listed), AfterValidator(_audience)], ...],
    COMMA_SEPARATED,
    Field(max_length=MAX_LISTED),
]
Listed = Annotated[
    tuple[Annotated[str, AfterValidator(_listed)], ...],
    COMMA_SEPARATED,
    Field(max_length=MAX_LISTED),
]


class EntraSettings(SettingsGroup):
    """Sign-in with Microsoft Entra ID, beside keys."""

    tenant_id: Guid | None = Field(
        None,
        alias="ENTRA_TENANT_ID",
        description="Id of the tenant; it turns sign-in on, together with ENTRA_CLIENT_ID.",
    )
    client_id: Guid | None = Field(
        None,
        alias="ENTRA_CLIENT_ID",
        description="Application (client) id of this app's registration.",
    )
    audiences: Audiences = Field(
        default=(),
        alias="ENTRA_AUDIENCES",
        description="Further audiences (identifier URIs) of accepted tokens, comma-separated; unset: "
        "the client id and the addresses of the app alone.",
    )
    allowed_clients: Listed = Field(
        default=(),
        alias="ENTRA_ALLOWED_CLIENTS",
        description="Ids of the clients that may call, comma-separated; unset: any of the tenant.",
    )
    authority: Annotated[Origin, AfterValidator(_authority)] = Field(
        "https://login.microsoftonline.com",
        alias="ENTRA_AUTHORITY",
        description="Origin where people sign in, for other clouds.",
    )
    accept_v1_tokens: bool = Field(
        default=False,
        alias="ENTRA_ACCEPT_V1_TOKENS",
        description="Whether tokens of version 1.0 are accepted too.",
    )
