"""Types of settings: how a text becomes a value, and what its author is told when it does not."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SecretBytes,
    SecretStr,
)
from pydantic_core import PydanticCustomError

from shared.errors import plain_words

Scope = Literal["chat", "tools", "connections", "openai", "act-as", "admin"]

SCOPES: tuple[Scope, ...] = get_args(Scope)
"""All scopes, in the order in which they are shown."""

DEFAULT_SCOPES: frozenset[Scope] = frozenset({"chat", "tools", "connections", "openai"})
"""Scopes of a key that lists none: all but act-as and admin."""

MIN_KEY_CHARS = 20
"""Shortest API key in Azure; a digest does not show how long its key is."""

ENCRYPTION_KEY_BYTES = 32
"""Length of an AES-256 key."""

PRINCIPAL_PATTERN = re.compile(r"[A-Za-z0-9._@-]{1,128}")
"""Names that keys may have."""

ENTRA_PATTERN = re.compile(
    r"entra:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE
)
"""Names of principals of Entra ID, which no key may have."""


def malformed(sentence: str) -> PydanticCustomError:
    """Returns the error for a malformed value.

    Args:
        sentence: What is wrong with it and how to write it; the setting's name is put before it.
    """
    # A custom error's text reaches the operator as it is, without pydantic's "Value error, " before it.
    return PydanticCustomError("setting", "{sentence}", {"sentence": sentence})


_COMPLAINTS = {
    "missing": "is missing",
    "extra_forbidden": "is not known",
    "model_type": "is not a JSON object",
    "dict_type": "is not a JSON object",
    "tuple_type": "is not a JSON list",
    "frozen_set_type": "is not a JSON list",
    "string_type": "is not a string",
    "int_type": "is not a whole number",
    "float_type": "is not a number",
}
"""Replaces sentences that speak of Python's types and classes."""


def describe_complaint(complaint: Mapping[str, Any]) -> str:
    """Returns what pydantic complains of, as the end of a sentence about the setting."""
    if complaint["type"] == "setting":
        return str(complaint["msg"])
    words = plain_words(complaint)
    words = f"{words[:1].lower()}{words[1:]}"
    usual = words if words.startswith("must ") else f"is malformed: {words}"
    return _COMPLAINTS.get(complaint["type"], usual)


def _json_object(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        decoded = json.loads(value)
    except ValueError:
        decoded = None
    if not isinstance(decoded, dict):
        raise malformed("is not a JSON object")
    return decoded


def _base_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or parts.query or parts.fragment:
        raise malformed("is not a URL: write it as https://HOST/PATH, without a query")
    return value.rstrip("/")


def _origin(value: str) -> str:
    parts = urlsplit(_base_url(value))
    if parts.path:
        raise malformed("has a path: give scheme and host only, as https://HOST")
    return value.rstrip("/")


def _origins(value: object) -> object:
    if not isinstance(value, str):
        return value
    origins = tuple(filter(None, (part.strip().rstrip("/") for part in value.split(","))))
    for origin in origins:
        parts = urlsplit(origin)
        if origin != "*" and not (parts.scheme and parts.netloc and not parts.path):
            raise malformed(
                "is not a comma-separated list of origins: write each as https://HOST, or *"
            )
    return origins


def _azure_resource(value: str) -> str:
    url = _base_url(value)
    if urlsplit(url).path:
        raise malformed("has a path: give the resource only, as https://NAME.openai.azure.com")
    return url


def _connection_string(value: str) -> str:
    parts = dict(part.partition("=")[::2] for part in value.split(";") if part)
    is_development = parts.get("UseDevelopmentStorage", "").lower() == "true"
    if not is_development and not {"AccountName", "AccountKey"} <= parts.keys():
        raise malformed(
            "is not a connection string with AccountName and AccountKey, or UseDevelopmentStorage=true"
        )
    return value


def _container_name(value: str) -> str:
    if not re.fullmatch(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*", value):
        raise malformed("is not a container name: 3 to 63 lower-case letters, digits and hyphens")
    return value


def _blob_path(value: str) -> str:
    path = value.strip("/")
    if path and not all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", p) for p in path.split("/")):
        raise malformed("is not a path of folders with names of A-Z a-z 0-9 . _ -")
    return path


def _encryption_keys(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        keys = [base64.b64decode(part.strip(), validate=True) for part in value.split(",")]
    except ValueError:
        keys = []
    if not keys or any(len(key) != ENCRYPTION_KEY_BYTES for key in keys):
        raise malformed("is not 32 bytes in base64, or several of them, comma-separated")
    return tuple(SecretBytes(key) for key in keys)


def _lower_case(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _comma_separated(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(filter(None, (part.strip() for part in value.split(","))))


COMMA_SEPARATED = BeforeValidator(_comma_separated)
"""Marks a type whose value is written as a comma-separated list."""

JSON_OBJECT = BeforeValidator(_json_object)
"""Marks a type whose value is written as a JSON object."""

LOWER_CASE = BeforeValidator(_lower_case)
"""Marks a type whose value may be written in upper case as well."""

AzureResource = Annotated[str, BeforeValidator(_azure_resource)]
BaseUrl = Annotated[str, BeforeValidator(_base_url)]
BlobPath = Annotated[str, BeforeValidator(_blob_path)]
ConnectionString = Annotated[SecretStr, BeforeValidator(_connection_string)]
ContainerName = Annotated[str, BeforeValidator(_container_name)]
EncryptionKeys = Annotated[tuple[SecretBytes, ...], BeforeValidator(_encryption_keys)]
Origin = Annotated[str, BeforeValidator(_origin)]
Origins = Annotated[tuple[str, ...], BeforeValidator(_origins)]


class McpServer(BaseModel):
    """One entry of MCP_SERVERS.

    Attributes:
        url: Its streamable HTTP endpoint.
        bearer_token_setting: Name of the app setting that holds a token for it.
        auth: Whether all principals share the token, or each authorizes the server once.
        client_id: OAuth client of the operator's for per-user authorizations; None: one is registered.
        client_secret_setting: Name of the app setting that holds the client's secret.
        scopes: Scopes to ask for; those that the server names where there are none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: BaseUrl
    bearer_token_setting: str | None = None
    auth: Literal["shared", "per-user"] = "shared"
    client_id: str | None = None
    client_secret_setting: str | None = None
    scopes: tuple[str, ...] = ()

    @property
    def secret_setting(self) -> str | None:
        """Name of the app setting with the secret that it needs, whichever that is."""
        return self.bearer_token_setting or self.client_secret_setting

    @property
    def unfit_field(self) -> str | None:
        """Name of a field that does not go with ``auth``."""
        if self.auth == "per-user":
            return "bearer_token_setting" if self.bearer_token_setting else None
        given = {
            "client_id": self.client_id,
            "client_secret_setting": self.client_secret_setting,
            "scopes": self.scopes,
        }
        return next((name for name, value in given.items() if value), None)


PROVIDER_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What names in PROVIDERS look like: one comes before the slash in a model's name."""


class ProviderEntry(BaseModel):
    """One entry of PROVIDERS.

    Attributes:
        base_url: Base URL, such as https://api.openai.com/v1; for Azure the resource is enough.
        key_setting: Name of the app setting that holds its key; None: no key, for Azure the identity.
        kind: How it is called; None: as its host tells.
        models: Patterns of the models that it serves, with ``*`` for any characters.
        fallbacks: Names of the entries to call in turn when it fails.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: BaseUrl
    key_setting: str | None = None
    kind: Literal["openai", "azure", "gemini", "compatible"] | None = None
    models: tuple[str, ...] = ()
    fallbacks: tuple[str, ...] = ()
