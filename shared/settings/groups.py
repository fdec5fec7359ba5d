"""Groups of settings; each field's alias is the name of its environment variable."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from shared.settings.keys import KeyEntries
from shared.settings.limits import Limits, ModelPrice
from shared.settings.values import (
    JSON_OBJECT,
    AzureResource,
    BaseUrl,
    BlobPath,
    ConnectionString,
    ContainerName,
    EncryptionKeys,
    McpServer,
    malformed,
)


class SettingsGroup(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(frozen=True)


class AuthSettings(SettingsGroup):
    """Keys of callers."""

    api_keys: Annotated[KeyEntries, JSON_OBJECT] = Field(
        default=KeyEntries(),
        alias="API_KEYS",
        description='JSON object: name → SHA-256 hex digest of the key, or {"sha256", "scopes"?, '
        '"expires"?, "models"?, "limits"?}; see keys-and-usage.md.',
    )
    mcp_api_key: SecretStr | None = Field(
        None,
        alias="MCP_API_KEY",
        description="One shared key in plain text, principal `default`, with every scope but `act-as` "
        "and `admin`; in Azure at least 20 characters.",
    )
    mcp_server_api_key: SecretStr | None = Field(
        None, alias="MCP_SERVER_API_KEY", description="Another name of MCP_API_KEY."
    )


class OpenAISettings(SettingsGroup):
    """OpenAI, or a compatible endpoint for everything."""

    api_key: SecretStr | None = Field(
        None, alias="OPENAI_API_KEY", description="Key of OpenAI or of the compatible endpoint."
    )
    base_url: BaseUrl | None = Field(
        None,
        alias="OPENAI_BASE_URL",
        description="Base URL of a compatible endpoint; unset: OpenAI.",
    )
    organization: str | None = Field(
        None, alias="OPENAI_ORGANIZATION", description="OpenAI organization id."
    )
    project: str | None = Field(None, alias="OPENAI_PROJECT", description="OpenAI project id.")
    temperature: float | None = Field(
        None,
        alias="OPENAI_TEMPERATURE",
        ge=0,
        le=2,
        description="Sampling temperature where a caller gives none; unset: not sent.",
    )


class AzureOpenAISettings(SettingsGroup):
    """An Azure OpenAI resource."""

    endpoint: AzureResource | None = Field(
        None,
        alias="AZURE_OPENAI_ENDPOINT",
        description="The resource: https://NAME.openai.azure.com or https://NAME.services.ai.azure.com.",
    )
    api_key: SecretStr | None = Field(
        None,
        alias="AZURE_OPENAI_API_KEY",
        description="Key of the resource; unset: the managed identity, or on your machine `az login`.",
    )
    api_version: str | None = Field(
        None,
        alias="AZURE_OPENAI_API_VERSION",
        description="Version of the dated API; unset: the v1 API.",
    )
    token_scope: str | None = Field(
        None,
        alias="AZURE_OPENAI_TOKEN_SCOPE",
        description="Scope of the identity's token; unset: the one that fits the endpoint's domain.",
    )


class CapabilitySettings(SettingsGroup):
    """What serves one capability; ``{}`` stands for its name."""

    deployment: str | None = Field(
        None,
        alias="AZURE_OPENAI_{}_DEPLOYMENT",
        description="Deployment for {}; unset: named like the model.",
    )
    model: str | None = Field(
        None,
        alias="OPENAI_{}_MODEL",
        description="Model for {}; unset: the default of the provider, below.",
    )
    base_url: BaseUrl | None = Field(
        None,
        alias="OPENAI_{}_BASE_URL",
        description="Another compatible endpoint for {}; unset: the general one.",
    )
    api_key: SecretStr | None = Field(
        None, alias="OPENAI_{}_API_KEY", description="Key of that endpoint; unset: OPENAI_API_KEY."
    )


class StorageSettings(SettingsGroup):
    """Where media and state are, and how media are handed out."""

    connection_string: ConnectionString | None = Field(
        None,
        alias="AZURE_STORAGE_CONNECTION_STRING",
        description="Blob Storage by connection string with an account key; "
        "`UseDevelopmentStorage=true` is Azurite; comes before AZURE_STORAGE_ACCOUNT_URL.",
    )
    account_url: BaseUrl | None = Field(
        None,
        alias="AZURE_STORAGE_ACCOUNT_URL",
        description="Blob Storage by identity: https://NAME.blob.core.windows.net.",
    )
    container: ContainerName = Field(
        "media",
        alias="AZURE_BLOB_CONTAINER",
        description="Container of media; made on first use.",
    )
    state_container: ContainerName = Field(
        "state",
        alias="AZURE_BLOB_STATE_CONTAINER",
        description="Container of everything else that is stored; made on first use.",
    )
    public_base_url: BaseUrl | None = Field(
        None,
        alias="AZURE_BLOB_PUBLIC_BASE_URL",
        description="Public or CDN base URL of the media container, for links that never expire; unset: "
        "signed links.",
    )
    path_prefix: BlobPath = Field(
        "", alias="AZURE_BLOB_PATH_PREFIX", description="Folder before those of all media."
    )
    image_root: BlobPath = Field(
        "images", alias="AZURE_BLOB_IMAGE_ROOT", description="Folder of images."
    )
    audio_root: BlobPath = Field(
        "audio", alias="AZURE_BLOB_AUDIO_ROOT", description="Folder of audio clips."
    )
    video_root: BlobPath = Field(
        "videos", alias="AZURE_BLOB_VIDEO_ROOT", description="Folder of videos."
    )
    local_path: str | None = Field(
        None,
        alias="LOCAL_STORAGE_PATH",
        description="Folder for local work; refused in Azure; unset: `.local/storage` where no Azure "
        "storage is set.",
    )
    url_ttl_seconds: int = Field(
        3600,
        alias="MEDIA_URL_TTL_SECONDS",
        ge=1,
        le=6 * 24 * 3600,
        description="Lifetime of a signed link, and how long caches may keep a medium, in seconds.",
    )
    proxy_downloads: bool = Field(
        default=False,
        alias="MEDIA_PROXY_DOWNLOADS",
        description="Whether the app streams media itself and links lead to it, for storage that "
        "callers cannot reach.",
    )

    @field_validator("state_container")
    @classmethod
    def _is_apart_from_media(cls, value: str, info: ValidationInfo) -> str:
        # A public base URL for the media would show everything else as well.
        if value == info.data.get("container"):
            raise malformed("must differ from AZURE_BLOB_CONTAINER")
        return value

    @field_validator("proxy_downloads")
    @classmethod
    def _has_no_public_base_url_beside_it(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("public_base_url"):
            raise malformed(
                "and AZURE_BLOB_PUBLIC_BASE_URL exclude each other: media come through the app or from "
                "that URL"
            )
        return value


class AgentSettings(SettingsGroup):
    """The chat agent."""

    system_prompt: str | None = Field(
        None,
        alias="CHAT_SYSTEM_PROMPT",
        description="Instructions of the agent; unset: the built-in ones.",
    )
    max_turns: int = Field(
        10,
        alias="CHAT_MAX_TURNS",
        ge=1,
        le=50,
        description="Maximum number of model calls with tools in one chat request.",
    )
    max_history_tokens: int = Field(
        32000,
        alias="CHAT_MAX_HISTORY_TOKENS",
        ge=100,
        description="About how many tokens of a conversation the model is sent: instructions, newest "
        "turns, message.",
    )


class UsageSettings(SettingsGroup):
    """What principals may use, and what models cost."""

    limits: Annotated[Limits, JSON_OBJECT] = Field(
        default=Limits(),
        alias="LIMITS",
        description="JSON object: limits of every principal that has none of its own; see "
        "keys-and-usage.md.",
    )
    role_limits: Annotated[dict[str, Limits], JSON_OBJECT] = Field(
        default={},
        alias="ROLE_LIMITS",
        description="JSON object: app role of Entra ID → limits; the first that a caller has counts.",
    )
    prices: Annotated[dict[str, ModelPrice], JSON_OBJECT] = Field(
        default={},
        alias="PRICES",
        description='JSON object: model or deployment → {"input", "cached", "output", "image", '
        '"second"}, US dollars per million tokens, per image, per second; comes before the '
        "built-in list.",
    )


class OtlpSettings(SettingsGroup):
    """The OpenTelemetry collector that gets spans and metrics."""

    endpoint: BaseUrl | None = Field(
        None,
        alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="Base URL of an OpenTelemetry collector (OTLP over HTTP), which then gets spans and "
        "metrics; see observability.md.",
    )
    headers: SecretStr | None = Field(
        None,
        alias="OTEL_EXPORTER_OTLP_HEADERS",
        description="Headers for the collector, such as `Authorization=Basic%20KEY`, comma-separated.",
    )


class ConnectionsSettings(SettingsGroup):
    """Connections to other MCP servers."""

    stdio_commands: Annotated[
        dict[str, Annotated[tuple[str, ...], Field(min_length=1)]], JSON_OBJECT
    ] = Field(
        default={},
        alias="MCP_STDIO_COMMANDS",
        description="JSON object: name → list of a command and its arguments, which connections "
        "may start by that name; unset: none.",
    )
    servers: Annotated[dict[str, McpServer], JSON_OBJECT] = Field(
        default={},
        alias="MCP_SERVERS",
        description='JSON object: name → {"url", "bearer_token_setting"?}: MCP servers that every '
        "caller may use; the token is in the setting of that name. Where `auth` is `per-user`, each "
        "principal authorizes it once, with `client_id`, `client_secret_setting` and `scopes` if given.",
    )
    max_tools: int = Field(
        60,
        alias="MCP_MAX_TOOLS",
        ge=0,
        le=1000,
        description="Maximum number of tools that a chat's model or an MCP client is told of; above it "
        "search_tools and call_tool take the place of those of connections.",
    )
    encryption_keys: EncryptionKeys = Field(
        default=(),
        alias="CONNECTIONS_ENCRYPTION_KEY",
        description="32 random bytes in base64, which encrypt stored credentials; several, "
        "comma-separated: the first encrypts, all decrypt; unset: made and kept locally, in Azure "
        "no connection with credentials.",
    )
    allow_private_networks: bool = Field(
        default=False,
        alias="CONNECTIONS_ALLOW_PRIVATE_NETWORKS",
        description="Whether connections, and downloads of what a provider names by URL, may reach "
        "private addresses and http.",
    )
