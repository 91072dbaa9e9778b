"""This process's place in the ring: what is handed on from rank to rank, and what all answer.

MLX lets neighbours talk, so what rank 0 says goes from each rank to the next.
"""

import contextlib
import json
import os
import socket
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

# Bytes of a message's first piece, which most fit into, and of an answer.
FIRST_BYTES, ANSWER_BYTES = 1024, 8192
LENGTH_BYTES = 4


class Link:
    """Use it on one thread, on which MLX keeps the order of what is sent and received."""

    def __init__(self) -> None:
        self.group: mx.distributed.Group = mx.distributed.init(strict=True)
        self.rank, self.size = self.group.rank(), self.group.size()

    @property
    def last(self) -> bool:
        """Whether rank 0 comes after this one."""
        return self.rank == self.size - 1

    def send(self, array: mx.array) -> None:
        """Send an array to the next rank as soon as it is computed; does not wait."""
        following = (self.rank + 1) % self.size
        mx.async_eval(mx.distributed.send(array, following, group=self.group))

    def receive(self, shape: list[int] | tuple[int, ...], dtype: mx.Dtype) -> mx.array:
        """What the rank before sends; asked for at once, so that the order is kept."""
        before = (self.rank - 1) % self.size
        array = mx.distributed.recv(shape, dtype, before, group=self.group)
        mx.async_eval(array)
        return array

    def handed_on(self, shape: list[int] | tuple[int, ...], dtype: mx.Dtype) -> mx.array:
        """What rank 0 has sent to all."""
        array = self.receive(shape, dtype)
        if not self.last:
            self.send(array)
        return array

    def say(self, message: dict[str, Any]) -> None:
        """Rank 0: send a message to all others."""
        data = json.dumps(message).encode()
        data = len(data).to_bytes(LENGTH_BYTES, "little") + data
        self.send(_array(data[:FIRST_BYTES].ljust(FIRST_BYTES, b"\0")))
        if len(data) > FIRST_BYTES:
            self.send(_array(data[FIRST_BYTES:]))

    def hear(self) -> dict[str, Any]:
        """The others: the next message of rank 0; waits for it."""
        data = bytes(np.array(self.handed_on([FIRST_BYTES], mx.uint8)))
        length = int.from_bytes(data[:LENGTH_BYTES], "little")
        data = data[LENGTH_BYTES:]
        if length > len(data):
            data += bytes(np.array(self.handed_on([length - len(data)], mx.uint8)))
        return json.loads(data[:length])

    def gather(self, answer: dict[str, Any]) -> list[dict[str, Any]]:
        """Every rank's answer, by rank; waits for all."""
        data = json.dumps(answer).encode()
        if len(data) > ANSWER_BYTES - LENGTH_BYTES:
            data = json.dumps({"error": str(answer.get("error"))[: ANSWER_BYTES // 8]}).encode()
        data = len(data).to_bytes(LENGTH_BYTES, "little") + data
        mine = _array(data.ljust(ANSWER_BYTES, b"\0"))
        every = bytes(np.array(mx.distributed.all_gather(mine, group=self.group)))
        pieces = [every[i : i + ANSWER_BYTES] for i in range(0, len(every), ANSWER_BYTES)]
        return [json.loads(one[LENGTH_BYTES : LENGTH_BYTES + _length(one)]) for one in pieces]


def cut_connections() -> None:
    """End what MLX's ring waits for: a collective cannot be interrupted, but its sockets can.

    A thread that waits gets a RuntimeError then. Other backends than the ring have no sockets.
    """
    ports = _ring_ports()
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError, ValueError):
            copy = socket.socket(fileno=os.dup(int(name)))
            with copy:
                ends = [copy.getsockname(), copy.getpeername()]
                if any(isinstance(end, tuple) and end[1] in ports for end in ends):
                    copy.shutdown(socket.SHUT_RDWR)


def _ring_ports() -> set[int]:
    """The ports of the ring's hosts file."""
    file = os.environ.get("MLX_HOSTFILE")
    ring = json.loads(Path(file).read_text(encoding="utf-8")) if file else []
    return {int(address.rpartition(":")[2]) for addresses in ring for address in addresses}


def _array(data: bytes) -> mx.array:
    return mx.array(np.frombuffer(data, np.uint8))


def _length(data: bytes) -> int:
    return int.from_bytes(data[:LENGTH_BYTES], "little")
