"""Which endpoints are asked for a model, and which models the caller may use there."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from shared.errors import NotConfigured
from shared.model_access import check_field_names, check_other_models, is_limited
from shared.openai_service.configured_endpoints import MissingEndpoint, configured_endpoint
from shared.openai_service.endpoint import Endpoint
from shared.openai_service.named_providers import NamedModel, NamedProviders
from shared.openai_service.provider_config import ProviderConfig
from shared.settings import Capability, ModelPatterns, Settings


class Endpoints:
    """The endpoints of all capabilities.

    Args:
        settings: Where they come from.
    """

    def __init__(self, settings: Settings) -> None:
        self.named = NamedProviders(settings)
        self._allowed_models = settings.allowed_models
        self._endpoints = {
            capability: configured_endpoint(settings, capability, self.named)
            for capability in Capability
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
        if isinstance(endpoint, MissingEndpoint):
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
