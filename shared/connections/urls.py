"""URLs of servers. The query of one may hold a key, so it is kept with the secrets and never shown."""

_HIDDEN = "…"


def hide_query(url: str) -> tuple[str, str | None]:
    """Returns a URL as it may be shown and stored, and what was hidden in it; None for nothing."""
    shown, _, query = url.partition("?")
    return (f"{shown}?{_HIDDEN}", query) if query else (url, None)


def with_query(shown: str, query: str | None) -> str:
    """Returns the URL that `hide_query` was given."""
    return shown if query is None else shown.removesuffix(_HIDDEN) + query
