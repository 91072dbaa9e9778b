"""`mlx-deepseek serve`: the API server on this machine."""

import argparse
import os
import socket
import sys
from functools import partial
from typing import Any

from mlx_deepseek.commands.options import add_model
from mlx_deepseek.errors import DeepSeekError

DEFAULT_PORT = 8080
DRAIN_S = 30


def register(subparsers: Any) -> None:
    """Add the `serve` sub-command."""
    parser = subparsers.add_parser(
        "serve",
        help="an API server for agents and editors",
        description="Serve OpenAI's, DeepSeek's and Anthropic's APIs on this machine only.",
    )
    add_model(parser)
    group = parser.add_argument_group("server")
    group.add_argument("--host", default="127.0.0.1", help="address to serve on (%(default)s)")
    group.add_argument("--port", type=int, default=DEFAULT_PORT, help="(%(default)s; 0: any)")
    group.add_argument(
        "--api-key",
        default=os.environ.get("MLX_DEEPSEEK_API_KEY"),
        help="what clients must send; needed with another --host ($MLX_DEEPSEEK_API_KEY)",
    )
    group.add_argument(
        "--also", action="append", default=[], metavar="MODEL", help="one more; may be repeated"
    )
    group.add_argument(
        "--pin", action="append", default=[], metavar="MODEL", help="one that is never unloaded"
    )
    group.add_argument(
        "--idle-minutes", type=float, metavar="N", help="unload models that nobody asks (never)"
    )
    group.add_argument(
        "--cors",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="a site whose pages may ask, e.g. http://localhost:3000; may be repeated",
    )
    group.add_argument(
        "--max-body", type=int, default=64, metavar="MIB", help="largest request (%(default)s)"
    )
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C; answers that are being written are finished."""
    import logging

    import uvicorn

    from mlx_deepseek.distributed import Group
    from mlx_deepseek_app.server.models_loaded import LoadedModels
    from mlx_deepseek_app.server.security import LOOPBACK, names
    from mlx_deepseek_app.server.settings import ServerSettings
    from mlx_deepseek_app.server.site import build

    if args.host not in LOOPBACK and not args.api_key:
        raise DeepSeekError(
            f"{args.host}: others could ask this server. Give a key with --api-key or "
            "$MLX_DEEPSEEK_API_KEY, or leave --host out to serve this machine only."
        )
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    logging.getLogger("mlx_deepseek.server").setLevel(logging.INFO)
    settings = ServerSettings(
        api_key=args.api_key, cors=tuple(args.cors), body_bytes=args.max_body << 20
    )
    sources = list(dict.fromkeys([args.model, *args.also, *args.pin]))
    idle_s = None if args.idle_minutes is None else args.idle_minutes * 60
    models = LoadedModels(partial(loaded, args), sources, args.pin, idle_s)
    models.load(sources[0])
    app = build(models, settings, names(args.host, share=False), models.unload_idle)
    listening = listen(args.host, args.port)
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    sys.stderr.write(
        f"{models.listed()[0]} is at http://{shown}:{port}/v1 (OpenAI, DeepSeek) and "
        f"http://{shown}:{port} (Anthropic); Ctrl+C stops it\n"
    )
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
    )
    server, machines = uvicorn.Server(config), Group.of(args.hosts)

    def end(error: Exception) -> None:
        sys.stderr.write(f"mlx-deepseek: {error}\n")
        server.should_exit = True

    if machines is not None:  # a server without its models ends
        machines.when_lost.append(end)
    try:
        server.run([listening])
    finally:
        models.close()
    return 0 if machines is None or machines.lost is None else 1


def loaded(args: argparse.Namespace, source: str, progress: Any = None) -> Any:
    """An engine as the command line wants it; options of one model do not reach the others."""
    from mlx_deepseek.commands.options import caching, hosting
    from mlx_deepseek.engine import load

    own: dict[str, Any] = {}
    if source == args.model:
        own = {"recipe": args.recipe, "revision": args.revision, "draft": args.draft_model}
    own |= {"memory": args.memory, **hosting(args)}
    return load(source, caching=caching(args), progress=progress, **own)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        DeepSeekError: that is not possible.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=2048)
        # Each connection takes this over. asyncio sets it only for sockets of its own, and without
        # it the second part of an answer waits 40 ms for the client's acknowledgement.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        raise DeepSeekError(
            f"{host}:{port}: cannot serve there ({error.strerror}). "
            "Choose another --port or --host."
        ) from error
