"""Which provider, URL, credentials and model serve each capability, resolved from the settings."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import SecretStr

from shared.errors import InvalidRequest, ModelNotAllowed, NotConfigured
from shared.model_access import (
    check_field_names,
    check_model,
    check_other_models,
    is_limited,
)
from shared.openai_service.named_providers import NamedModel, NamedProviders
from shared.openai_service.provider_config import (
    Provider,
    ProviderConfig,
    azure_token_scope,
    provider_of,
)
from shared.settings import Capability, ModelPatterns, Settings

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


_DEPLOYMENT = re.compile(r"(?!\.+$)[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The provider and the model that serve one capability.

    Attributes:
        config: How to reach the provider.
        model: The model; None in Azure where only the deployment is known.
        deployment: The deployment in Azure; None elsewhere.
        allowed_models: Patterns of the models that callers may use; None for any.
        has_plain_name: Whether the model's name alone, without ``PROVIDER/``, leads here; then patterns
            without it apply too.
    """

    config: ProviderConfig
    model: str | None
    deployment: str | None = None
    allowed_models: ModelPatterns | None = None
    has_plain_name: bool = True

    @property
    def target(self) -> str:
        """What the API's ``model`` parameter takes: in Azure the deployment, elsewhere the model."""
        return self.deployment or self.model or ""

    def choose_model(self, name: str | None) -> str:
        """Returns the model to ask the provider for.

        Args:
            name: The one that the caller names; None for the configured one.

        Raises:
            InvalidRequest: It cannot be the name of a deployment, where that stands in the URL.
            ModelNotAllowed: The caller may not use it.
        """
        chosen = name or self.target
        if self.config.api_version and not _DEPLOYMENT.fullmatch(chosen):
            # It becomes a part of the URL's path.
            raise InvalidRequest.for_field(
                "model", "Give the name of a deployment: 1 to 64 of A-Z a-z 0-9 . _ -"
            )
        known_as = [self.model] if chosen == self.target and self.model else []
        lists = () if self.allowed_models is None else (self.allowed_models,)
        if self.config.name is None:
            check_model(chosen, known_as, lists)
        else:
            full = f"{self.config.name}/{chosen}"
            known_as.append(full)
            check_model(*((chosen, known_as) if self.has_plain_name else (full, [])), lists=lists)
        return chosen

    @property
    def is_allowed(self) -> bool:
        """Whether the caller may use it."""
        try:
            self.choose_model(None)
        except ModelNotAllowed:
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Missing:
    """Why a capability has no endpoint.

    Attributes:
        detail: One sentence that names the settings.
    """

    detail: str


class Endpoints:
    """The endpoints of all capabilities.

    The provider of PROVIDERS that has the capability's model comes first, then a base URL for the
    capability itself, then Azure OpenAI, then OpenAI or another compatible endpoint, then Gemini.

    Args:
        settings: Where they come from.
    """

    def __init__(self, settings: Settings) -> None:
        self.named = NamedProviders(settings)
        self._allowed_models = settings.allowed_models
        self._endpoints = {
            capability: _resolve(settings, capability, self.named) for capability in Capability
        }

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

    @property
    def limits_models(self) -> bool:
        """Whether the caller may not use every model."""
        return self._allowed_models is not None or is_limited()

    def may_use(self, config: ProviderConfig, model: str) -> bool:
        """Returns whether the caller may use a model of a provider."""
        return self._named_endpoint(NamedModel(config, model)).is_allowed

    def check_other_models(self, fields: Mapping[str, Any]) -> None:
        """Checks that a body names no model beside its own that the caller may not use.

        Args:
            fields: The body, or a part of it.

        Raises:
            InvalidRequest: A field chooses models in a way that cannot be checked.
            ModelNotAllowed: A field names a model that the caller may not use.
        """
        check_other_models(fields, self._lists)

    def check_field_names(self, names: Iterable[str]) -> None:
        """Checks that the fields of a form choose no models beside ``model``, where not all may be used.

        Raises:
            InvalidRequest: One does.
        """
        if self.limits_models:
            check_field_names(names)

    @property
    def _lists(self) -> Sequence[ModelPatterns]:
        return () if self._allowed_models is None else (self._allowed_models,)

    def route(self, capability: Capability, model: str | None) -> Sequence[Endpoint]:
        """Returns where to call a model, and where to call it if the first one fails.

        A model of PROVIDERS is called there; any other one at the capability's endpoint. Whether the
        caller may use the first one is checked when its model is chosen; of the others, those that
        the caller may not use are left out.

        Args:
            capability: What it is asked for.
            model: As the caller names it; None for the configured one.

        Raises:
            NotConfigured: The capability has no endpoint.
        """
        if model is not None and (found := self.named.find(model)):
            first, *others = map(self._named_endpoint, found)
            return (first, *(each for each in others if each.is_allowed))
        endpoint = self.get(capability)
        if model is None:
            return (endpoint, *self._fallbacks(endpoint))
        if endpoint.deployment is None or model == endpoint.model:
            return (replace(endpoint, model=model),)
        return (replace(endpoint, model=None, deployment=model),)

    def _fallbacks(self, endpoint: Endpoint) -> Sequence[Endpoint]:
        if endpoint.config.name is None or endpoint.model is None:
            return ()
        found = self.named.find(f"{endpoint.config.name}/{endpoint.model}")
        others = map(self._named_endpoint, found[1:])
        return tuple(each for each in others if each.is_allowed)

    def _named_endpoint(self, found: NamedModel) -> Endpoint:
        config, model = found.config, found.model
        has_plain_name = config.name is None or self._leads_to(model, config)
        return Endpoint(config, model, None, self._allowed_models, has_plain_name)

    def _leads_to(self, model: str, config: ProviderConfig) -> bool:
        """Returns whether a model's name alone leads to a provider, at the latest as a fallback."""
        if found := self.named.find(model):
            return config in [each.config for each in found]
        return any(
            endpoint.config == config and model == endpoint.model
            for endpoint in map(self.find, Capability)
            if endpoint is not None
        )

    def by_provider(self) -> Mapping[ProviderConfig, Sequence[Capability]]:
        """Returns the providers that are configured, each with the capabilities that it serves."""
        found: dict[ProviderConfig, list[Capability]] = {}
        for capability in Capability:
            if endpoint := self.find(capability):
                found.setdefault(endpoint.config, []).append(capability)
        return found


def _resolve(
    settings: Settings, capability: Capability, named: NamedProviders
) -> Endpoint | _Missing:
    allowed = settings.allowed_models
    if found := named.find(settings.capabilities[capability].model or ""):
        return Endpoint(found[0].config, found[0].model, None, allowed)
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
    endpoint = Endpoint(config, model, allowed_models=allowed)
    if config.provider is Provider.AZURE:
        # The default model says nothing of what an operator deployed under another name.
        known = own.model if own.deployment else model
        endpoint = Endpoint(config, known, own.deployment or model, allowed)
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
