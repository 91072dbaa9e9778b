"""The part of the settings that is about the app itself; `look.js` keeps it in the browser."""

from mlx_deepseek import __version__

ACCENTS = {"blue": "Blue", "violet": "Violet", "teal": "Teal", "green": "Green", "rose": "Rose"}
NOTICE = "When something long ends, out of sight"
NOTICES = {"off": "Never", "on": "Notify me"}
SIZES = {"small": "Small", "medium": "Medium", "large": "Large"}


def app_html() -> str:
    """Accent colour, text size, and what this is."""
    return (
        f"<h3>Appearance</h3>{_choices('accent', 'Accent colour', ACCENTS)}"
        f"{_choices('size', 'Text size', SIZES)}"
        f"<h3>Notifications</h3>{_choices('notify', NOTICE, NOTICES)}"
        '<p id="notify-note" role="status"></p>'
        '<h3>Keyboard</h3><p><button type="button" id="keys-button">List of keys</button></p>'
        f"<h3>About</h3><p>mlx-deepseek {__version__} · MIT</p>"
        "<p>Runs on this machine; nothing you write leaves it.</p>"
    )


def _choices(name: str, label: str, names: dict[str, str]) -> str:
    buttons = "".join(
        f'<button type="button" data-{name}="{value}" aria-pressed="false" title="{said}">'
        f"<span>{said}</span></button>"
        for value, said in names.items()
    )
    kind = "accents" if name == "accent" else "sizes"
    group = f'<div role="group" class="{kind}" aria-label="{label}">'
    return f"{group}<span>{label}</span>{buttons}</div>"
