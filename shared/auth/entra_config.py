"""Whose tokens are accepted, and by which names clients ask for them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.settings import Limits, Settings

ALL_DEFAULT_SCOPES = "user_impersonation"
"""Delegated scope that stands for the default ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntraConfig:
    """Whose tokens are accepted.

    Attributes:
        tenant_id: The tenant.
        client_id: The client id of this app.
        authority: Origin of the cloud's sign-in, without a slash at the end.
        own_url: Where callers reach the app, without a slash at the end.
        further_audiences: What ``aud`` may be besides the client id and the URIs that follow from it and
            from ``own_url``.
        allowed_clients: Client ids that may call; empty: any of the tenant.
        accepts_v1: Whether tokens of version 1.0 are accepted too.
        role_limits: Limits by app role; the first one that a caller has counts.
    """

    tenant_id: str
    client_id: str
    authority: str
    own_url: str
    further_audiences: frozenset[str] = frozenset()
    allowed_clients: frozenset[str] = frozenset()
    accepts_v1: bool = False
    role_limits: Mapping[str, Limits] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> "EntraConfig | None":
        """Returns what the settings say, None where Entra ID is off."""
        entra = settings.entra
        if entra.tenant_id is None or entra.client_id is None:
            return None
        return cls(
            tenant_id=entra.tenant_id,
            client_id=entra.client_id,
            authority=entra.authority,
            own_url=settings.own_url,
            further_audiences=frozenset(entra.audiences),
            allowed_clients=frozenset(map(str.lower, entra.allowed_clients)),
            accepts_v1=entra.accept_v1_tokens,
            role_limits=settings.usage.role_limits,
        )

    @property
    def issuer(self) -> str:
        """The issuer of tokens of version 2.0, which is the authorization server too."""
        return f"{self.tenant_authority}/v2.0"

    @property
    def v1_issuer(self) -> str:
        """The issuer of tokens of version 1.0."""
        return f"https://sts.windows.net/{self.tenant_id}/"

    @property
    def tenant_authority(self) -> str:
        """Where the tenant's people sign in."""
        return f"{self.authority}/{self.tenant_id}"

    @property
    def keys_url(self) -> str:
        """Where the tenant's signing keys are published."""
        return f"{self.tenant_authority}/discovery/v2.0/keys"

    @property
    def metadata_url(self) -> str:
        """Where the tenant describes itself as an authorization server."""
        return f"{self.issuer}/.well-known/openid-configuration"

    @property
    def app_uri(self) -> str:
        """The identifier URI that does not depend on where the app is reached."""
        return f"api://{self.client_id}"

    @property
    def audiences(self) -> frozenset[str]:
        """What ``aud`` may be."""
        own = frozenset({self.client_id, self.app_uri, self.own_url, f"{self.own_url}/mcp"})
        return own | self.further_audiences
