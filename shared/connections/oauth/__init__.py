"""OAuth 2.0 towards the servers of connections.

Threat model. The servers, their metadata and the authorization servers that these name are strangers:

- Every request goes through `shared.outbound`: https, public addresses, no redirects, short answers.
- The state that a browser brings back is sealed with our key, so that it tells strangers nothing and a
  made-up one costs no look into storage. It is random, ends after ten minutes, and is good once: whoever
  comes second, at whatever instance, is turned away.
- An authorization belongs to who started it, whosever browser comes back: the code is parked, sealed in
  the record, until the same principal sends the characters that this browser was shown. Five tries, ten
  minutes.
- The issuer of the metadata must be the one that was asked for, and the answer must name it where the
  server promised so (RFC 8414, RFC 9207). PKCE with S256 always; codes and tokens only ever go to the
  token endpoint, tokens only to the connection's own server.
- A refresh token may be good for one use: instances take turns by a lease in the record.
"""
