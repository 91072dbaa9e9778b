"""The app's process is killed in the middle of a reply."""

import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from playwright.sync_api import expect

from mlx_deepseek_app.store import Store
from tests.app import scripted
from tests.app.test_browser import ANSWER, ask

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
PAGE = """
import sys
from pathlib import Path
from mlx_deepseek_app.command import serve
from tests.app import scripted
served = serve(lambda source, **_: scripted.load(source), "scripted", data=Path(sys.argv[1]))
print(served.url, flush=True)
served.wait()
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


def started(folder):
    """The app in a process of its own, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", PAGE, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@pytest.mark.browser
def test_a_killed_app_shows_the_conversation_again(open_page, tmp_path):
    process, url = started(tmp_path)
    page = open_page(SimpleNamespace(url=url), watched=False)
    ask(page, "slow and steady")
    expect(page.locator(ANSWER).last).to_contain_text("tick tick tick")
    page.wait_for_timeout(1500)
    shown = page.locator(ANSWER).last.inner_text().count("tick")
    process.kill()
    process.wait()
    page.close()
    process, url = started(tmp_path)
    again = open_page(SimpleNamespace(url=url))
    again.locator("#conversations [data-act=open]").click()
    expect(again.locator(ANSWER).last).to_have_text("Cut off: the app ended here.")
    kept = again.locator(ANSWER).nth(-2).inner_text().count("tick")
    assert kept > shown - 1.1 * LOST_S / scripted.ScriptedEngine.step_s
    expect(again.get_by_role("button", name="Continue")).to_be_visible()
    again.close()
    process.kill()
    process.wait()
