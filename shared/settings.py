"""The only module that reads the environment: every setting, typed, validated and described.

A blank value counts as unset. A malformed value does not stop the process: it is listed in
`Settings.problems`, the app then answers with that text, and ``GET /health`` shows it.
"""

import base64
import json
import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretBytes,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from shared import __build__

Scope = Literal["chat", "tools", "connections", "act-as"]

DEFAULT_SCOPES: frozenset[Scope] = frozenset({"chat", "tools", "connections"})
"""What a key may do when nobody says otherwise: everything but speaking for somebody else."""

MIN_KEY_CHARS = 20
"""Of an API key in Azure; digests do not show how long a key is."""

ENCRYPTION_KEY_BYTES = 32
"""What AES-256 wants."""

PRINCIPAL_PATTERN = re.compile(r"[A-Za-z0-9._@-]{1,128}")
"""Names of principals, whoever names them: keys, the ``X-User-Id`` header, routes."""


def _complain(sentence: str) -> PydanticCustomError:
    # A custom error's text reaches the operator as it is, without pydantic's "Value error, " before it.
    return PydanticCustomError("setting", "{sentence}", {"sentence": sentence})


def _json_object(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        decoded = json.loads(value)
    except ValueError:
        decoded = None
    if not isinstance(decoded, dict):
        raise _complain("is not a JSON object")
    return decoded


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise _complain("is not a URL: write it as https://HOST/PATH, without a query")
    return value.rstrip("/")


def _origin(value: str) -> str:
    parts = urlsplit(_base_url(value))
    if parts.path:
        raise _complain("has a path: give scheme and host only, as https://HOST")
    return value.rstrip("/")


def _origins(value: object) -> object:
    if not isinstance(value, str):
        return value
    origins = tuple(filter(None, (part.strip().rstrip("/") for part in value.split(","))))
    for origin in origins:
        parts = urlsplit(origin)
        if origin != "*" and not (parts.scheme and parts.netloc and not parts.path):
            raise _complain(
                "is not a comma-separated list of origins: write each as https://HOST, or *"
            )
    return origins


def _connection_string(value: str) -> str:
    parts = dict(part.partition("=")[::2] for part in value.split(";") if part)
    is_development = parts.get("UseDevelopmentStorage", "").lower() == "true"
    if not is_development and not {"AccountName", "AccountKey"} <= parts.keys():
        raise _complain(
            "is not a connection string with AccountName and AccountKey, or UseDevelopmentStorage=true"
        )
    return value


def _container_name(value: str) -> str:
    if not re.fullmatch(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*", value):
        raise _complain("is not a container name: 3 to 63 lower-case letters, digits and hyphens")
    return value


def _blob_path(value: str) -> str:
    path = value.strip("/")
    if path and not all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", p) for p in path.split("/")):
        raise _complain("is not a path of folders with names of A-Z a-z 0-9 . _ -")
    return path


def _encryption_keys(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        keys = [base64.b64decode(part.strip(), validate=True) for part in value.split(",")]
    except ValueError:
        keys = []
    if not keys or any(len(key) != ENCRYPTION_KEY_BYTES for key in keys):
        raise _complain("is not 32 bytes in base64, or several of them, comma-separated")
    return tuple(SecretBytes(key) for key in keys)


EncryptionKeys = Annotated[tuple[SecretBytes, ...], BeforeValidator(_encryption_keys)]
ConnectionString = Annotated[SecretStr, BeforeValidator(_connection_string)]
ContainerName = Annotated[str, BeforeValidator(_container_name)]
BlobPath = Annotated[str, BeforeValidator(_blob_path)]
BaseUrl = Annotated[str, BeforeValidator(_base_url)]
Origin = Annotated[str, BeforeValidator(_origin)]
Origins = Annotated[tuple[str, ...], BeforeValidator(_origins)]


class KeyRecord(BaseModel):
    """One entry of API_KEYS.

    Attributes:
        sha256: SHA-256 of the key, as 64 hex digits in lower case.
        scopes: What the key may do.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    scopes: frozenset[Scope] = DEFAULT_SCOPES

    @model_validator(mode="before")
    @classmethod
    def _expand_digest(cls, value: object) -> object:
        if not isinstance(value, str | dict | KeyRecord):
            raise _complain('is neither a digest nor an object with "sha256"')
        return {"sha256": value} if isinstance(value, str) else value

    @field_validator("sha256")
    @classmethod
    def _is_digest(cls, value: str) -> str:
        if not re.fullmatch(r"[0-9a-f]{64}", value.lower()):
            raise _complain("is not a SHA-256 digest of 64 hex digits")
        return value.lower()


class McpServer(BaseModel):
    """One entry of MCP_SERVERS.

    Attributes:
        url: Its streamable HTTP endpoint.
        bearer_token_setting: Name of the app setting that holds a token for it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, BeforeValidator(_base_url)]
    bearer_token_setting: str | None = None


class Settings(BaseModel):
    """All settings of the app; each is the environment variable of the same name in upper case.

    Attributes:
        in_azure: Whether the process runs in Azure and not on a developer's machine.
        own_url: Where callers reach the app, without a slash at the end: PUBLIC_BASE_URL, or the name
            of the host.
        has_host_storage: Whether the Functions host has the storage that its timers need: always in
            Azure, elsewhere where ``AzureWebJobsStorage`` is set.
        mcp_server_tokens: The tokens that MCP_SERVERS points to, by the server's name.
        malformed: Names of the malformed settings; such a setting has its default here.
        problems: One sentence for each of them, which may name an entry: not for everybody.
    """

    model_config = ConfigDict(frozen=True, alias_generator=str.upper, populate_by_name=True)

    in_azure: bool = Field(default=False, alias="")
    own_url: str = Field(default="http://localhost:7071", alias="")
    has_host_storage: bool = Field(default=False, alias="")
    mcp_server_tokens: dict[str, SecretStr] = Field(default={}, alias="")
    malformed: tuple[str, ...] = Field(default=(), alias="")
    problems: tuple[str, ...] = Field(default=(), alias="")

    api_keys: Annotated[dict[str, KeyRecord], BeforeValidator(_json_object)] = Field(
        default={},
        description='JSON object: name → SHA-256 hex digest of the key, or {"sha256", "scopes"}.',
    )
    mcp_api_key: SecretStr | None = Field(None, description="One shared key in plain text.")
    mcp_server_api_key: SecretStr | None = Field(None, description="Another name of MCP_API_KEY.")

    openai_api_key: SecretStr | None = Field(
        None, description="Key of OpenAI or a compatible endpoint."
    )
    openai_base_url: BaseUrl | None = Field(None, description="Base URL of a compatible endpoint.")
    openai_organization: str | None = Field(None, description="OpenAI organization id.")
    openai_project: str | None = Field(None, description="OpenAI project id.")
    openai_temperature: float | None = Field(
        None,
        ge=0,
        le=2,
        description="Sampling temperature where a caller gives none; unset: not sent.",
    )

    azure_openai_endpoint: BaseUrl | None = Field(
        None,
        description="Turns Azure mode on: https://NAME.openai.azure.com or …services.ai.azure.com.",
    )
    azure_openai_api_key: SecretStr | None = Field(
        None, description="Key; without it the managed identity or developer login is used."
    )
    azure_openai_api_version: str | None = Field(
        None, description="Set: the dated API; unset: the v1 API."
    )
    azure_openai_token_scope: str | None = Field(
        None,
        description="Token scope of the identity; unset: the one that fits the endpoint's domain.",
    )
    azure_client_id: str | None = Field(
        None, description="Client id of the user-assigned identity; unset: the system-assigned one."
    )
    azure_openai_chat_deployment: str | None = Field(None, description="Deployment for chat.")
    azure_openai_image_deployment: str | None = Field(None, description="Deployment for images.")
    azure_openai_audio_deployment: str | None = Field(None, description="Deployment for speech.")
    azure_openai_transcription_deployment: str | None = Field(
        None, description="Deployment for transcription."
    )
    azure_openai_video_deployment: str | None = Field(None, description="Deployment for video.")

    gemini_api_key: SecretStr | None = Field(
        None, description="Key of Google's OpenAI-compatible endpoint."
    )

    openai_chat_model: str | None = Field(None, description="Model for chat (alias OPENAI_MODEL).")
    openai_image_model: str | None = Field(None, description="Model for images.")
    openai_audio_model: str | None = Field(None, description="Model for speech.")
    openai_transcription_model: str | None = Field(None, description="Model for transcription.")
    openai_video_model: str | None = Field(None, description="Model for video; has no default.")

    openai_chat_base_url: BaseUrl | None = Field(None, description="Another endpoint for chat.")
    openai_chat_api_key: SecretStr | None = Field(
        None, description="Its key; unset: OPENAI_API_KEY."
    )
    openai_image_base_url: BaseUrl | None = Field(None, description="Another endpoint for images.")
    openai_image_api_key: SecretStr | None = Field(
        None, description="Its key; unset: OPENAI_API_KEY."
    )
    openai_audio_base_url: BaseUrl | None = Field(None, description="Another endpoint for speech.")
    openai_audio_api_key: SecretStr | None = Field(
        None, description="Its key; unset: OPENAI_API_KEY."
    )
    openai_transcription_base_url: BaseUrl | None = Field(
        None, description="Another endpoint for transcription."
    )
    openai_transcription_api_key: SecretStr | None = Field(
        None, description="Its key; unset: OPENAI_API_KEY."
    )
    openai_video_base_url: BaseUrl | None = Field(None, description="Another endpoint for video.")
    openai_video_api_key: SecretStr | None = Field(
        None, description="Its key; unset: OPENAI_API_KEY."
    )

    azure_storage_connection_string: ConnectionString | None = Field(
        None, description="Blob Storage by connection string, Azurite too."
    )
    azure_storage_account_url: BaseUrl | None = Field(
        None, description="Blob Storage by identity: https://NAME.blob.core.windows.net."
    )
    azure_blob_container: ContainerName = Field("media", description="Container of media.")
    azure_blob_state_container: ContainerName = Field(
        "state", description="Container of everything else durable."
    )
    azure_blob_public_base_url: BaseUrl | None = Field(
        None,
        description="Public or CDN base URL of the media container; unset: signed URLs.",
    )
    azure_blob_path_prefix: BlobPath = Field("", description="Begins the names of all media.")
    azure_blob_image_root: BlobPath = Field("images", description="Folder of images.")
    azure_blob_audio_root: BlobPath = Field("audio", description="Folder of audio clips.")
    azure_blob_video_root: BlobPath = Field("videos", description="Folder of videos.")
    local_storage_path: str | None = Field(
        None, description="Folder for local work, used where no Azure storage is set."
    )
    media_url_ttl_seconds: int = Field(
        3600, ge=1, le=6 * 24 * 3600, description="Lifetime of a signed URL in seconds."
    )
    media_proxy_downloads: bool = Field(
        default=False,
        description="Streams media through the app, where callers cannot reach Blob Storage.",
    )

    chat_system_prompt: str | None = Field(
        None, description="System prompt of the chat agent; unset: the built-in one."
    )
    chat_max_turns: int = Field(
        10, ge=1, le=50, description="Model calls with tools in one chat request."
    )
    chat_max_history_tokens: int = Field(
        32000, ge=100, description="Most tokens of a conversation that the model is sent, about."
    )

    public_base_url: Origin | None = Field(
        None,
        description="https://HOST of a custom domain or Front Door; unset: the app's own host name.",
    )
    request_deadline_seconds: float = Field(
        200, gt=0, le=230, description="Budget of one request; Azure's front end cuts at 230 s."
    )
    cors_allowed_origins: Origins = Field(
        default=(), description="Comma-separated origins, or * (then without credentials)."
    )
    mcp_allowed_origins: Origins = Field(
        default=(), description="Origins that a browser MCP client may send, beside CORS's."
    )
    mcp_stdio_commands: Annotated[
        dict[str, Annotated[tuple[str, ...], Field(min_length=1)]], BeforeValidator(_json_object)
    ] = Field(
        default={},
        description="JSON object: name → argument vector that a connection may start; unset: none.",
    )
    mcp_servers: Annotated[dict[str, McpServer], BeforeValidator(_json_object)] = Field(
        default={},
        description='JSON object: name → {"url", "bearer_token_setting"?}, for every caller\'s chat.',
    )
    connections_encryption_key: EncryptionKeys = Field(
        default=(),
        description="32 bytes in base64, or several, comma-separated: the first one encrypts.",
    )
    connections_allow_private_networks: bool = Field(
        default=False,
        description="Lets connections and downloads reach private addresses, without https too.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Log level."
    )
    build_id: str = Field(
        __build__, description="Overrides the build that the package carries and /health shows."
    )

    @field_validator("api_keys")
    @classmethod
    def _have_names_and_keys_of_their_own(cls, value: dict[str, KeyRecord]) -> dict[str, KeyRecord]:
        if not all(PRINCIPAL_PATTERN.fullmatch(name) for name in value):
            raise _complain("has a name that is not 1 to 128 of A-Z a-z 0-9 . _ @ -")
        if len({record.sha256 for record in value.values()}) < len(value):
            raise _complain("has one key under two names: make a key for each name")
        return value

    @field_validator("azure_openai_endpoint")
    @classmethod
    def _is_azure_resource(cls, value: str | None) -> str | None:
        if value and urlsplit(value).path:
            raise _complain("has a path: give the resource only, as https://NAME.openai.azure.com")
        return value

    @field_validator("azure_blob_state_container")
    @classmethod
    def _is_apart_from_media(cls, value: str, info: ValidationInfo) -> str:
        # A public base URL for the media would show everything else as well.
        if value == info.data.get("azure_blob_container"):
            raise _complain("must differ from AZURE_BLOB_CONTAINER")
        return value

    @field_validator("media_proxy_downloads")
    @classmethod
    def _has_no_public_base_url_beside_it(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("azure_blob_public_base_url"):
            raise _complain(
                "and AZURE_BLOB_PUBLIC_BASE_URL exclude each other: media come through the app or from "
                "that URL"
            )
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _ignore_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @property
    def public_problems(self) -> tuple[str, ...]:
        """`problems` for callers without a key: they name settings only."""
        return tuple(
            f"The setting {name} is malformed. GET /health with a key and the app's log say why."
            for name in self.malformed
        )


_FOUND = frozenset(
    {"in_azure", "own_url", "has_host_storage", "mcp_server_tokens", "malformed", "problems"}
)
"""Fields that are no settings of their own."""

SETTING_NAMES: Mapping[str, str] = {
    name.upper(): field.description or ""
    for name, field in Settings.model_fields.items()
    if name not in _FOUND
}
"""Every setting that the code reads, with its meaning."""

ALIASES: Mapping[str, str] = {"OPENAI_MODEL": "OPENAI_CHAT_MODEL"}
"""Other names of settings."""


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Reads the settings; malformed ones are listed in `Settings.problems` and keep their default.

    Args:
        environ: The variables to read; the process environment when not given.
    """
    source = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for name in (*SETTING_NAMES, *ALIASES):
        if value := source.get(name, "").strip():
            values.setdefault(ALIASES.get(name, name), value)

    in_azure = _runs_in_azure(source)
    problems = {name: _unread_secret(name) for name in values if _is_reference(values[name])}
    if in_azure:
        problems |= _unfit_for_azure(values)
    for name in problems:
        del values[name]
    settings = None
    while settings is None:
        try:
            settings = Settings.model_validate(values)
        except ValidationError as error:
            # One that falls back to its default can make another wrong that was right beside it.
            for complaint in error.errors(include_input=False, include_context=False):
                name = str(complaint["loc"][0])
                problems.setdefault(name, _sentence(complaint))
                values.pop(name, None)
    tokens, missing = _mcp_server_tokens(settings, source)
    problems |= missing
    found: dict[str, Any] = {
        "mcp_server_tokens": tokens,
        "in_azure": in_azure,
        "malformed": tuple(problems),
        "has_host_storage": in_azure or bool(source.get("AzureWebJobsStorage", "").strip()),
        "problems": tuple(problems.values()),
    }
    if settings.public_base_url:
        found["own_url"] = settings.public_base_url
    elif host := source.get("WEBSITE_HOSTNAME", "").strip():
        found["own_url"] = f"{'https' if in_azure else 'http'}://{host}"
    return settings.model_copy(update=found)


_COMPLAINTS = {
    "missing": "is missing",
    "extra_forbidden": "is not known",
    "model_type": "is not a JSON object",
    "dict_type": "is not a JSON object",
    "tuple_type": "is not a JSON list",
    "frozen_set_type": "is not a JSON list",
    "string_type": "is not a string",
}
"""In place of sentences that speak of Python's types and of classes."""


def _sentence(complaint: Mapping[str, Any]) -> str:
    name, *path = (str(step) for step in complaint["loc"])
    where = f"{name}, entry {'.'.join(path)}," if path else name
    message = str(complaint["msg"])
    if complaint["type"] != "setting":
        message = _COMPLAINTS.get(complaint["type"]) or (
            f"is malformed: {message[:1].lower()}{message[1:]}"
        )
    return f"The setting {where} {message}."


def _runs_in_azure(environ: Mapping[str, str]) -> bool:
    # Core Tools mimics some of App Service's variables, but always says that it is Core Tools.
    if environ.get("FUNCTIONS_CORETOOLS_ENVIRONMENT"):
        return False
    return bool(environ.get("WEBSITE_SITE_NAME") or environ.get("WEBSITE_INSTANCE_ID"))


def _mcp_server_tokens(
    settings: Settings, environ: Mapping[str, str]
) -> tuple[dict[str, SecretStr], dict[str, str]]:
    tokens: dict[str, SecretStr] = {}
    problems: dict[str, str] = {}
    for name, server in settings.mcp_servers.items():
        if setting := server.bearer_token_setting:
            token = environ.get(setting, "").strip()
            if _is_reference(token):
                problems[setting] = _unread_secret(setting)
                continue
            tokens[name] = SecretStr(token)
            if not token:
                problems["MCP_SERVERS"] = (
                    f"The setting MCP_SERVERS, entry {name}, names the setting {setting}, "
                    "which has no value."
                )
    return tokens, problems


def _is_reference(value: str) -> bool:
    # App Service leaves a reference as it is where it cannot read the secret. Taken for a key, it would
    # be one that everybody can guess.
    return value.lower().startswith(("@microsoft.keyvault(", "@microsoft.appconfiguration("))


def _unread_secret(name: str) -> str:
    return (
        f"The setting {name} refers to a secret that Azure could not read: see to it that the secret "
        "exists and that the app's identity may read it, then restart the app."
    )


def _unfit_for_azure(values: Mapping[str, str]) -> dict[str, str]:
    problems = {
        name: f"The setting {name} must begin with https:// in Azure."
        for name, value in values.items()
        if name.endswith(("_URL", "_ENDPOINT")) and value.lower().startswith("http://")
    }
    for name in ("MCP_API_KEY", "MCP_SERVER_API_KEY"):
        if 0 < len(values.get(name, "")) < MIN_KEY_CHARS:
            problems[name] = (
                f"The setting {name} must have at least {MIN_KEY_CHARS} characters in Azure: "
                "'python3 -m infra.new_key NAME' makes a key."
            )
    if "LOCAL_STORAGE_PATH" in values:
        problems["LOCAL_STORAGE_PATH"] = (
            "The setting LOCAL_STORAGE_PATH is for local work: an instance's disk goes away with it. "
            "Remove it and set AZURE_STORAGE_ACCOUNT_URL."
        )
    return problems
