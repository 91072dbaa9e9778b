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

from mlx_deepseek_app.storage.conversations import conversations_of
from mlx_deepseek_app.storage.store import Store
from tests.app import scripted
from tests.app.test_browser import ANSWER, ask

# One tab that waits for a reply without end; it prints how many words the model has written.
APP = """
import sys, time
from pathlib import Path
from mlx_deepseek_app.chat.replies import Replies
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.storage.store import Store
from tests.app import scripted

service = ModelService(scripted.load)
job = service.start("scripted")
while not job.finished:
    time.sleep(0.01)
replies = Replies(service, Store(Path(sys.argv[1])))
talk = replies.new("tab")
replies.send(talk, "slow, please", (), PanelSettings(thinking=False))
while True:
    print(talk.conversation.messages[-1].text.count("tick"), flush=True)
    time.sleep(0.08)
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
    mine = conversations_of(store, "another tab")
    (entry,) = mine.entries("")
    kept = mine.open(entry.id)
    assert kept is not None
    question, reply = kept.conversation.messages
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


def test_ctrl_c_ends_the_app_with_code_0_and_no_complaint(tmp_path):
    # a shell's background jobs begin with SIGINT ignored
    command = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from mlx_deepseek.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", command, "app", "--no-browser", "--data", str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stderr is not None
    url = re.search("http://[^ ]+", process.stderr.readline())
    assert url is not None
    time.sleep(5)  # the model is loaded, or being loaded: both are to end well
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0
    assert said == "Bye.\n"


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
