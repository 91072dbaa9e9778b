"""Reading documents: pages in, what a model transcribes, Markdown with figures and boxes out."""

from mlx_deepseek.documents.blocks import Block
from mlx_deepseek.documents.instructions import INSTRUCTIONS
from mlx_deepseek.documents.read import ReadPage, read
from mlx_deepseek.documents.transcribe import ModelTranscriber
from mlx_deepseek.documents.transcript import Cost, Transcriber, Transcript
from mlx_deepseek.documents.write import DocumentFolder

__all__ = [
    "INSTRUCTIONS",
    "Block",
    "Cost",
    "DocumentFolder",
    "ModelTranscriber",
    "ReadPage",
    "Transcriber",
    "Transcript",
    "read",
]
