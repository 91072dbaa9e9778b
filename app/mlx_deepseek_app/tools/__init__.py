"""Tools that models may call: two that come with the app, and those of MCP servers."""
