"""Load on a server: many clients; some go in mid-stream, some send nonsense, one is endless.

    python tests/bench/server_load.py [--clients 50] [--seconds 300] [--model nano]

A server is started as a process of its own. Answers are greedy, so each question has one right
answer: what comes mixed or incomplete is counted as wrong. At the end nothing may run any more, and
the process must not have grown.
"""

import argparse
import asyncio
import random
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx

CUT, INVALID = 0.10, 0.05
CHAT = "/v1/chat/completions"
ENDLESS = {
    "messages": [{"role": "user", "content": "Count."}],
    "temperature": 1.0,
    "logit_bias": {"1": -100},
}


def resident_bytes(process: int) -> int:
    """Memory of a process, where the system tells."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


async def answer(client: httpx.AsyncClient, question: str, cut: bool) -> str | None:
    """What a stream says; None where it was cut on purpose."""
    body = {
        "messages": [{"role": "user", "content": question}],
        "stream": True,
        "temperature": 0,
        "max_tokens": 80,
    }
    text = ""
    async with client.stream("POST", CHAT, json=body) as response:
        if response.status_code == 503:
            await response.aread()
            await asyncio.sleep(float(response.headers["retry-after"]))
            return "busy"
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                parts = re.findall(r'"content":"((?:[^"\\]|\\.)*)"', line)
                text += "".join(parts)
                if cut and random.random() < 0.2:
                    return None
            if line == "data: [DONE]":
                return text
    return "incomplete"


async def one_client(
    client: httpx.AsyncClient, right: dict[str, str], until_s: float, seen: Counter
) -> None:
    while time.monotonic() < until_s:
        chance = random.random()
        if chance < INVALID:
            broken = await client.post(CHAT, json={"messages": [{"role": "x"}], "n": "y"})
            seen["invalid, refused" if broken.status_code == 400 else "invalid, taken"] += 1
            continue
        question = random.choice(list(right))
        said = await answer(client, question, chance < INVALID + CUT)
        kind = "cut" if said is None else said if said in ("busy", "incomplete") else None
        seen[kind or ("right" if said == right[question] else "wrong")] += 1


async def endless(client: httpx.AsyncClient, until_s: float) -> None:
    while time.monotonic() < until_s:
        async with client.stream("POST", CHAT, json=ENDLESS | {"stream": True}) as response:
            async for _ in response.aiter_lines():
                if time.monotonic() >= until_s:
                    return


async def load(address: str, process: int, clients: int, seconds: float) -> None:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=address, timeout=600, limits=limits) as client:
        questions = [f"What is {a} + {a + 9}?" for a in range(11, 31)]
        right = {}
        for question in questions:
            right[question] = str(await answer(client, question, False))
        before, start = resident_bytes(process), time.monotonic()
        seen: Counter = Counter()
        until_s = start + seconds
        tasks = [one_client(client, right, until_s, seen) for _ in range(clients)]
        await asyncio.gather(*tasks, endless(client, until_s))
        took = time.monotonic() - start
        ended, left = time.monotonic(), 1
        while left:
            shown = (await client.get("/v1/cache")).json()["requests"]
            left = sum(one["state"] in ("waiting", "reading", "writing") for one in shown)
        print(f"{clients} clients, {took:.0f} s: {dict(seen)}")
        print(f"right answers a second: {seen['right'] / took:.2f}")
        print(f"all had ended {time.monotonic() - ended:.2f} s after the last client")
        after = resident_bytes(process)
        print(f"memory: {before / 2**20:.0f} MiB before, {after / 2**20:.0f} MiB after")
        if seen["wrong"] or seen["incomplete"] or seen["invalid, taken"]:
            sys.exit("answers were wrong, incomplete, or given to nonsense")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--model", default="nano")
    args = parser.parse_args()
    command = [sys.executable, "-m", "mlx_deepseek.cli", "serve", args.model, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        address = next(word for line in server.stderr for word in line.split() if "http" in word)
        sink = asyncio.to_thread(server.stderr.read)

        async def run() -> None:
            log = asyncio.ensure_future(sink)
            await load(address.removesuffix("/v1"), server.pid, args.clients, args.seconds)
            server.terminate()
            await log

        try:
            asyncio.run(run())
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
