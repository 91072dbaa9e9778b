"""What a model that sees can be asked, by what its prompt format and its reader know."""

from collections.abc import Collection

from mlx_deepseek.documents.instructions import INSTRUCTIONS

# A name on the page, and the prompt that it stands for; {} is what the user writes.
Task = tuple[str, str]

GROUNDING = "<|grounding|>"
QUESTION, FIND = "Answer a question", "Find a phrase"
ASK: Task = (QUESTION, "{}")
DESCRIBE: Task = ("Describe", INSTRUCTIONS["describe"])
MARKDOWN: Task = ("Document to Markdown", INSTRUCTIONS["markdown"])
READING: tuple[Task, ...] = (
    MARKDOWN,
    ("Text only", INSTRUCTIONS["free"]),
    ("Text with boxes", INSTRUCTIONS["ocr"]),
    ("Figure or chart", INSTRUCTIONS["figure"]),
    DESCRIBE,
    (FIND, "Locate <|ref|>{}<|/ref|> in the image."),
)
GROUNDED: tuple[Task, ...] = (
    ASK,
    ("Answer with boxes", GROUNDING + "{}"),
    (FIND, "<|ref|>{}<|/ref|>."),
    DESCRIBE,
)


def tasks(control_tokens: Collection[str], modes: Collection[str]) -> tuple[Task, ...]:
    """What can be asked of a picture: models with several modes were made for documents."""
    if modes:
        return (*READING, ASK)
    return GROUNDED if GROUNDING in control_tokens else (ASK, DESCRIBE)


def prompt(offered: tuple[Task, ...], name: str, words: str) -> str:
    """The prompt of a task; "" while words that it needs are missing."""
    template = dict(offered).get(name, "{}")
    if "{}" not in template:
        return template
    return template.replace("{}", words.strip()) if words.strip() else ""
