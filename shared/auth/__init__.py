"""Who is calling, and what they may do.

Threat model. Everybody on the internet can reach every route, because the triggers are anonymous for
the Functions host; only this package stands between them and the provider's bill. So:

- A key counts only in ``Authorization: Bearer``, ``X-Api-Key`` or ``x-functions-key``, never in a URL
  or a body, where it would end up in logs.
- A key is looked for by its SHA-256 digest at a place that depends on a secret of the process, and the
  digest found there is compared in constant time: neither tells anything of the keys that there are.
- Two different valid keys in one request are refused: who is calling must not hang on their order.
- The answer to no key and to a wrong key is the same, and nothing of what was sent is logged.
- In Azure keys of fewer than 20 characters do not count, whatever digest is configured: a digest does
  not show that its key can be guessed.
- A malformed or expired entry lets nobody in under its name, and stops nobody else.
- Keys of the settings never wait for storage. Whether a key is stored is answered from what was read of
  them last: a wrong key makes no request to storage of its own.
- Without any key configured nothing is open: in Azure every protected route answers 503, locally a
  key is generated at start.
- An access token counts in ``Authorization: Bearer`` only. It has to be signed by a key that the tenant
  publishes, with the one algorithm that is accepted, for this app, by this tenant; the token itself has
  no say in how it is checked. Its principal is the object id, never a name or an address.
- Without a valid signature nothing is kept of a token, and nobody makes the app fetch keys more often
  than every five minutes by making up their ids.
- ``act-as`` and ``admin`` come with app roles, which an administrator assigns, never with scopes, to
  which users consent. An id token is no access token, whatever roles are in it.
- Who may name another user (``X-User-Id``) needs the scope ``act-as``, and lends neither that scope nor
  ``admin``; the shared plain-text key has neither.

The guard reads headers through a function that it is given, so HTTPS routes and the MCP endpoint use
the same one, and it knows neither.
"""

from shared.auth.entra import looks_like_token
from shared.auth.entra_config import ALL_DEFAULT_SCOPES, EntraConfig
from shared.auth.entra_id import EntraId
from shared.auth.guard import Authenticator, Guard, HeaderGetter, principal_name
from shared.auth.keys import (
    SHARED_KEY_PRINCIPAL,
    Key,
    KeyAuthenticator,
    Keyring,
    KeySource,
    principal_of,
)
from shared.auth.principal import Principal

__all__ = [
    "ALL_DEFAULT_SCOPES",
    "SHARED_KEY_PRINCIPAL",
    "Authenticator",
    "EntraConfig",
    "EntraId",
    "Guard",
    "HeaderGetter",
    "Key",
    "KeyAuthenticator",
    "KeySource",
    "Keyring",
    "Principal",
    "looks_like_token",
    "principal_name",
    "principal_of",
]
