"""`mlx-deepseek launch`: start an agent that asks this machine's server."""

import argparse
import json
import os
import sys
from typing import Any

from mlx_deepseek.errors import DeepSeekError
from mlx_deepseek_app.server.agents import AGENTS, KEY_VARIABLE, NO_KEY, Target

DEFAULT_URL = "http://127.0.0.1:8080"
TIMEOUT_S = 30


def register(subparsers: Any) -> None:
    """Add the `launch` sub-command."""
    parser = subparsers.add_parser(
        "launch",
        help="start an agent on the server",
        description="Start an agent with the settings by which it asks a running "
        "`mlx-deepseek serve`. What follows -- is the agent's.",
    )
    add_options(parser)
    parser.add_argument("agent", choices=AGENTS, help="which one")
    rest = "the same options, and after -- what is for the agent"
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help=rest)
    parser.set_defaults(func=run)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What may stand before the agent's name, and after it."""
    parser.add_argument("--url", default=DEFAULT_URL, help="the server's address (%(default)s)")
    parser.add_argument("--model", metavar="NAME", help="of GET /v1/models (the first)")
    parser.add_argument("--api-key", default=os.environ.get(KEY_VARIABLE), help="the server's")
    parser.add_argument("--print", action="store_true", help="show the settings, start nothing")


def run(args: argparse.Namespace) -> int:
    """Start the agent and wait for its end; its exit status is ours."""
    import shutil  # late, as all that help does not need
    import subprocess

    words = args.rest
    own = words[: words.index("--")] if "--" in words else words
    parser = argparse.ArgumentParser(prog=f"mlx-deepseek launch {args.agent}")
    add_options(parser)
    args = parser.parse_args(own, args)
    agent, url = AGENTS[args.agent], args.url.rstrip("/").removesuffix("/v1")
    key = args.api_key or NO_KEY
    target = Target(url, args.model or first_model(url, key), key)
    if args.print:
        sys.stdout.write(agent.shown(target) + "\n")
        return 0
    command = agent.command(target, words[len(own) + 1 :])
    if shutil.which(agent.program) is None:
        raise DeepSeekError(f"{agent.program} is not installed. Try `{agent.install}`.")
    return subprocess.run(command, env={**os.environ, **agent.environment(target)}).returncode


def first_model(url: str, key: str) -> str:
    """The default model of a running server.

    Raises:
        DeepSeekError: there is no server, or it wants another key.
    """
    from urllib.error import HTTPError  # slow to import
    from urllib.request import Request, urlopen

    request = Request(f"{url}/v1/models", headers={"authorization": f"Bearer {key}"})
    try:
        with urlopen(request, timeout=TIMEOUT_S) as answer:
            return json.load(answer)["data"][0]["id"]
    except HTTPError as error:
        raise DeepSeekError(
            f"{url} answers {error.code}. Give its key with --api-key or ${KEY_VARIABLE}."
        ) from error
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise DeepSeekError(
            f"No server at {url} ({error}). Start one with `mlx-deepseek serve MODEL`, or name "
            "its address with --url."
        ) from error
