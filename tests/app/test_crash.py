"""The app's process is killed in the middle of a reply."""

import os
import re
import signal
import subprocess
import sys
import time

from mlx_deepseek_app.store import Store

# One tab that waits for a reply without end; it prints how many words the model has written.
APP = """
import asyncio, sys
from pathlib import Path
from mlx_deepseek_app.chat import Replies
from mlx_deepseek_app.host import Host
from mlx_deepseek_app.session import Conversation, Settings
from mlx_deepseek_app.store import Store
from tests.app import scripted

async def main():
    host = Host(scripted.load)
    job = host.start("scripted")
    while not job.finished:
        await asyncio.sleep(0.01)
    replies = Replies(host, Store(Path(sys.argv[1])))
    talk = Conversation().ask("slow, please")
    async for page in replies.answer("tab", talk, Settings(thinking=False)):
        print(page.conversation.turns[-1].text.count("tick"), flush=True)

asyncio.run(main())
"""
LOST_S = 1.0


def test_a_killed_app_has_kept_all_but_the_last_second(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    app = subprocess.Popen(
        [sys.executable, "-c", APP, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert app.stdout is not None
    seen: list[tuple[float, int]] = []  # when, how many words
    for line in app.stdout:
        seen.append((time.monotonic(), int(line)))
        if seen[-1][0] - seen[0][0] > 2.5:
            break
    app.send_signal(signal.SIGKILL)
    app.wait()
    app.stdout.close()

    store = Store(tmp_path)
    assert store.notice == ""  # which would tell of a damaged file
    mine = store.of("another tab")
    (entry,) = mine.entries("")
    kept = mine.open(entry.id)
    assert kept is not None
    question, reply = kept.conversation.turns
    assert question.text == "slow, please"
    assert reply.state == "cut"
    a_second_ago = max(words for at, words in seen if at < seen[-1][0] - LOST_S)
    assert len(re.findall("tick", reply.text)) >= a_second_ago > 0
    assert reply.unfinished  # the page offers to go on with it
