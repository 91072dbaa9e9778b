"""Heat maps under the hood: experts by layer, token by token, and tokens by earlier tokens."""

import json
from collections.abc import Sequence
from html import escape

import numpy as np

from mlx_deepseek.engine.inspect import Routing, Selection
from mlx_deepseek_app.widgets.icons import icon
from mlx_deepseek_app.widgets.markdown import escaped

CELL, GAP, LEFT, TOP = 14, 2, 70, 22  # of heat maps, in units of their pictures
CELLS = 48  # on a side, of tokens by tokens
# it may be wider than the page: who has no mouse scrolls it, too
HEAT = '<div class="heat" tabindex="0" role="group" aria-label="Heat map">'


def section(title: str, html: str) -> str:
    """A part of the page."""
    return f'<section class="inspect"><h3>{escape(title)}</h3>{html}</section>'


def routing_html(routing: Routing, answer: Sequence[str] = ()) -> str:
    """A heat map of experts by layer, and how even each layer is.

    `answer` are the last tokens' texts; the map is played over them.
    """
    if not routing.layers:
        return section("Experts", "<p>This model is dense: every token uses all of it.</p>")
    layers, experts = routing.counts.shape
    width, height = LEFT + experts * (CELL + GAP), TOP + layers * (CELL + GAP)
    most = max(int(routing.counts.max()), 1)
    cells = "".join(
        cell(e, m, count / most)
        + f"<title>layer {layer}, expert {e}: {count} of {routing.tokens} tokens</title></rect>"
        for m, (layer, row) in enumerate(zip(routing.layers, routing.counts, strict=True))
        for e, count in enumerate(map(int, row))
    )
    names = "".join(
        f'<text x="{LEFT - 8}" y="{TOP + m * (CELL + GAP) + CELL - 3}" text-anchor="end">'
        f"layer {layer}</text>"
        for m, layer in enumerate(routing.layers)
    )
    ticks = "".join(
        f'<text x="{LEFT + e * (CELL + GAP) + CELL / 2}" y="14" text-anchor="middle">{e}</text>'
        for e in range(0, experts, max(1, -(-experts * 2 // CELLS)))
    )
    picture = (
        f'{HEAT}<svg viewBox="0 0 {width} {height}" {wide(width)} role="img" '
        f'aria-label="Tokens by layer and expert; the same numbers are in the table below">'
        f'<text x="{LEFT - 8}" y="14" text-anchor="end">expert</text>{ticks}{names}{cells}</svg>'
        f"{legend('no token', f'{most} tokens', bool(answer))}</div>"
    )
    rows = "".join(
        f"<tr><th scope='row'>{layer}</th><td>{balance:.2f}</td><td>{idle} of {experts}</td></tr>"
        for layer, balance, idle in zip(routing.layers, routing.balance, routing.idle, strict=True)
    )
    table = (
        "<table class='facts'><tr><th scope='col'>Layer</th><th scope='col'>Busiest over mean</th>"
        f"<th scope='col'>Not chosen</th></tr>{rows}</table>"
    )
    words = (
        f"<p>{routing.tokens} tokens chose {routing.per_token} of {experts} experts in each layer; "
        f"the darkest cell is {most} tokens.</p>"
    )
    return section("Experts", words + player_html(routing, answer) + picture + table)


def player_html(routing: Routing, answer: Sequence[str]) -> str:
    """The answer's tokens, and what `hood.js` needs to show each one's experts on the map.

    For each token: the numbers of its cells, row by row.
    """
    if not answer:
        return ""
    layers, experts = routing.counts.shape
    last = routing.chosen[:, -len(answer) :] + np.arange(layers)[:, None, None] * experts
    cells = [last[:, at].ravel().tolist() for at in range(len(answer))]
    texts = "".join(
        f'<span data-token="{at}">{escaped(text)}</span>' for at, text in enumerate(answer)
    )
    return (
        f'<div class="player" data-cells="{json.dumps(cells, separators=(",", ":"))}">'
        '<div class="player-bar"><button type="button" data-act="play">'
        f'{icon("play")}<span>Play</span></button><input type="range" min="0" '
        f'max="{len(answer) - 1}" value="0" aria-label="Token of the answer"></div>'
        f'<p class="tokens" dir="auto">{texts}</p></div>'
    )


def wide(width: int) -> str:
    """How large a heat map is drawn: small ones larger, for the eye."""
    return f'style="width:{width * max(1.0, min(1.7, 640 / width)):.0f}px"'


def legend(least: str, most: str, played: bool = False) -> str:
    """What the palest and the darkest cell mean, and those with a frame."""
    frame = "<span><b></b>chosen by the marked token</span>" if played else ""
    return f'<p class="legend"><span>{least}</span><i></i><span>{most}</span>{frame}</p>'


def cell(column: int, row: int, share: float) -> str:
    """The beginning of a square of a heat map; `share` 1 is the darkest."""
    return (
        f'<rect x="{LEFT + column * (CELL + GAP)}" y="{TOP + row * (CELL + GAP)}" width="{CELL}" '
        f'height="{CELL}" rx="2" fill-opacity="{0.06 + 0.94 * share:.2f}">'
    )


def binned(counts: np.ndarray, at_most: int = CELLS) -> tuple[np.ndarray, int]:
    """Sums of squares of so many cells that at most `at_most` are left, and the squares' width."""
    step = -(-len(counts) // at_most)
    edges = np.arange(0, len(counts), step)
    return np.add.reduceat(np.add.reduceat(counts, edges, axis=0), edges, axis=1), step


def selection_html(selection: Selection) -> str:
    """A picture of which tokens attend to which earlier ones."""
    tokens, layers = len(selection.counts), selection.layers
    possible, step = binned(np.tri(tokens, dtype=np.int64) * layers)
    chosen, _ = binned(selection.counts)
    size = len(chosen) * (CELL + GAP)
    cells = "".join(
        cell(k, q, chosen[q, k] / possible[q, k])
        + f"<title>token {q * step}, earlier token {k * step}: chosen in {chosen[q, k]} of "
        f"{possible[q, k]} cases</title></rect>"
        for q in range(len(chosen))
        for k in range(q + 1)
    )
    share = selection.counts.sum() / (np.tri(tokens).sum() * layers)
    words = (
        f"<p>Each token attends to the {selection.per_token:,} earlier ones that the lightning "
        f"indexer chooses: {share:.0%} of what {tokens:,} tokens could attend to in {layers} "
        "layers.</p>"
    )
    picture = (
        f'{HEAT}<svg viewBox="0 0 {LEFT + size} {TOP + size}" {wide(LEFT + size)} '
        f'role="img" aria-label="Tokens from top to bottom, and to the right the '
        f'earlier ones that they attend to"><text x="{LEFT}" y="14">earlier tokens</text>'
        f'<text x="{LEFT - 8}" y="{TOP + CELL - 3}" text-anchor="end">each token</text>{cells}'
        f"</svg>{legend('never', 'always')}</div>"
    )
    return section("Sparse attention", words + picture)
