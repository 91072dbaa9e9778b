"""Pages of PDFs as pictures or text, by pdfium in a process of its own.

PDFs exist that crash it, take all memory or never end; here they cost one page, and some seconds.
"""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from PIL import Image

from mlx_deepseek.errors import ImageError

RENDERER = Path(__file__).with_name("pdf_renderer.py")
TIMEOUT_S = 60.0
MEMORY_BYTES = 2 << 30
# So many pages may end the renderer; then the others are not tried any more.
MAX_ENDS = 3
# pdfium's numbers of errors.
NEEDS_PASSWORD, UNKNOWN_ENCRYPTION = 4, 5
REMEDY = "Get the PDF again, or print it anew to a PDF"


class PDFDocument:
    """A PDF; each has its own renderer, so any thread may use it, one at a time."""

    def __init__(
        self, source: str | Path | bytes, password: str | None = None, timeout_s: float = TIMEOUT_S
    ):
        """Open a file or its bytes.

        Raises:
            ImageError: damaged, or encrypted with another password.
        """
        self.name = f"PDF of {len(source)} bytes" if isinstance(source, bytes) else str(source)
        self._source = source
        self._password = password
        self._timeout_s = timeout_s
        self._ends = 0
        self._renderer: subprocess.Popen[bytes] | None = None
        answer = self._open()
        self.count: int = answer.get("count", 0)
        if not self.count:
            self.close()
            raise ImageError(self._refusal(answer))

    def render(self, number: int) -> Image.Image:
        """Page `number`, from 1, with its annotations and form fields.

        Raises:
            ImageError: the page is damaged, or takes too long or too much memory.
        """
        answer, content = self._page({"page": number}, "rendered")
        return Image.frombytes("RGB", (answer["width"], answer["height"]), content)

    def text(self, number: int) -> str:
        """The text layer of page `number`, from 1; "" of a page that is a picture.

        Raises:
            ImageError: as `render`.
        """
        return self._page({"text": number}, "read")[0]["text"]

    def _page(self, request: dict[str, int], done: str) -> tuple[dict[str, Any], bytes]:
        (number,) = request.values()
        reason = "pages before it could not be, too"
        if self._ends < MAX_ENDS and (self._renderer is not None or "count" in self._open()):
            answer, content = self._ask(request)
            if "error" not in answer:
                return answer, content
            reason = answer["error"]
        raise ImageError(f"{self.name}: page {number} cannot be {done}: {reason}. {REMEDY}.")

    def close(self) -> None:
        """End the renderer."""
        renderer, self._renderer = self._renderer, None
        if renderer is not None:
            renderer.kill()
            renderer.communicate()

    def _open(self) -> dict[str, Any]:
        """Start a renderer; its answer, with the number of pages or an error."""
        self._renderer = subprocess.Popen(
            # -P: modules beside the program must not hide others.
            [sys.executable, "-P", str(RENDERER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        request: dict[str, Any] = {"password": self._password, "memory_bytes": MEMORY_BYTES}
        if isinstance(self._source, bytes):
            return self._ask({**request, "bytes": len(self._source)}, self._source)[0]
        return self._ask({**request, "path": str(Path(self._source).expanduser())})[0]

    def _ask(self, request: dict[str, Any], content: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """The renderer's answer to a request; an error if it ends or takes too long."""
        renderer: Any = self._renderer
        late = threading.Event()

        def stop() -> None:
            late.set()
            renderer.kill()

        timer = threading.Timer(self._timeout_s, stop)
        timer.start()
        try:
            renderer.stdin.write(json.dumps(request).encode() + b"\n" + content)
            renderer.stdin.flush()
            answer = json.loads(renderer.stdout.readline())
            nbytes = 3 * answer.get("width", 0) * answer.get("height", 0)
            content = renderer.stdout.read(nbytes)
            if len(content) == nbytes:
                return answer, content
        except (OSError, ValueError):  # its pipes are closed, or end within an answer
            pass
        finally:
            timer.cancel()
        self._ends += 1
        self.close()
        if late.is_set():
            return {"error": f"it takes longer than {self._timeout_s:g} seconds"}, b""
        return {"error": "it ends the renderer, or takes too much memory"}, b""

    def _refusal(self, answer: dict[str, Any]) -> str:
        """What to say of a document that does not open."""
        if answer.get("code") == NEEDS_PASSWORD:
            wrong = "the password does not open it" if self._password else "it needs a password"
            return f"{self.name}: the PDF is encrypted and {wrong}. Give its password."
        if answer.get("code") == UNKNOWN_ENCRYPTION:
            return f"{self.name}: the PDF is encrypted in a way that is not supported."
        reason = answer.get("error", "it has no pages")
        return f"{self.name}: the PDF is damaged or cut off: {reason}. {REMEDY}."
