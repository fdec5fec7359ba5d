"""All settings, some of them in groups."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from shared import __build__
from shared.settings.entra import EntraSettings
from shared.settings.groups import (
    AgentSettings,
    AuthSettings,
    AzureOpenAISettings,
    CapabilitySettings,
    ConnectionsSettings,
    OpenAISettings,
    OtlpSettings,
    StorageSettings,
    UsageSettings,
)
from shared.settings.keys import ModelPatterns
from shared.settings.values import (
    COMMA_SEPARATED,
    JSON_OBJECT,
    LOWER_CASE,
    PROVIDER_NAME,
    Origin,
    Origins,
    ProviderEntry,
    malformed,
)


class Capability(StrEnum):
    """What a provider can be asked for; audio is speech."""

    CHAT = "chat"
    IMAGE = "image"
    AUDIO = "audio"
    TRANSCRIPTION = "transcription"
    VIDEO = "video"


class Settings(BaseModel):
    """All settings of the app.

    Attributes:
        in_azure: Whether the process runs in Azure and not on a developer's machine.
        own_url: Where callers reach the app, without a slash at the end: PUBLIC_BASE_URL, or the name
            of the host.
        own_urls: All URLs of the app that are known, `own_url` first.
        has_host_storage: Whether the Functions host has the storage that its timers need: always in
            Azure, elsewhere where ``AzureWebJobsStorage`` is set.
        provider_keys: The keys that PROVIDERS points to, by the provider's name.
        mcp_server_tokens: The tokens and client secrets of MCP_SERVERS, by the server's name.
        malformed: Names of the malformed settings; such a setting has its default here.
        problems: One sentence for each of them, which may name an entry: not for everybody.
    """

    model_config = ConfigDict(frozen=True)

    in_azure: bool = False
    own_url: str = "http://localhost:7071"
    own_urls: tuple[str, ...] = ("http://localhost:7071",)
    has_host_storage: bool = False
    mcp_server_tokens: dict[str, SecretStr] = {}
    provider_keys: dict[str, SecretStr] = {}
    malformed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    auth: AuthSettings
    entra: EntraSettings
    openai: OpenAISettings
    azure_openai: AzureOpenAISettings
    azure_client_id: str | None = Field(
        None,
        alias="AZURE_CLIENT_ID",
        description="Client id of the user-assigned identity; unset: the system-assigned one.",
    )
    gemini_api_key: SecretStr | None = Field(
        None,
        alias="GEMINI_API_KEY",
        description="Key of Gemini, at Google's OpenAI-compatible endpoint.",
    )
    providers: Annotated[dict[str, ProviderEntry], JSON_OBJECT] = Field(
        default={},
        alias="PROVIDERS",
        description='JSON object: name → {"base_url", "key_setting"?, "kind"?, "models"?, '
        '"fallbacks"?}: providers side by side, see api.md; the key is in the setting of that name.',
    )
    chat: CapabilitySettings = Field(description="chat")
    image: CapabilitySettings = Field(description="images")
    audio: CapabilitySettings = Field(description="speech")
    transcription: CapabilitySettings = Field(description="transcription")
    video: CapabilitySettings = Field(description="video")
    storage: StorageSettings
    agent: AgentSettings
    usage: UsageSettings
    allowed_models: Annotated[ModelPatterns | None, COMMA_SEPARATED] = Field(
        None,
        alias="ALLOWED_MODELS",
        description="Comma-separated names of the models that callers may use, `*` for any part of a "
        "name; the models of the other settings must match too; unset: any.",
    )
    public_base_url: Origin | None = Field(
        None,
        alias="PUBLIC_BASE_URL",
        description="Where callers reach the app, https://HOST: a custom domain or Front Door; "
        "links and callbacks begin with it; unset: the app's own host name.",
    )
    request_deadline_seconds: float = Field(
        200,
        alias="REQUEST_DEADLINE_SECONDS",
        gt=0,
        le=230,
        description="Time budget of one request in seconds; Azure's front end gives up after 230.",
    )
    cors_allowed_origins: Origins = Field(
        default=(),
        alias="CORS_ALLOWED_ORIGINS",
        description="Origins of browser applications, comma-separated, or `*` (without credentials).",
    )
    mcp_allowed_origins: Origins = Field(
        default=(),
        alias="MCP_ALLOWED_ORIGINS",
        description="Origins that a browser MCP client may send besides these and the app's own, "
        "comma-separated, or `*`.",
    )
    connections: ConnectionsSettings
    otlp: OtlpSettings
    log_level: Annotated[Literal["debug", "info", "warning", "error"], LOWER_CASE] = Field(
        "info",
        alias="LOG_LEVEL",
        description="`debug` (each attempt at a provider too), `info` (each request), `warning`, "
        "`error`.",
    )
    build_id: str = Field(
        __build__,
        alias="BUILD_ID",
        description="Overrides the build that `GET /health` shows; unset: the package's commit.",
    )

    @field_validator("providers")
    @classmethod
    def _have_names_and_known_fallbacks(
        cls, value: dict[str, ProviderEntry]
    ) -> dict[str, ProviderEntry]:
        for name, entry in value.items():
            if not PROVIDER_NAME.fullmatch(name):
                raise malformed(
                    f"has a name that is not 1 to 64 of A-Z a-z 0-9 . _ -: {name[:64]!r}"
                )
            for each in entry.fallbacks:
                if each == name or each not in value:
                    raise malformed(
                        f"has, in the entry {name}, no other entry for the fallback {each!r}"
                    )
        return value

    @property
    def capabilities(self) -> Mapping[Capability, CapabilitySettings]:
        """What serves each capability."""
        return {
            Capability.CHAT: self.chat,
            Capability.IMAGE: self.image,
            Capability.AUDIO: self.audio,
            Capability.TRANSCRIPTION: self.transcription,
            Capability.VIDEO: self.video,
        }

    @property
    def public_problems(self) -> tuple[str, ...]:
        """`problems` for callers without a key: they name settings only."""
        return tuple(
            f"The setting {name} is malformed. GET /health with a key and the app's log say why."
            for name in self.malformed
        )
