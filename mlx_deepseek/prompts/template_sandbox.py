"""The inside of the process that runs chat templates: jinja as transformers sets it up, bounded.

It is run as a script, so that it starts fast: it imports nothing of this package.
"""

import json
import os
import sys
import threading
import time
from datetime import datetime
from typing import Any

from jinja2 import Template, TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

# Of what one multiplication or power may give, in letters, items, or bits of a number; of a prompt.
LARGEST = 1 << 24


class Sandbox(ImmutableSandboxedEnvironment):
    """Multiplications that would fill the memory are refused."""

    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """As jinja does it, if the result is of bounded size."""
        numbers = [value for value in (left, right) if isinstance(value, int)]
        texts = [value for value in (left, right) if hasattr(value, "__len__")]
        size = 0
        if operator == "*" and numbers and texts:
            size = numbers[0] * len(texts[0])
        elif operator == "**" and len(numbers) == 2:
            size = numbers[1] * numbers[0].bit_length()
        if size > LARGEST:
            raise TemplateError(f"the result of {operator} is too large")
        return super().call_binop(context, operator, left, right)


def compile_template(source: str) -> Template:
    """A chat template in a sandbox, with transformers' settings.

    Raises:
        TemplateError: it is not jinja.
    """
    environment = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(source)


def serve() -> None:
    """Answer JSON lines {"source", "variables"} with {"text"} or {"error"} until they end."""
    _limit_memory(int(sys.argv[1]))
    _write("ready")
    compiled: dict[str, Template] = {}
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        try:
            if asked["source"] not in compiled:
                compiled = {asked["source"]: compile_template(asked["source"])}
            text = compiled[asked["source"]].render(**asked["variables"])
            long = {"error": f"the prompt has more than {LARGEST} letters"}
            answer = {"text": text} if len(text) <= LARGEST else long
        except MemoryError:
            answer = {"error": "it asks for too much memory"}
        except BaseException as error:  # a template is a program, and may fail in any way
            answer = {"error": f"{error}"[:1000] or type(error).__name__}
        _write(json.dumps(answer))


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _limit_memory(nbytes: int) -> None:
    """Refuse more; macOS has no such limit, so there the process ends when it takes more."""
    import resource

    try:
        resource.setrlimit(resource.RLIMIT_AS, (nbytes, nbytes))
    except (OSError, ValueError):
        unit = 1 if sys.platform == "darwin" else 1024

        def watch() -> None:
            while resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit < nbytes:
                time.sleep(0.02)
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def _json(value: Any, indent: int | None = None) -> str:
    """transformers' tojson: jinja's own writes HTML escapes."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> None:
    raise TemplateError(message)


if __name__ == "__main__":
    serve()
