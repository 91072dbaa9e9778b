"""A conversation, turn by turn; the engine finds what it has read of it before."""

import threading
from collections.abc import Generator, Sequence
from typing import Any, Protocol, Unpack

from mlx_deepseek.errors import PromptError
from mlx_deepseek.generation.options import AnswerOptions, with_options
from mlx_deepseek.generation.prompt import plain_images, plain_prompt, with_images
from mlx_deepseek.generation.results import Accumulator, Chunk, Completion, collect
from mlx_deepseek.generation.stream import Stream

Message = dict[str, Any]


class ChatEngine(Protocol):
    """What a chat needs of an engine."""

    @property
    def name(self) -> str:
        """The model's."""
        ...

    def stream(self, prompt: Any, **options: Any) -> Stream:
        """The answer to a conversation in pieces."""
        ...


class Chat:
    """Messages so far; `options` are those of `Engine.stream`.

    Any thread may call it; a new message ends the answer to the last one.
    """

    @with_options(AnswerOptions)
    def __init__(
        self, engine: ChatEngine, system: str | None = None, **options: Unpack[AnswerOptions]
    ):
        self.engine = engine
        self.options: dict[str, Any] = dict(options)
        self.messages: list[Message] = []
        self._open: Stream | None = None
        self._turn = threading.RLock()
        if system:
            self.messages.append({"role": "system", "content": system})

    def __repr__(self) -> str:
        return f"<Chat with {self.engine.name}: {len(self.messages)} messages>"

    @with_options(AnswerOptions)
    def say(self, message: str | Message, **options: Unpack[AnswerOptions]) -> Completion:
        """Send a message, text or e.g. a tool's result, and wait for the whole answer."""
        return collect(self.stream(message, **options))

    @with_options(AnswerOptions)
    def stream(self, message: str | Message, **options: Unpack[AnswerOptions]) -> Stream:
        """Send a message with pictures before it; the answer in pieces.

        Closing the stream, or Ctrl-C, stops; what was written until then stays in `messages`.
        An error, or a stop before the first word, leaves `messages` as they were. A second call
        ends the first.
        """
        given: dict[str, Any] = dict(options)
        images = plain_images(given.pop("images", None))
        sent = plain_prompt(message)
        sent = [{"role": "user", "content": sent}] if isinstance(sent, str) else sent
        if len(sent) != 1:
            raise PromptError(f"Expected one message, a text or a dict; got {len(sent)}.")
        sent = with_images(sent, images) if images else sent
        with self._turn:
            self.stop()
            chunks = self._answer([*self.messages, *sent], self.options | given)
            self._open = Stream(chunks)
            return self._open

    def stop(self) -> None:
        """End the answer that is being written, if any."""
        with self._turn:
            if self._open is not None:
                self._open.close()
                self._open = None

    @with_options(AnswerOptions)
    def regenerate(self, **options: Unpack[AnswerOptions]) -> Completion:
        """Answer the last user message again.

        Raises:
            PromptError: there is none.
        """
        return self.say(self.rewind(), **options)

    @with_options(AnswerOptions)
    def edit(self, index: int, text: str, **options: Unpack[AnswerOptions]) -> Completion:
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

    def _answer(self, messages: Sequence[Message], options: Message) -> Generator[Chunk]:
        answer, finished = Accumulator(), False
        chunks = self.engine.stream(list(messages), **options)
        try:
            for chunk in chunks:
                answer.add(chunk)
                if chunk.finish_reason:
                    finished = True
                    self.messages = [*messages, answer.message]
                yield chunk
        except (GeneratorExit, KeyboardInterrupt):
            if not finished and answer.says_something:
                self.messages = [*messages, answer.message]
            raise
        finally:
            chunks.close()
