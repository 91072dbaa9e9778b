"""A conversation that keeps its latent cache from turn to turn."""

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from mlx_deepseek.completion import Chunk, Completion, as_message
from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompting import Picture, shown

if TYPE_CHECKING:
    from mlx_deepseek.engine import Engine

Message = dict[str, Any]


class Chat:
    """Messages so far, and the cache of their tokens; `options` are those of `Engine.stream`."""

    def __init__(self, engine: "Engine", system: str | None = None, **options: Any):
        self.engine = engine
        self.options = options
        self.messages: list[Message] = []
        self._kept = engine.new_cache()
        self._open: Generator[Chunk] | None = None
        if system:
            self.messages.append({"role": "system", "content": system})

    def say(self, message: str | Message, **options: Any) -> Completion:
        """Send a message, text or e.g. a tool's result, and wait for the whole answer."""
        return self.engine.collect(self.stream(message, **options))

    def stream(
        self, message: str | Message, *, images: Sequence[Picture] = (), **options: Any
    ) -> Generator[Chunk]:
        """Send a message with pictures before it; the answer in pieces.

        Closing the generator, or Ctrl-C, stops; what was written until then stays in `messages`.
        An error, or a stop before the first word, leaves `messages` as they were. A second call
        ends the first.
        """
        self.stop()
        if isinstance(message, str):
            message = {"role": "user", "content": message}
        if images:
            (message,) = shown([message], images)
        self._open = self._turn([*self.messages, message], self.options | options)
        return self._open

    def stop(self) -> None:
        """End the answer that is being written, if any."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def regenerate(self, **options: Any) -> Completion:
        """Answer the last user message again.

        Raises:
            PromptError: there is none.
        """
        return self.say(self.rewind(), **options)

    def edit(self, index: int, text: str, **options: Any) -> Completion:
        """Replace the user message at `index` of `messages`, drop what followed, answer.

        Raises:
            PromptError: there is no user message at `index`.
        """
        self.rewind(index)
        return self.say(text, **options)

    def rewind(self, index: int | None = None) -> Message:
        """Take back the user message at `index` (None: the last) and all after it; returns it.

        Raises:
            PromptError: there is no such user message.
        """
        self.stop()
        users = [i for i, message in enumerate(self.messages) if message["role"] == "user"]
        index = (users[-1] if users else 0) if index is None else index
        if index not in users:
            raise PromptError(f"Message {index} is not a user's. Expected one of {users}.")
        message = self.messages[index]
        del self.messages[index:]
        return message

    def reset(self) -> None:
        """Forget everything but the system prompt."""
        self.stop()
        self.messages = [message for message in self.messages[:1] if message["role"] == "system"]

    def _turn(self, messages: Sequence[Message], options: Message) -> Generator[Chunk]:
        text, reasoning, calls, complete = "", "", (), False
        chunks = self.engine.stream(list(messages), kept=self._kept, **options)
        try:
            for chunk in chunks:
                text, reasoning = text + chunk.text, reasoning + chunk.reasoning
                calls += chunk.tool_calls
                if chunk.finish_reason:
                    complete = True
                    self._keep(messages, text, reasoning, calls)
                yield chunk
        except (GeneratorExit, KeyboardInterrupt):
            if not complete and (text or reasoning):
                self._keep(messages, text, reasoning, calls)
            raise
        finally:
            chunks.close()

    def _keep(
        self, messages: Sequence[Message], text: str, reasoning: str, calls: tuple[Any, ...]
    ) -> None:
        self.messages = [*messages, as_message(text, reasoning, calls)]
