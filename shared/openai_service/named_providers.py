"""Providers side by side, from the setting PROVIDERS: each serves the models that its patterns match."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from shared.openai_service.provider_config import (
    Provider,
    ProviderConfig,
    azure_token_scope,
    provider_of,
)
from shared.settings import ProviderEntry, Settings


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model at one of the providers.

    Attributes:
        config: How to reach the provider.
        model: The model as this provider names it.
    """

    config: ProviderConfig
    model: str


class NamedProviders:
    """The providers that PROVIDERS names.

    Args:
        settings: Where they come from.
    """

    def __init__(self, settings: Settings) -> None:
        self._entries: Mapping[str, ProviderEntry] = settings.providers
        self._configs = {
            name: _config(settings, name, entry) for name, entry in settings.providers.items()
        }

    @property
    def configs(self) -> Sequence[ProviderConfig]:
        """How to reach each of them, in the order of the setting."""
        return tuple(self._configs.values())

    def config(self, name: str) -> ProviderConfig | None:
        """Returns how to reach a provider; None where PROVIDERS does not name it."""
        return self._configs.get(name)

    def find(self, model: str) -> Sequence[NamedModel]:
        """Returns where a model is, its provider first and those to fall back to after it.

        Args:
            model: As ``NAME/MODEL``, or a name that a pattern matches; the first match counts.

        Returns:
            Nothing where the model is at none of them.
        """
        name, _, rest = model.partition("/")
        if rest and name in self._entries:
            return self._with_fallbacks(name, rest)
        for each in self._entries:
            if self.serves(self._configs[each], model):
                return self._with_fallbacks(each, model)
        return ()

    def serves(self, config: ProviderConfig, model: str) -> bool:
        """Returns whether a pattern of a provider matches a model's name."""
        entry = self._entries.get(config.name or "")
        return entry is not None and any(fnmatchcase(model, each) for each in entry.models)

    def _with_fallbacks(self, name: str, model: str) -> Sequence[NamedModel]:
        names = (name, *self._entries[name].fallbacks)
        return tuple(NamedModel(self._configs[each], model) for each in names)


def _config(settings: Settings, name: str, entry: ProviderEntry) -> ProviderConfig:
    key = settings.provider_keys.get(name)
    provider = Provider(entry.kind) if entry.kind else provider_of(entry.base_url)
    base_url, scope = entry.base_url, None
    if provider is Provider.AZURE:
        if not urlsplit(base_url).path.strip("/"):
            base_url = f"{base_url}/openai/v1"
        scope = None if key else azure_token_scope(settings, base_url)
    return ProviderConfig(
        provider,
        base_url,
        key,
        entry.key_setting or "PROVIDERS",
        token_scope=scope,
        name=name,
    )
