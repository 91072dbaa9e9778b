"""`mlx-deepseek chat`: a conversation in the terminal."""

import argparse
import select
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mlx_deepseek.commands.options import (
    add_command,
    add_model,
    add_sampling,
    load_model,
    stream_options,
)
from mlx_deepseek.commands.terminal import DIM, NORMAL, ChunkPrinter, summary
from mlx_deepseek.errors import CheckpointError, ImageError, PromptError

if TYPE_CHECKING:
    from mlx_deepseek.engine import Chat, Engine

SUMMARY = "talk with a model in the terminal"
HELP = """/reset          forget the conversation
/system TEXT    set the system prompt and begin again
/regen          answer the last message again
/edit TEXT      replace the last message
/image FILE     show a picture with the next message
/think on|off   ask a model with two modes to think
/help           this
/exit           end (or Ctrl-D); Ctrl-C stops an answer

A backslash at the end of a line continues the message on the next; pasted lines are one message."""
PASTE_S = 0.03


def register(subparsers: Any) -> None:
    """Add the `chat` sub-command."""
    details = f" In the conversation:\n\n{HELP}"
    raw = argparse.RawDescriptionHelpFormatter
    parser = add_command(subparsers, "chat", SUMMARY, details, formatter_class=raw)
    add_model(parser)
    add_sampling(parser)
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Load, then answer line by line; DeepSeekError while loading is the caller's to print."""
    options = stream_options(args)
    engine = load_model(args)
    conversation = TerminalChat(engine, args.system, options, args.image)
    interactive = sys.stdin.isatty()
    pasted = enable_line_editing() if interactive else never
    if interactive:
        conversation.note(f"{engine.name}: /help lists commands. Try: {engine.suggestions[0]}")
    while True:
        try:
            line = read_message(input if interactive else read_line, pasted)
        except (EOFError, KeyboardInterrupt):
            break
        if line.strip() and not conversation.take(line.strip()):
            break
    return 0


def read_message(read: Callable[[str], str], pasted: Callable[[], bool]) -> str:
    """A message of one line, or of several: pasted ones, and those after a backslash at the end.

    Raises:
        EOFError: there is none.
    """
    lines = read(">>> ").split("\n")
    while lines[-1].endswith("\\") or pasted():
        lines[-1] = lines[-1].removesuffix("\\")
        lines += read("... ").split("\n")
    return "\n".join(lines)


def read_line(_: str) -> str:
    """A line of standard input that is no terminal."""
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.removesuffix("\n")


def enable_line_editing() -> Callable[[], bool]:
    """Arrow keys and history in input(); returns what tells whether more of a paste is coming.

    GNU readline takes a paste in as a whole. Elsewhere, lines that are there at once were pasted.
    """
    try:
        import readline
    except ImportError:
        return waiting
    if "libedit" in (readline.__doc__ or ""):
        return waiting
    readline.parse_and_bind("set enable-bracketed-paste on")
    return never


def waiting() -> bool:
    """Whether standard input has something within the time in which nobody types."""
    return bool(select.select([sys.stdin], [], [], PASTE_S)[0])


def never() -> bool:
    """No paste comes in pieces."""
    return False


class TerminalChat:
    """Takes lines: messages to the model, and commands that begin with a slash."""

    def __init__(
        self,
        engine: "Engine",
        system: str | None,
        options: dict[str, Any],
        images: Sequence[str] = (),
    ):
        self.engine = engine
        self.images = list(images)  # for the next message
        self.options = options
        self.chat: Chat = engine.chat(system, **options)
        self.commands: dict[str, Callable[[str], None]] = {
            "/reset": lambda _: self.chat.reset(),
            "/system": self.set_system,
            "/regen": lambda _: self.answer(self.chat.rewind()),
            "/edit": self.edit,
            "/image": self.images.append,
            "/think": self.think,
            "/help": lambda _: self.note(HELP),
        }

    def take(self, line: str) -> bool:
        """Do what a line says; False ends the conversation."""
        word, _, rest = line.partition(" ")
        if word in ("/exit", "/quit", "/bye"):
            return False
        try:
            if word in self.commands and "\n" not in line:
                self.commands[word](rest.strip())
            elif word.startswith("/") and word[1:].isalpha():
                self.note(f"No command {word}.\n{HELP}")
            else:
                self.answer(line)
        except (PromptError, ImageError, CheckpointError) as error:
            self.note(str(error))
        return True

    def answer(self, message: Any) -> None:
        """Send a message and write the answer; Ctrl-C ends it and keeps what was written."""
        writer = ChunkPrinter(sys.stdout, show_thinking=self.options["thinking"] is not False)
        images, self.images[:] = list(self.images), []
        stream = self.chat.stream(message, images=images)
        try:
            last = writer.write(stream)
        except KeyboardInterrupt:
            self.chat.stop()
            self.note("(stopped)")
            return
        if last is None:
            return
        if last.finish_reason == "length":
            self.note("(cut off: no room for more tokens)")
        if sys.stderr.isatty():
            self.note(summary(last.usage, self.engine.context_length))

    def set_system(self, text: str) -> None:
        """Begin again with another system prompt."""
        self.chat = self.engine.chat(text or None, **self.options)

    def edit(self, text: str) -> None:
        """Replace the last message."""
        if not text:
            raise PromptError("/edit needs the new text.")
        self.chat.rewind()
        self.answer(text)

    def think(self, text: str) -> None:
        """Choose the mode for the messages to come."""
        if text not in ("on", "off"):
            raise PromptError("/think needs on or off.")
        self.options["thinking"] = self.chat.options["thinking"] = text == "on"

    def note(self, text: str) -> None:
        """Tell the user something that is not the model's."""
        dim, normal = (DIM, NORMAL) if sys.stderr.isatty() else ("", "")
        sys.stderr.write(f"{dim}{text}{normal}\n")
