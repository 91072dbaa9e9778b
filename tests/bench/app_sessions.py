"""Many tabs at once on nano: mixed or lost replies, waiting times and memory.

    python tests/bench/app_sessions.py [--tabs 20] [--minutes 3]

Each tab asks for sums of its own, one after the other, beside the others and with a store on the
disk; an answer that holds another tab's numbers would be a mixed one. Memory is resident, of the
whole process, after a first round and at the end.
"""

import argparse
import asyncio
import re
import resource
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from mlx_deepseek import load
from mlx_deepseek_app.chat.replies import Replies
from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.storage.conversations import conversations_of
from mlx_deepseek_app.storage.store import Store


@dataclass
class Outcome:
    """Of all tabs together."""

    asked: int = 0
    lost: int = 0
    mixed: int = 0
    right: int = 0
    waited_s: list[float] = field(default_factory=list)


async def tab(number: int, replies: Replies, until_s: float, outcome: Outcome) -> None:
    """Ask until the time is over; three questions make a conversation."""
    name, asked = f"tab {number}", 0
    talk = replies.new(name)
    while time.monotonic() < until_s:
        a, b = 100 + number, 100 + (7 * asked + 13 * number) % 800
        begin_s = time.monotonic()
        question = f"What is {a} + {b}?"
        replies.send(talk, question, (), PanelSettings())
        while talk.busy:
            await asyncio.sleep(0.02)
        outcome.asked += 1
        outcome.waited_s.append(time.monotonic() - begin_s)
        asked_last, reply = talk.conversation.messages[-2:]
        if reply.state != "done":
            outcome.lost += 1
            continue
        outcome.right += str(a + b) in reply.text
        # nano repeats the question's numbers when it thinks; others' would be seen there
        outcome.mixed += asked_last.text != question
        outcome.mixed += not set(re.findall(r"\d{3}", reply.reasoning[:12])) <= {str(a), str(b)}
        asked += 1
        talk = replies.new(name) if asked % 3 == 0 else talk


def resident_mb() -> float:
    """Memory of this process now."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmRSS:\s+(\d+)", status.read_text())[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


async def run(tabs: int, minutes: float, replies: Replies, outcome: Outcome) -> list[float]:
    """All tabs, and what memory was meanwhile."""
    until_s = time.monotonic() + 60 * minutes
    going = [asyncio.create_task(tab(n, replies, until_s, outcome)) for n in range(tabs)]
    seen = []
    while not all(task.done() for task in going):
        await asyncio.sleep(5)
        seen.append(resident_mb())
    await asyncio.gather(*going)
    return seen


def main() -> None:
    """Print what happened."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tabs", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=3.0)
    args = parser.parse_args()
    service = ModelService(load)
    job = service.start("nano")
    while not job.finished:
        time.sleep(0.05)
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        memory = asyncio.run(run(args.tabs, args.minutes, Replies(service, store), outcome))
        kept = len(conversations_of(store, "any").entries(""))
        store.close()
    print(f"{args.tabs} tabs, {args.minutes:g} minutes: {outcome.asked} asked, {outcome.lost} lost")
    print(f"{outcome.mixed} mixed, {outcome.right} right; {kept} conversations kept")
    print(f"waiting: median {statistics.median(outcome.waited_s):.1f} s, ", end="")
    print(f"longest {max(outcome.waited_s):.1f} s")
    quarter = max(1, len(memory) // 4)
    print(f"resident: {memory[quarter - 1]:.0f} MB after a quarter, {memory[-1]:.0f} MB at the end")


if __name__ == "__main__":
    main()
