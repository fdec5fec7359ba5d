"""HTTP clients for addresses that callers or third parties name.

Threat model. A caller names an MCP server, its metadata names token endpoints, a provider names where a
video lies: each of them may name a machine that only this app can reach, and get us to call it. So:

- The address that is dialled is checked, not the name. The network backend under the client resolves
  the name once, checks every answer, and connects to what it has checked. What the resolver makes of
  ``127.1`` or ``0x7f000001``, or answers the next time it is asked, does not matter.
- One forbidden answer forbids the name: no honest public host has a private address beside its public
  one.
- Loopback, private and carrier networks need ``allow_private``. Link-local addresses, the metadata
  services of clouds and everything that is no unicast address are refused even then.
- Only https, without user names and passwords in the URL; http needs ``allow_private``.
- Proxies and ``.netrc`` of the environment are ignored, and redirects are not followed unless `download`
  does it, one checked hop at a time, leaving credentials behind at the first other origin.
- Answers are limited by what comes out of them: a client with a limit takes none that is compressed,
  headers are limited in number and length, and no charset is looked up for anybody.
- Refusing happens before a connection is opened. The sentence names the host that was asked for, and is
  the same for loopback, private and unknown names: nobody learns by it which names our network knows.
  The reason is in the log.

The connections themselves are those of `streams`. So are those of `pool` to the providers, which the
operator names, so that nothing is checked there.

Importing this package is cheap: the HTTP library is imported by the first `open_client`.
"""

from shared.errors import AnswerTooLarge
from shared.outbound.client import EVENT_STREAM, check_url, open_client
from shared.outbound.download import Download, DownloadFailed, download
from shared.outbound.downloads import Downloads

__all__ = [
    "EVENT_STREAM",
    "AnswerTooLarge",
    "Download",
    "DownloadFailed",
    "Downloads",
    "check_url",
    "download",
    "open_client",
]
