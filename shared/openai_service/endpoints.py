"""Which provider, URL, credentials and model serve each capability, worked out from the settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from pydantic import SecretStr

from shared.settings import Capability, Settings


class Provider(StrEnum):
    """Who answers, as far as it makes a difference in how to ask."""

    OPENAI = "openai"
    AZURE = "azure"
    GEMINI = "gemini"
    COMPATIBLE = "compatible"


OPENAI_BASE_URL = "https://api.openai.com/v1"
GEMINI_BASE_URL = "https://generativelanguage.googleapis.com/v1beta/openai"
"""Google's OpenAI-compatible endpoint: chat, images, videos and models; no speech, no transcription."""

_GEMINI_CAPABILITIES = frozenset({Capability.CHAT, Capability.IMAGE, Capability.VIDEO})

_DEFAULT_MODELS: Mapping[Capability, str] = {
    Capability.CHAT: "gpt-6-luna",
    Capability.IMAGE: "gpt-image-2.5-flare",
    Capability.AUDIO: "gpt-4o-mini-tts",
    Capability.TRANSCRIPTION: "gpt-transcribe",
}
_DEFAULT_GEMINI_MODELS: Mapping[Capability, str] = {Capability.CHAT: "gemini-flash-latest"}

_COGNITIVE_SERVICES_SCOPE = "https://cognitiveservices.azure.com/.default"
_FOUNDRY_SCOPE = "https://ai.azure.com/.default"


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a provider; endpoints with the same connection share one client.

    Attributes:
        provider: Who answers.
        base_url: Base URL without a slash at the end; in Azure's dated API the resource itself.
        api_key: The key; None in Azure means identity, elsewhere an endpoint that wants none.
        key_setting: The setting to look at when the provider refuses our credentials.
        api_version: Version of Azure's dated API; None for the v1 API and everybody else.
        token_scope: Scope of the token where an identity is used.
        organization: OpenAI organization id.
        project: OpenAI project id.
    """

    provider: Provider
    base_url: str
    api_key: SecretStr | None = field(repr=False)
    key_setting: str
    api_version: str | None = None
    token_scope: str | None = None
    organization: str | None = None
    project: str | None = None

    @property
    def host(self) -> str:
        """The host, with its port where the URL names one, and without credentials in it."""
        return urlsplit(self.base_url).netloc.rpartition("@")[2]

    @property
    def uses_identity(self) -> bool:
        """Whether the managed identity or developer login authenticates us."""
        return self.provider is Provider.AZURE and self.api_key is None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A connection with the model that serves one capability over it.

    Attributes:
        connection: How to reach the provider.
        model: The model; None in Azure where only the deployment is known.
        deployment: The deployment in Azure; None elsewhere.
    """

    connection: Connection
    model: str | None
    deployment: str | None = None

    @property
    def target(self) -> str:
        """What the API's ``model`` parameter takes: in Azure the deployment, elsewhere the model."""
        return self.deployment or self.model or ""


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a capability has no endpoint.

    Attributes:
        detail: One sentence that names the settings.
    """

    detail: str


def resolve_endpoints(settings: Settings) -> dict[Capability, Endpoint | Missing]:
    """Works out the endpoint of every capability.

    A base URL for the capability itself comes first, then Azure OpenAI, then OpenAI or another
    compatible endpoint, then Gemini.
    """
    return {capability: _resolve(settings, capability) for capability in Capability}


def _resolve(settings: Settings, capability: Capability) -> Endpoint | Missing:
    connection = _own_connection(settings, capability) or _general_connection(settings)
    upper = capability.upper()
    if connection is None:
        return Missing(
            f"No provider is configured for {capability}. Set OPENAI_API_KEY, AZURE_OPENAI_ENDPOINT, "
            f"GEMINI_API_KEY or OPENAI_{upper}_BASE_URL."
        )
    if connection.provider is Provider.GEMINI and capability not in _GEMINI_CAPABILITIES:
        return Missing(
            f"Gemini's compatible endpoint has no {capability}. "
            f"Set OPENAI_{upper}_BASE_URL and OPENAI_{upper}_API_KEY to an endpoint that has."
        )
    defaults = _DEFAULT_GEMINI_MODELS if connection.provider is Provider.GEMINI else _DEFAULT_MODELS
    own = settings.capabilities[capability]
    model = own.model or defaults.get(capability)
    endpoint = Endpoint(connection, model)
    if connection.provider is Provider.AZURE:
        # The default model says nothing of what an operator deployed under another name.
        known = own.model if own.deployment else model
        endpoint = Endpoint(connection, known, own.deployment or model)
    return endpoint if endpoint.target else Missing(_no_model(connection.provider, capability))


def _no_model(provider: Provider, capability: Capability) -> str:
    upper = capability.upper()
    setting = f"OPENAI_{upper}_MODEL"
    if provider is Provider.AZURE:
        setting = f"AZURE_OPENAI_{upper}_DEPLOYMENT or {setting}"
    if capability is Capability.VIDEO:
        return (
            f"No model is configured for video. OpenAI closed its own video API; set {setting}, and "
            "OPENAI_VIDEO_BASE_URL and OPENAI_VIDEO_API_KEY where the endpoint is another one."
        )
    return f"No model is configured for {capability}. Set {setting}."


def _own_connection(settings: Settings, capability: Capability) -> Connection | None:
    own = settings.capabilities[capability]
    if own.base_url is None and own.api_key is None:
        return None
    base_url = own.base_url or settings.openai.base_url or OPENAI_BASE_URL
    if own.api_key is None:
        return _compatible(settings, base_url, settings.openai.api_key, "OPENAI_API_KEY")
    return _compatible(settings, base_url, own.api_key, f"OPENAI_{capability.upper()}_API_KEY")


def _general_connection(settings: Settings) -> Connection | None:
    if settings.azure_openai.endpoint:
        return _azure(settings, settings.azure_openai.endpoint)
    if settings.openai.api_key or settings.openai.base_url:
        base_url = settings.openai.base_url or OPENAI_BASE_URL
        return _compatible(settings, base_url, settings.openai.api_key, "OPENAI_API_KEY")
    if settings.gemini_api_key:
        return Connection(
            Provider.GEMINI, GEMINI_BASE_URL, settings.gemini_api_key, "GEMINI_API_KEY"
        )
    return None


def _compatible(
    settings: Settings, base_url: str, api_key: SecretStr | None, key_setting: str
) -> Connection:
    host = urlsplit(base_url).hostname or ""
    if host == "generativelanguage.googleapis.com":
        return Connection(Provider.GEMINI, base_url, api_key, key_setting)
    is_openai = host == "api.openai.com" or host.endswith(".api.openai.com")
    is_general = is_openai or base_url == settings.openai.base_url
    return Connection(
        Provider.OPENAI if is_openai else Provider.COMPATIBLE,
        base_url,
        api_key,
        key_setting,
        organization=settings.openai.organization if is_general else None,
        project=settings.openai.project if is_general else None,
    )


def _azure(settings: Settings, resource: str) -> Connection:
    host = urlsplit(resource).hostname or ""
    is_foundry = host.endswith(".services.ai.azure.com")
    scope = settings.azure_openai.token_scope or (
        _FOUNDRY_SCOPE if is_foundry else _COGNITIVE_SERVICES_SCOPE
    )
    dated = settings.azure_openai.api_version
    return Connection(
        Provider.AZURE,
        resource if dated else f"{resource}/openai/v1",
        settings.azure_openai.api_key,
        "AZURE_OPENAI_API_KEY",
        api_version=dated,
        token_scope=None if settings.azure_openai.api_key else scope,
    )
