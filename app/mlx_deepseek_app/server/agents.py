"""How agents are told to ask this server: their environment, their arguments, as data."""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

PROVIDER = "mlx-deepseek"
KEY_VARIABLE = "MLX_DEEPSEEK_API_KEY"
NO_KEY = "none"  # agents want one even where the server asks for none


@dataclass(frozen=True)
class Target:
    """A server at `url`, e.g. http://127.0.0.1:8080, the model to ask, and the server's key."""

    url: str
    model: str
    key: str = NO_KEY


@dataclass(frozen=True)
class Agent:
    """A program, what its environment gets, and its first arguments."""

    program: str
    environment: Callable[[Target], Mapping[str, str]]
    arguments: Callable[[Target], Sequence[str]]
    install: str

    def command(self, target: Target, more: Sequence[str] = ()) -> list[str]:
        """The words of the command line."""
        return [self.program, *self.arguments(target), *more]

    def shown(self, target: Target) -> str:
        """Lines for a shell."""
        lines = [
            f"export {name}={shlex.quote(value)}"
            for name, value in self.environment(target).items()
        ]
        return "\n".join([*lines, shlex.join(self.command(target))])


def _claude(target: Target) -> Mapping[str, str]:
    models = ("MODEL", "DEFAULT_OPUS_MODEL", "DEFAULT_SONNET_MODEL", "DEFAULT_HAIKU_MODEL")
    return {
        "ANTHROPIC_BASE_URL": target.url,
        "ANTHROPIC_AUTH_TOKEN": target.key,
        **{f"ANTHROPIC_{name}": target.model for name in models},
        "API_TIMEOUT_MS": "3000000",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        # what changes in every prompt, and would make every cache useless
        "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
    }


def _codex(target: Target) -> Sequence[str]:
    settings = {
        "model_provider": PROVIDER,
        f"model_providers.{PROVIDER}.name": PROVIDER,
        f"model_providers.{PROVIDER}.base_url": f"{target.url}/v1",
        f"model_providers.{PROVIDER}.env_key": KEY_VARIABLE,
        f"model_providers.{PROVIDER}.wire_api": "responses",
    }
    words = [f"{name}={json.dumps(value)}" for name, value in settings.items()]
    return ["-m", target.model, *(part for word in words for part in ("-c", word))]


def _opencode(target: Target) -> Mapping[str, str]:
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": PROVIDER,
        "options": {"baseURL": f"{target.url}/v1", "apiKey": target.key},
        "models": {target.model: {"name": target.model}},
    }
    return {"OPENCODE_CONFIG_CONTENT": json.dumps({"provider": {PROVIDER: provider}})}


AGENTS: Mapping[str, Agent] = {
    "claude": Agent("claude", _claude, lambda _: [], "npm install -g @anthropic-ai/claude-code"),
    "codex": Agent(
        "codex", lambda target: {KEY_VARIABLE: target.key}, _codex, "npm install -g @openai/codex"
    ),
    "aider": Agent(
        "aider",
        lambda target: {"OPENAI_API_BASE": f"{target.url}/v1", "OPENAI_API_KEY": target.key},
        lambda target: ["--model", f"openai/{target.model}"],
        "pip install aider-chat",
    ),
    "opencode": Agent(
        "opencode",
        _opencode,
        lambda target: ["--model", f"{PROVIDER}/{target.model}"],
        "npm install -g opencode-ai",
    ),
}
