"""Functions that an agent may call, without a line of Python: over HTTP, from MCP servers, and of the call itself."""
