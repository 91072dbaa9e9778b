"""Reading documents: pages in, what a model transcribes, Markdown with figures and boxes out."""

from mlx_deepseek.reading.answer import Block
from mlx_deepseek.reading.instructions import INSTRUCTIONS
from mlx_deepseek.reading.stream import ReadPage, read
from mlx_deepseek.reading.transcribe import ModelTranscriber
from mlx_deepseek.reading.transcript import Cost, Transcriber, Transcript
from mlx_deepseek.reading.write import DocumentFolder

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
