"""What all functions of the app share: services, tools, agent, MCP server and HTTP routes."""

from shared.deferred_loading import defer_loading

__version__ = "0.1.0"

__build__ = "dev"
"""Commit of the package, which infra/package.py writes here."""

# Before anything else is imported.
defer_loading()
