"""How a provider is reached: its kind, URL and credentials."""

from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from pydantic import SecretStr

from shared.settings import Settings

CONNECT_TIMEOUT_SECONDS = 10.0
"""How long connecting to a provider may take."""

_COGNITIVE_SERVICES_SCOPE = "https://cognitiveservices.azure.com/.default"
_FOUNDRY_SCOPE = "https://ai.azure.com/.default"


class Provider(StrEnum):
    """Providers that differ in how they are called."""

    OPENAI = "openai"
    AZURE = "azure"
    GEMINI = "gemini"
    COMPATIBLE = "compatible"


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
        name: The provider's name in PROVIDERS; None for the one of the other settings.
    """

    provider: Provider
    base_url: str
    api_key: SecretStr | None = field(repr=False)
    key_setting: str
    api_version: str | None = None
    token_scope: str | None = None
    organization: str | None = None
    project: str | None = None
    name: str | None = None

    @property
    def host(self) -> str:
        """The host, with its port where the URL names one, and without credentials in it."""
        return urlsplit(self.base_url).netloc.rpartition("@")[2]

    @property
    def uses_identity(self) -> bool:
        """Whether the managed identity or the developer's login authenticates the app."""
        return self.provider is Provider.AZURE and self.api_key is None

    @property
    def label(self) -> str:
        """What callers and logs call the provider: its name, else its kind."""
        return self.name or self.provider


def provider_of(base_url: str) -> Provider:
    """Returns the kind of provider that a URL tells of."""
    host = urlsplit(base_url).hostname or ""
    if host == "generativelanguage.googleapis.com":
        return Provider.GEMINI
    if host.endswith((".openai.azure.com", ".services.ai.azure.com")):
        return Provider.AZURE
    is_openai = host == "api.openai.com" or host.endswith(".api.openai.com")
    return Provider.OPENAI if is_openai else Provider.COMPATIBLE


def azure_token_scope(settings: Settings, resource: str) -> str:
    """Returns the scope of the identity's token for a resource of Azure OpenAI."""
    host = urlsplit(resource).hostname or ""
    is_foundry = host.endswith(".services.ai.azure.com")
    return settings.azure_openai.token_scope or (
        _FOUNDRY_SCOPE if is_foundry else _COGNITIVE_SERVICES_SCOPE
    )
