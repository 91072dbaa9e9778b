"""Pictures of what is under the hood, as HTML: heat maps and bars. All text escaped."""

from html import escape

import numpy as np

from mlx_deepseek.insight import CacheWidths, Routing, Selection

CELL, GAP, LEFT, TOP = 14, 2, 70, 22  # of heat maps, in units of their pictures
CELLS = 48  # on a side, of tokens by tokens


def section(title: str, html: str) -> str:
    """A part of the page."""
    return f'<section class="hood"><h3>{escape(title)}</h3>{html}</section>'


def cache_html(widths: CacheWidths, layers: int) -> str:
    """Bars of bytes that a token takes in a 16-bit cache."""
    rows = [("This model", widths.used)]
    if widths.gqa < widths.mha:
        rows.append((f"Grouped queries ({widths.groups} groups)", widths.gqa))
    rows.append(("All heads (MHA)", widths.mha))
    most = max(number for _, number in rows)
    bars = "".join(
        f"<tr><th scope='row'>{name}</th><td><span class='bar' style='width:{100 * n / most:.1f}%'>"
        f"</span></td><td>{2 * n:,} bytes</td></tr>"
        for name, n in rows
    )
    return section(
        f"Cache for one token, {layers} layers, 16 bits", f"<table class='bars'>{bars}</table>"
    )


def routing_html(routing: Routing) -> str:
    """A heat map of experts by layer, and how even each layer is."""
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
    picture = (
        f'<div class="heat"><svg viewBox="0 0 {width} {height}" style="width:{width}px" role="img" '
        f'aria-label="Tokens by layer and expert; the same numbers are in the table below">'
        f'<text x="{LEFT}" y="14">experts 0 to {experts - 1}</text>{names}{cells}</svg></div>'
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
    return section("Experts", words + picture + table)


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
        f'<div class="heat"><svg viewBox="0 0 {LEFT + size} {TOP + size}" style="width:'
        f'{LEFT + size}px" role="img" aria-label="Tokens from top to bottom, and to the right the '
        f'earlier ones that they attend to"><text x="{LEFT}" y="14">earlier tokens</text>'
        f'<text x="{LEFT - 8}" y="{TOP + CELL - 3}" text-anchor="end">each token</text>{cells}'
        "</svg></div>"
    )
    return section("Sparse attention", words + picture)


def dense_html() -> str:
    """That there is no choice to show."""
    says = "This model attends to all earlier tokens: it has no indexer."
    return section("Sparse attention", f"<p>{says}</p>")


def drafts_html(drafted: int, accepted: int) -> str:
    """How often the multi-token prediction layer was right."""
    if not drafted:
        return section("Drafted tokens", "<p>Drafting did not pay on this machine just now.</p>")
    return section(
        "Drafted tokens",
        f"<p>The multi-token prediction layer drafted {drafted} tokens of an answer; {accepted} "
        f"({accepted / drafted:.0%}) were what the model itself wrote.</p>",
    )
