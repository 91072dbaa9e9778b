"""What each open tab of the browser shows, and when it has to be drawn again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from mlx_deepseek_app.chat.replies import Replies, Talk
from mlx_deepseek_app.chat.transcript import MESSAGES

REFRESH_S = 0.08


@dataclass(eq=False)
class OpenTab:
    """One tab: the conversation that it shows, which is drawn from its turn `first` on.

    `query` is what its list is searched for, `remark` stands below the chat, `source` is the model
    whose settings it has.
    """

    name: str
    talk: Talk
    query: str = ""
    remark: str = ""
    first: int = 0
    most: int = 2 * MESSAGES  # that are drawn while the conversation grows
    source: str = ""
    listed: Hashable = None  # of what its list was made
    rows: Sequence[Any] = ()  # as they were drawn last
    whole: bool = False
    closed: bool = False
    version: int = 0

    def show(self, talk: Talk, remark: str = "") -> None:
        """Turn to a conversation."""
        self.talk, self.remark, self.most = talk, remark, 2 * MESSAGES
        self.first = self._last(talk)
        self.version += 1

    def say(self, remark: str) -> None:
        """Say something below the message box; "" takes it back."""
        if remark != self.remark:
            self.remark = remark
            self.version += 1

    def search(self, query: str) -> None:
        """List what is searched for."""
        self.query = query
        self.version += 1

    def earlier(self) -> None:
        """Draw more of what came before."""
        self.first = max(0, self.first - MESSAGES)
        self.most += MESSAGES
        self.version += 1

    def drawn(self, rows: Sequence[Any]) -> bool:
        """Which of two forms the rows go out in.

        Of what has the form of the last time Gradio sends the difference, however long the rest
        is. The page applies that rightly where the last row has changed and others have come after
        it; all else goes out in the other form, and is sent whole.
        """
        kept = len(self.rows) - 1
        alike = 0 <= kept < len(rows) and rows[:kept] == self.rows[:kept]
        if not alike or "options" in self.rows[kept]:
            self.whole = not self.whole
        self.rows = rows
        return self.whole

    def draw(self) -> None:
        """What is drawn follows what there is."""
        if not 0 < len(self.talk.conversation.messages) - self.first <= self.most:
            self.first = self._last(self.talk)

    @staticmethod
    def _last(talk: Talk) -> int:
        """The index of the question with which the last MESSAGES begin."""
        return max(0, len(talk.conversation.messages) - MESSAGES) // 2 * 2


class OpenTabs:
    """All tabs by name. A tab polls, so a waiting one costs no thread."""

    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self._tabs: dict[str, OpenTab] = {}

    def of(self, name: str) -> OpenTab:
        """A tab; a new one shows a conversation that has not begun."""
        if name not in self._tabs:
            self._tabs[name] = OpenTab(name, self._replies.new(name))
        return self._tabs[name]

    def close(self, name: str) -> None:
        """A tab is gone."""
        if tab := self._tabs.pop(name, None):
            tab.closed = True

    async def news(self, tab: OpenTab, other: Callable[[], Hashable]) -> AsyncIterator[None]:
        """Yields when something has changed that the tab shows; `other` is all but the talk."""
        seen: Hashable = None
        while not tab.closed:
            if tab.talk.deleted:
                tab.show(self._replies.new(tab.name))
            now = (id(tab.talk), tab.talk.version, tab.version, other())
            if now != seen:
                seen = now
                tab.draw()
                yield
            await asyncio.sleep(REFRESH_S)
