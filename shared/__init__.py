"""What all functions of the app share: services, tools, agent, MCP server and HTTP routes."""

from shared.deferred_dataclasses import defer_methods

# Before the libraries make theirs.
defer_methods()

# isort: split
from shared.deferred_loading import defer_loading  # noqa: E402

__version__ = "0.1.0"

__build__ = "dev"
"""Commit of the package, which infra/package.py writes here."""

# Before anything else is imported.
defer_loading()
