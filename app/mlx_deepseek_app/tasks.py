"""What a model that sees can be asked, by its prompt format."""

from mlx_deepseek.reading import INSTRUCTIONS

# A name on the page, and the prompt that it stands for; {} is what the user writes.
Task = tuple[str, str]

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
PICTURES: dict[str, tuple[Task, ...]] = {
    "vl_chat": (ASK, DESCRIBE),
    "vl2_chat": (
        ASK,
        ("Answer with boxes", "<|grounding|>{}"),
        (FIND, "<|ref|>{}<|/ref|>."),
        DESCRIBE,
    ),
    "ocr": (*READING, ASK),
}


def tasks(prompt_format: str) -> tuple[Task, ...]:
    """What a model can be asked of a picture."""
    return PICTURES.get(prompt_format, (ASK, DESCRIBE))


def prompt(offered: tuple[Task, ...], name: str, words: str) -> str:
    """The prompt of a task; "" while words that it needs are missing."""
    template = dict(offered).get(name, "{}")
    if "{}" not in template:
        return template
    return template.replace("{}", words.strip()) if words.strip() else ""
