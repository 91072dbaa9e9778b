"""The API server: OpenAI's, DeepSeek's and Anthropic's interfaces over one engine."""
