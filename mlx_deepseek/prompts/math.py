"""DeepSeek-Math (arXiv:2402.03300): the plain chat, and the request to reason step by step."""

STEP_BY_STEP = {
    "en": "\nPlease reason step by step, and put your final answer within \\boxed{}.",
    "zh": "\n请通过逐步推理来解答问题，并把最终答案放置于\\boxed{}中。",
}


def step_by_step(question: str, language: str = "en") -> str:
    """The question with DeepSeek's own request for a chain of thought; `language` en or zh."""
    return question + STEP_BY_STEP[language]
