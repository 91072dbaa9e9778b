"""Proving with a loaded model and the Lean of this machine, at once or attempt by attempt."""

from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from mlx_deepseek.prompts.formats.prover import HEADER
from mlx_deepseek.proving import tree
from mlx_deepseek.proving.attempts import Attempt
from mlx_deepseek.proving.lean import Lean, find_lean
from mlx_deepseek.proving.policy import ModelPolicy, TextModel
from mlx_deepseek.proving.process import StopSignal
from mlx_deepseek.proving.prove import Proof, Search, prove
from mlx_deepseek.proving.statement import Theorem, read_theorem
from mlx_deepseek.proving.tree import TreeView

QUIET_S = 0.3


def prove_with_model(
    model: TextModel | None,
    statement: str | Theorem,
    *,
    context: str = "",
    lean: Lean | str | Path | None = None,
    project: str | Path | None = None,
    filler: TextModel | None = None,
    cot: bool | None = None,
    max_tokens: int | None = None,
    progress: Callable[[Attempt], None] | None = None,
    watch_tree: Callable[[tree.Node], None] | None = None,
    stop: StopSignal | None = None,
    **search: Any,
) -> Proof:
    """`prove` for a text, with a loaded model and the Lean of this machine.

    `context` precedes the statement; where nothing is imported and Mathlib is there, it is.
    """
    if not isinstance(lean, Lean):
        lean = find_lean(lean, project=project)
    lean = replace(lean, stop=stop or lean.stop or StopSignal())
    if not isinstance(statement, Theorem):
        header = HEADER if lean.has_mathlib else ""
        statement = read_theorem(f"{context}\n\n{statement}" if context else statement, header)
    options: dict[str, Any] = {"cot": cot, "max_tokens": max_tokens, "stop": lean.stop}
    return prove(
        statement,
        lean,
        ModelPolicy(model, **options) if model is not None else None,
        Search(**search),
        filler=ModelPolicy(filler, cot=False, stop=lean.stop) if filler is not None else None,
        progress=progress,
        watch_tree=watch_tree,
    )


def stream_proof(
    model: TextModel | None, statement: str | Theorem, **options: Any
) -> Generator[Attempt | TreeView | Proof | None]:
    """Attempts as they are made, at last the proof; options as in `prove_with_model`.

    A tree search shows its tree after each round.

    None comes while nothing happens, so that the caller can close the generator, which ends Lean
    and the model's answer at once.

    Raises:
        LeanError: as `prove_with_model`.
    """
    events: SimpleQueue[Attempt | TreeView | Proof | BaseException] = SimpleQueue()
    stop = options.setdefault("stop", StopSignal())
    options.setdefault("watch_tree", lambda root: events.put(tree.view(root)))

    def work() -> None:
        try:
            events.put(prove_with_model(model, statement, progress=events.put, **options))
        except BaseException as error:
            events.put(error)

    thread = Thread(target=work, name="mlx-deepseek-proof", daemon=True)
    thread.start()
    try:
        while True:
            try:
                event = events.get(timeout=QUIET_S)
            except Empty:
                yield None
                continue
            if isinstance(event, BaseException):
                raise event
            yield event
            if isinstance(event, Proof):
                return
    finally:
        stop.stop()
        thread.join()
