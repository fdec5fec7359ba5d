"""Sign-in with Entra ID: the authenticator, and what an operator may have misconfigured."""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from shared.auth.authority import Authority, DocumentUnavailable
from shared.auth.entra import EntraAuthenticator
from shared.auth.entra_config import EntraConfig
from shared.auth.signing_keys import SigningKeys, read_keys
from shared.settings import Settings

_GUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)


class EntraId:
    """Sign-in with one tenant.

    Args:
        config: Whose tokens are accepted.
        authority: Fetches what the tenant publishes.

    Attributes:
        config: Whose tokens are accepted.
        authenticator: Authenticates callers by token.
    """

    def __init__(self, config: EntraConfig, authority: Authority) -> None:
        self.config = config
        self._authority = authority
        keys = SigningKeys(partial(authority.fetch, config.keys_url))
        self.authenticator = EntraAuthenticator(config, keys)

    @classmethod
    def of(cls, settings: Settings) -> "EntraId | None":
        """Returns the sign-in that the settings turn on, None where it is off."""
        config = EntraConfig.of(settings)
        if config is None:
            return None
        # The settings allow http on the loopback interface only.
        return cls(config, Authority(allow_private=config.authority.startswith("http://")))

    async def find_problems(self) -> list[str]:
        """Returns a sentence for each misconfiguration that shows from here, and what to do about it."""
        problems = [*self._problems_of_settings(), *self.authenticator.misfits()]
        try:
            metadata = await self._authority.fetch(self.config.metadata_url)
            published = await self._authority.fetch(self.config.keys_url)
        except DocumentUnavailable as error:
            problems.append(
                f"The tenant cannot be asked: {error}. Check ENTRA_TENANT_ID, ENTRA_AUTHORITY and that "
                "the app may reach it."
            )
            return problems
        problems += self._problems_of_tenant(metadata, published)
        return problems

    async def aclose(self) -> None:
        """Ends what is under way, and closes connections."""
        await self.authenticator.aclose()
        await self._authority.aclose()

    def _problems_of_settings(self) -> Iterator[str]:
        config = self.config
        if not config.own_url.startswith("https://"):
            yield (
                f"Clients are told that this app is {config.own_url}, and Entra ID knows only resources "
                "that begin with https://. Set PUBLIC_BASE_URL, unless this is a developer's machine."
            )
        for audience in sorted(config.further_audiences):
            if audience.endswith("/"):
                yield (
                    f"ENTRA_AUDIENCES has {audience}, with a slash at its end, which identifier URIs "
                    "that clients ask for do not have. Remove it in the registration and here."
                )
        for client in sorted(config.allowed_clients):
            if not _GUID.fullmatch(client):
                yield f"ENTRA_ALLOWED_CLIENTS has {client}, which is no client id: those are GUIDs."

    def _problems_of_tenant(
        self, metadata: Mapping[str, Any], published: Mapping[str, Any]
    ) -> Iterator[str]:
        config = self.config
        if metadata.get("issuer") != config.issuer:
            yield (
                f"The tenant calls itself {str(metadata.get('issuer'))[:200]}, and tokens are accepted "
                f"of {config.issuer}. Set ENTRA_AUTHORITY to the cloud of the tenant."
            )
        if metadata.get("jwks_uri") != config.keys_url:
            yield (
                f"The tenant publishes its keys at {str(metadata.get('jwks_uri'))[:200]}, and they are "
                f"read from {config.keys_url}. Set ENTRA_AUTHORITY to the cloud of the tenant."
            )
        if not read_keys(published):
            yield f"{config.keys_url} has no signing key that can be used."
