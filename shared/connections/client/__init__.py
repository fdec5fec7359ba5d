"""The client of MCP servers: sessions, transports, and answers that are checked and cleaned.

Only `transports` and `http` import the MCP SDK and its HTTP library; `sessions` loads them on first use.
"""
