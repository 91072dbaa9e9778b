"""A loaded model as a writer of proofs: its prompts, and what its answers say."""

import re
from collections.abc import Generator, Sequence
from typing import Any, Protocol

from mlx_deepseek.errors import LeanError, PromptError
from mlx_deepseek.generation.results import Chunk
from mlx_deepseek.generation.sampling import Sampling
from mlx_deepseek.prompts.formats import prover
from mlx_deepseek.proving.lean_text import commands
from mlx_deepseek.proving.process import StopSignal
from mlx_deepseek.proving.session import ProofRequest, Written
from mlx_deepseek.proving.statement import Theorem
from mlx_deepseek.proving.verdict import form_of, own_part

TEMPERATURE, TOP_P = 1.0, 0.95  # Prover V1.5's own settings
LONGEST_BODY, LONGEST_ANSWER = 2048, 8192  # tokens: V1.5's, V2's
LAST_INDENT = re.compile(r"^( *)\S[^\n]*\n\Z", re.MULTILINE)


class TextModel(Protocol):
    """What is asked of an engine."""

    name: str
    prompt_format: Any

    def stream(
        self, prompt: Any, *, max_tokens: int | None, sampling: Sampling | None
    ) -> Generator[Chunk]:
        """The answer in pieces."""
        ...


class ModelPolicy:
    """Asks a model for proofs: V1 and V1.5 go on with them, others write a file in a chat.

    `cot` asks for comments or a plan first (None: as the model does best, V2 with a plan);
    `examples` are solved statements for a base model; `stop` ends an answer.

    Raises:
        PromptError: V1 is asked for comments, which it was not trained to write.
    """

    batch = 1  # answers at once

    def __init__(
        self,
        model: TextModel,
        *,
        cot: bool | None = None,
        max_tokens: int | None = None,
        temperature: float = TEMPERATURE,
        top_p: float = TOP_P,
        examples: Sequence[tuple[str, str]] = (),
        stop: StopSignal | None = None,
    ):
        self.model = model
        self.name = model.name
        self.completes = not model.prompt_format.supports_chat
        if cot and model.prompt_format.id == "prover_v1":
            raise PromptError(f"{self.name}: Prover V1 writes no comments. Leave `cot` out.")
        self.cot = (not self.completes) if cot is None else cot
        self.max_tokens = max_tokens or (LONGEST_BODY if self.completes else LONGEST_ANSWER)
        self.temperature, self.top_p = temperature, top_p
        self.examples = tuple(examples)
        self.stop = stop

    def write(self, requests: Sequence[ProofRequest]) -> list[Written]:
        """An answer to each request, in order."""
        return [self._written(request) for request in requests]

    def prompt(self, request: ProofRequest) -> str:
        """What the model is given: text to go on with, or a user's message."""
        theorem = request.theorem
        if self.completes:
            return self._completion(request)
        code = f"{theorem.before}{theorem.statement}\n  sorry"
        if request.sketch:
            return prover.sketch_question(code)
        asked = prover.question(code, cot=self.cot)
        return prover.repair_question(asked, *request.failed) if request.failed else asked

    def _completion(self, request: ProofRequest) -> str:
        theorem, shown = request.theorem, ""
        if request.goal:
            found = LAST_INDENT.search(request.body)
            shown = prover.state_comment(request.goal, len(found[1]) if found else 2)
        before = prover.repair_comment(*request.failed) if request.failed else ""
        text = f"{theorem.statement}\n{request.body}{shown}"
        asked = prover.completion(text, header=theorem.before, informal=before, cot=self.cot)
        return prover.few_shot(self.examples, cot=self.cot) + asked

    def _written(self, request: ProofRequest) -> Written:
        sampling = Sampling(
            temperature=self.temperature, top_p=self.top_p, seed=request.seed % 2**63
        )
        chunks = self.model.stream(
            self.prompt(request), max_tokens=self.max_tokens, sampling=sampling
        )
        text, tokens = [], 0
        try:
            for chunk in chunks:
                text.append(chunk.text)
                tokens = chunk.usage.completion_tokens
                if self.stop is not None and self.stop.is_set:
                    break
        finally:
            chunks.close()
        answer = "".join(text).replace("\r\n", "\n")
        if self.completes:
            return Written(request.body + prover.proof_of(answer), "body", tokens)
        return as_written(prover.code_of(answer), request.theorem, tokens)


def as_written(code: str, theorem: Theorem, tokens: int = 0) -> Written:
    """A file as a proof's body, where it holds the theorem word for word and nothing else."""
    try:
        own = own_part(code, theorem)
        found = commands(own)
    except LeanError:
        return Written(code, form_of(code), tokens)
    if len(found) == 1:
        words = r"\s+".join(map(re.escape, theorem.signature.split()))
        if opening := re.match(rf"[^:]*?\b(?:theorem|lemma)\s+{words}[^\S\n]*(\n)?", own.lstrip()):
            body = own.lstrip()[opening.end() :]
            if opening[1] or "\n" not in body.strip():
                return Written(body if opening[1] else f"  {body.strip()}", "body", tokens)
    return Written(code, form_of(code), tokens)
