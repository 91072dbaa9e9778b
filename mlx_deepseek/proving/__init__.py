"""Proving on this machine: a model writes, the user's Lean judges."""

from mlx_deepseek.proving.attempts import Attempt, rests_on
from mlx_deepseek.proving.lean import Lean, find_lean
from mlx_deepseek.proving.policy import ModelPolicy
from mlx_deepseek.proving.process import Limits, StopSignal
from mlx_deepseek.proving.prove import Proof, Search, prove
from mlx_deepseek.proving.statement import Theorem, read_theorem
from mlx_deepseek.proving.tree import TreeView
from mlx_deepseek.proving.verdict import Judge, Verdict
from mlx_deepseek.proving.with_model import prove_with_model, stream_proof

__all__ = [
    "Attempt",
    "Judge",
    "Lean",
    "Limits",
    "ModelPolicy",
    "Proof",
    "Search",
    "StopSignal",
    "Theorem",
    "TreeView",
    "Verdict",
    "find_lean",
    "prove",
    "prove_with_model",
    "read_theorem",
    "rests_on",
    "stream_proof",
]
