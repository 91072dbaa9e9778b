"""What an empty chat shows: the model, and four things to begin with."""

from html import escape

from mlx_deepseek_app.jobs.model_info import ModelFacts
from mlx_deepseek_app.widgets.icons import icon

SHOWN = 4
PRIVATE = "Runs on this machine; nothing you write leaves it."
NOTES = {
    "nano": "A tiny DeepSeek-V3 that comes with this app. It does sums, sorting, counting and "
    "dates, and shows how it thinks; it knows nothing else.",
    "nano-ocr": "A tiny DeepSeek-OCR that comes with this app. It reads a few printed words.",
    "nano-prover": "A tiny DeepSeek-Prover that comes with this app. It goes on with Lean proofs: "
    "small inductions, witnesses, chains of hypotheses and cases.",
}
# fact of a model, page, icon, words
PAGES = (
    ("sees", "documents", "file-text", "Read a document"),
    ("sees", "pictures", "image", "Ask about a picture"),
    ("draws", "draw", "palette", "Draw a picture"),
    ("fills", "code", "code", "Fill a gap in code"),
    ("proves", "prove", "sigma", "Prove a statement"),
)
# the script shows here what is on its way
LOADS = '<div class="loads" data-loads></div>'
STARTING = f"<h2>One moment</h2>{LOADS}"
MORE = ("models", "box", "Get a model for conversation")


def hero_html(known: ModelFacts) -> str:
    """Above the message box of an empty chat."""
    if not known.name:
        return "<h2>No model yet</h2><p>Choose one below, or get one under Models.</p>" + LOADS
    return f"<h2>What can I do for you?</h2><p>{escape(NOTES.get(known.name, PRIVATE))}</p>"


def suggestions_html(known: ModelFacts) -> str:
    """Below it: pages that this model is for, then its own starter prompts."""
    pages = [(page, drawn, words) for fact, page, drawn, words in PAGES if getattr(known, fact)]
    if known.name in NOTES or not known.name:
        pages.append(MORE)
    asked = [text for text in known.suggestions if "<|" not in text and not known.sees]
    items = [_ask(text) for text in asked[: SHOWN - len(pages)]]
    items += [f'<a href="#{page}">{icon(drawn)}{words}</a>' for page, drawn, words in pages[:SHOWN]]
    return f'<ul aria-label="Suggestions">{"".join(f"<li>{item}</li>" for item in items)}</ul>'


def _ask(text: str) -> str:
    said = escape(text)
    return f'<button type="button" data-ask="{said}">{icon("sparkles")}<span>{said}</span></button>'
