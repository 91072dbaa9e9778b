"""`mlx-deepseek app`: serve the chat page on this machine and open it."""

import argparse
import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from mlx_deepseek.commands.options import add_hosts, add_memory, hosting
from mlx_deepseek.errors import DeepSeekError

DEFAULT_PORT = 7860
UPLOAD_AT_MOST = "200mb"
PASSWORD_BYTES = 9
UPLOADS = "mlx-deepseek-uploads-"
MOST_EVENTS = 512  # at once; each open tab of the browser has one that lasts


def register(subparsers: Any) -> None:
    """Add the `app` sub-command."""
    parser = subparsers.add_parser(
        "app",
        help="chat in the browser",
        description="Serve a chat page on this machine only, and open it in the browser.",
    )
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", default="nano", help="nano, folder or hub id"
    )
    add_memory(parser)
    add_hosts(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on (%(default)s)")
    parser.add_argument(
        "--port", type=_port, help=f"port to serve on (the first free one from {DEFAULT_PORT})"
    )
    parser.add_argument(
        "--data", metavar="FOLDER", help="where conversations are kept (the user's data folder)"
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    parser.add_argument("--share", action="store_true", help="a public link through gradio.live")
    parser.add_argument(
        "--password",
        default=os.environ.get("MLX_DEEPSEEK_PASSWORD"),
        help="asked for with --share or another --host (a random one; $MLX_DEEPSEEK_PASSWORD)",
    )
    parser.set_defaults(func=run)


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise ValueError(text)
    return port


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    import secrets

    from mlx_deepseek import Caching, load
    from mlx_deepseek_app.server.security import LOOPBACK
    from mlx_deepseek_app.storage.database import data_folder
    from mlx_deepseek_app.storage.store import prefix_folder

    data, password = data_folder(args.data), None
    if args.share or args.host not in LOOPBACK:
        data = None  # visitors do not see each other's words, and leave none on this disk
        password = args.password or secrets.token_urlsafe(PASSWORD_BYTES)
        print(  # noqa: T201
            f"Others who can reach this address sign in with the password {password}. "
            "Conversations are not kept: each tab has its own until it is closed.",
            file=sys.stderr,
        )
    # where conversations are kept, so is what was read of them: reopened, they go on at once
    caching = None if data is None else Caching(prefix_folder=prefix_folder(data))
    stop = serve(
        partial(load, caching=caching, memory=args.memory, **hosting(args)),
        args.model,
        host=args.host,
        port=args.port,
        browser=not args.no_browser,
        share=args.share,
        data=data,
        password=password,
    )
    try:
        stop.wait()
    except KeyboardInterrupt:
        print("Bye.", file=sys.stderr)  # noqa: T201
    finally:
        stop.close()
    return 0


@cache
def private_uploads() -> None:
    """Have gradio keep uploads where only this user can read them, until the process ends."""
    for left in Path(tempfile.gettempdir()).glob(f"{UPLOADS}*-*"):
        if not _runs(left.name.removeprefix(UPLOADS).partition("-")[0]):  # it crashed
            shutil.rmtree(left, ignore_errors=True)
    mine = tempfile.mkdtemp(prefix=f"{UPLOADS}{os.getpid()}-")
    os.environ["GRADIO_TEMP_DIR"] = mine
    atexit.register(shutil.rmtree, mine, ignore_errors=True)


def _runs(pid: str) -> bool:
    """Whether there is a process of this number; where that is none, too."""
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OverflowError, PermissionError):
        pass
    return True


def reachable(url: str, host: str) -> str:
    """The address to give to others, where the server is not only for this machine."""
    from mlx_deepseek_app.server.security import ANYWHERE, local_address

    if host not in ANYWHERE or not (address := local_address()):
        return url
    port = url.rstrip("/").rsplit(":", 1)[1]
    return f"http://{address}:{port}/ for others on this network, here at {url}"


class Served:
    """A running page at `url`."""

    def __init__(self, page: Any, service: Any, url: str, toolbox: Any) -> None:
        self._page = page
        self._toolbox = toolbox
        self.service = service
        self.url = url

    def wait(self) -> None:
        """Block until the process is interrupted."""
        self._page.server.thread.join()

    def close(self) -> None:
        """Stop serving, and wait until nothing runs any more."""
        self._page.close(verbose=False)
        self.service.close()
        self._toolbox.close()


def serve(
    loader: Callable[..., Any],
    source: str,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    browser: bool = False,
    share: bool = False,
    data: Path | None = None,
    password: str | None = None,
) -> Served:
    """Start the page and return at once; the model loads meanwhile and the page shows how far.

    Conversations are kept in the folder `data`; None keeps each tab's own while it is open.
    With a password, visitors sign in.

    Raises:
        DeepSeekError: the address or port cannot be served on.
    """
    # before gradio is imported: it decides on telemetry and version checks then
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    private_uploads()
    from mlx_deepseek_app.widgets.gradio_import import import_gradio

    import_gradio()
    from starlette.middleware import Middleware

    from mlx_deepseek_app.jobs.model_service import ModelService
    from mlx_deepseek_app.jobs.served_model import ServedModel
    from mlx_deepseek_app.page import build
    from mlx_deepseek_app.server.mounted import Mounted
    from mlx_deepseek_app.server.security import names
    from mlx_deepseek_app.server.settings import ServerSettings
    from mlx_deepseek_app.server.sign_in import SignIn
    from mlx_deepseek_app.server.site import build as build_api
    from mlx_deepseek_app.storage.store import Store
    from mlx_deepseek_app.tools.toolbox import Toolbox
    from mlx_deepseek_app.widgets.theme import assets

    service = ModelService(loader)
    api = build_api(ServedModel(service), ServerSettings(api_key=password), names(host, share))
    toolbox = Toolbox(data)
    page = build(service, Store(data), api.state.site, toolbox)
    dressed = assets(host, share)
    dressed["app_kwargs"]["middleware"].insert(0, Middleware(Mounted, api=api))
    if password is not None:
        dressed["app_kwargs"]["middleware"].append(Middleware(SignIn, password=password))
    service.start(source)
    try:
        _, url, _ = page.launch(
            server_name=host,
            server_port=port,
            inbrowser=browser,
            share=share,
            prevent_thread_lock=True,
            max_threads=MOST_EVENTS,
            quiet=True,
            enable_monitoring=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            max_file_size=UPLOAD_AT_MOST,
            **dressed,
        )
    except OSError as error:  # gradio's way to say that a port is taken
        where = f"{host}:{port}" if port else host
        raise DeepSeekError(
            f"{where}: cannot serve there ({error}). Choose another --port or --host, or leave "
            "them out."
        ) from error
    reached = reachable(url, host)
    print(f"mlx-deepseek is at {reached} (Ctrl+C stops it)", file=sys.stderr)  # noqa: T201
    return Served(page, service, url, toolbox)
