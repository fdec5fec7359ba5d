"""The endpoint that the settings give to each capability."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from shared.openai_service.endpoint import Endpoint
from shared.openai_service.named_providers import NamedProviders
from shared.openai_service.provider_config import (
    Provider,
    ProviderConfig,
    azure_token_scope,
    provider_of,
)
from shared.settings import Capability, Settings

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


@dataclass(frozen=True, slots=True)
class MissingEndpoint:
    """Why a capability has no endpoint.

    Attributes:
        detail: One sentence that names the settings.
    """

    detail: str


def configured_endpoint(
    settings: Settings, capability: Capability, named: NamedProviders
) -> Endpoint | MissingEndpoint:
    """Returns the endpoint of a capability, or why it has none.

    The provider of PROVIDERS that has the capability's model comes first, then a base URL for the
    capability itself, then Azure OpenAI, then OpenAI or another compatible endpoint, then Gemini.

    Args:
        settings: Where it comes from.
        capability: What the provider is asked for.
        named: The providers of PROVIDERS.
    """
    allowed = settings.allowed_models
    if found := named.find(settings.capabilities[capability].model or ""):
        return Endpoint(found[0].config, found[0].model, None, allowed)
    config = _own_config(settings, capability) or _general_config(settings)
    upper = capability.upper()
    if config is None:
        return MissingEndpoint(
            f"No provider is configured for {capability}. Set OPENAI_API_KEY, AZURE_OPENAI_ENDPOINT, "
            f"GEMINI_API_KEY or OPENAI_{upper}_BASE_URL."
        )
    if config.provider is Provider.GEMINI and capability not in _GEMINI_CAPABILITIES:
        return MissingEndpoint(
            f"Gemini's compatible endpoint has no {capability}. "
            f"Set OPENAI_{upper}_BASE_URL and OPENAI_{upper}_API_KEY to an endpoint that has."
        )
    defaults = _DEFAULT_GEMINI_MODELS if config.provider is Provider.GEMINI else _DEFAULT_MODELS
    own = settings.capabilities[capability]
    model = own.model or defaults.get(capability)
    endpoint = Endpoint(config, model, allowed_models=allowed)
    if config.provider is Provider.AZURE:
        # The default model says nothing of what an operator deployed under another name.
        known = own.model if own.deployment else model
        endpoint = Endpoint(config, known, own.deployment or model, allowed)
    return endpoint if endpoint.target else MissingEndpoint(_no_model(config.provider, capability))


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
    provider = provider_of(base_url)
    if provider is Provider.AZURE:
        # Azure has settings of its own; by these its endpoints are called as any compatible one.
        provider = Provider.COMPATIBLE
    if provider is Provider.GEMINI:
        return ProviderConfig(provider, base_url, api_key, key_setting)
    is_general = provider is Provider.OPENAI or base_url == settings.openai.base_url
    return ProviderConfig(
        provider,
        base_url,
        api_key,
        key_setting,
        organization=settings.openai.organization if is_general else None,
        project=settings.openai.project if is_general else None,
    )


def _azure(settings: Settings, resource: str) -> ProviderConfig:
    dated = settings.azure_openai.api_version
    return ProviderConfig(
        Provider.AZURE,
        resource if dated else f"{resource}/openai/v1",
        settings.azure_openai.api_key,
        "AZURE_OPENAI_API_KEY",
        api_version=dated,
        token_scope=(
            None if settings.azure_openai.api_key else azure_token_scope(settings, resource)
        ),
    )
