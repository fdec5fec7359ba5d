"""Which provider, URL, credentials and model serve each capability, resolved from the settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from pydantic import SecretStr

from shared.errors import NotConfigured
from shared.settings import Capability, Settings


class Provider(StrEnum):
    """Providers that differ in how they are called."""

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
class ProviderConfig:
    """How to reach a provider; endpoints with the same one share a client.

    Attributes:
        provider: The provider.
        base_url: Base URL without a slash at the end; in Azure's dated API the resource itself.
        api_key: The key; None means in Azure the identity, elsewhere an endpoint that needs none.
        key_setting: The setting to check when the provider refuses the credentials.
        api_version: Version of Azure's dated API; None for the v1 API and other providers.
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
        """Whether the managed identity or the developer's login authenticates the app."""
        return self.provider is Provider.AZURE and self.api_key is None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The provider and the model that serve one capability.

    Attributes:
        config: How to reach the provider.
        model: The model; None in Azure where only the deployment is known.
        deployment: The deployment in Azure; None elsewhere.
    """

    config: ProviderConfig
    model: str | None
    deployment: str | None = None

    @property
    def target(self) -> str:
        """What the API's ``model`` parameter takes: in Azure the deployment, elsewhere the model."""
        return self.deployment or self.model or ""


@dataclass(frozen=True, slots=True)
class _Missing:
    """Why a capability has no endpoint.

    Attributes:
        detail: One sentence that names the settings.
    """

    detail: str


class Endpoints:
    """The endpoints of all capabilities.

    A base URL for the capability itself comes first, then Azure OpenAI, then OpenAI or another
    compatible endpoint, then Gemini.

    Args:
        settings: Where they come from.
    """

    def __init__(self, settings: Settings) -> None:
        self._endpoints = {capability: _resolve(settings, capability) for capability in Capability}

    def find(self, capability: Capability) -> Endpoint | None:
        """Returns the capability's endpoint, None where it has none."""
        endpoint = self._endpoints[capability]
        return endpoint if isinstance(endpoint, Endpoint) else None

    def get(self, capability: Capability) -> Endpoint:
        """Returns the capability's endpoint.

        Raises:
            NotConfigured: It has none; the sentence names the settings.
        """
        endpoint = self._endpoints[capability]
        if isinstance(endpoint, _Missing):
            raise NotConfigured(endpoint.detail)
        return endpoint

    def by_provider(self) -> Mapping[ProviderConfig, Sequence[Capability]]:
        """Returns the providers that are configured, each with the capabilities that it serves."""
        found: dict[ProviderConfig, list[Capability]] = {}
        for capability in Capability:
            if endpoint := self.find(capability):
                found.setdefault(endpoint.config, []).append(capability)
        return found


def _resolve(settings: Settings, capability: Capability) -> Endpoint | _Missing:
    config = _own_config(settings, capability) or _general_config(settings)
    upper = capability.upper()
    if config is None:
        return _Missing(
            f"No provider is configured for {capability}. Set OPENAI_API_KEY, AZURE_OPENAI_ENDPOINT, "
            f"GEMINI_API_KEY or OPENAI_{upper}_BASE_URL."
        )
    if config.provider is Provider.GEMINI and capability not in _GEMINI_CAPABILITIES:
        return _Missing(
            f"Gemini's compatible endpoint has no {capability}. "
            f"Set OPENAI_{upper}_BASE_URL and OPENAI_{upper}_API_KEY to an endpoint that has."
        )
    defaults = _DEFAULT_GEMINI_MODELS if config.provider is Provider.GEMINI else _DEFAULT_MODELS
    own = settings.capabilities[capability]
    model = own.model or defaults.get(capability)
    endpoint = Endpoint(config, model)
    if config.provider is Provider.AZURE:
        # The default model says nothing of what an operator deployed under another name.
        known = own.model if own.deployment else model
        endpoint = Endpoint(config, known, own.deployment or model)
    return endpoint if endpoint.target else _Missing(_no_model(config.provider, capability))


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


def _own_config(settings: Settings, capability: Capability) -> ProviderConfig | None:
    own = settings.capabilities[capability]
    if own.base_url is None and own.api_key is None:
        return None
    base_url = own.base_url or settings.openai.base_url or OPENAI_BASE_URL
    if own.api_key is None:
        return _compatible(settings, base_url, settings.openai.api_key, "OPENAI_API_KEY")
    return _compatible(settings, base_url, own.api_key, f"OPENAI_{capability.upper()}_API_KEY")


def _general_config(settings: Settings) -> ProviderConfig | None:
    if settings.azure_openai.endpoint:
        return _azure(settings, settings.azure_openai.endpoint)
    if settings.openai.api_key or settings.openai.base_url:
        base_url = settings.openai.base_url or OPENAI_BASE_URL
        return _compatible(settings, base_url, settings.openai.api_key, "OPENAI_API_KEY")
    if settings.gemini_api_key:
        return ProviderConfig(
            Provider.GEMINI, GEMINI_BASE_URL, settings.gemini_api_key, "GEMINI_API_KEY"
        )
    return None


def _compatible(
    settings: Settings, base_url: str, api_key: SecretStr | None, key_setting: str
) -> ProviderConfig:
    host = urlsplit(base_url).hostname or ""
    if host == "generativelanguage.googleapis.com":
        return ProviderConfig(Provider.GEMINI, base_url, api_key, key_setting)
    is_openai = host == "api.openai.com" or host.endswith(".api.openai.com")
    is_general = is_openai or base_url == settings.openai.base_url
    return ProviderConfig(
        Provider.OPENAI if is_openai else Provider.COMPATIBLE,
        base_url,
        api_key,
        key_setting,
        organization=settings.openai.organization if is_general else None,
        project=settings.openai.project if is_general else None,
    )


def _azure(settings: Settings, resource: str) -> ProviderConfig:
    host = urlsplit(resource).hostname or ""
    is_foundry = host.endswith(".services.ai.azure.com")
    scope = settings.azure_openai.token_scope or (
        _FOUNDRY_SCOPE if is_foundry else _COGNITIVE_SERVICES_SCOPE
    )
    dated = settings.azure_openai.api_version
    return ProviderConfig(
        Provider.AZURE,
        resource if dated else f"{resource}/openai/v1",
        settings.azure_openai.api_key,
        "AZURE_OPENAI_API_KEY",
        api_version=dated,
        token_scope=None if settings.azure_openai.api_key else scope,
    )
