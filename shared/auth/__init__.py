"""Who is calling, and what they may do.

Threat model. Everybody on the internet can reach every route, because the triggers are anonymous for
the Functions host; only this package stands between them and the provider's bill. So:

- A key counts only in ``Authorization: Bearer``, ``X-Api-Key`` or ``x-functions-key``, never in a URL
  or a body, where it would end up in logs.
- Keys are compared by SHA-256 digest in constant time, all of them on every attempt, so that neither
  the length of a match nor the position of a key in the settings can be measured.
- Two different valid keys in one request are refused: who is calling must not hang on their order.
- The answer to no key and to a wrong key is the same, and nothing of what was sent is logged.
- In Azure keys of fewer than 20 characters do not count, whatever digest is configured: a digest does
  not show that its key can be guessed.
- Without any key configured nothing is open: in Azure every protected route answers 503, locally a
  key is generated at start.
- Who may name another user (``X-User-Id``) needs the scope ``act-as``; the shared plain-text key
  never has it.

The guard reads headers through a function that it is given, so HTTPS routes and the MCP endpoint use
the same one, and it knows neither.
"""

from shared.auth.guard import Authenticator, Guard, HeaderGetter
from shared.auth.keys import KeyAuthenticator, generate_key
from shared.auth.principal import Principal

__all__ = [
    "Authenticator",
    "Guard",
    "HeaderGetter",
    "KeyAuthenticator",
    "Principal",
    "generate_key",
]
