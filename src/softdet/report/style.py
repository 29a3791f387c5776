"""One look for all plots: colours that colour-blind people can tell apart, and SVG that a page can restyle."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette, less its yellow, which is lost on white.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
INK, MUTED, GRID, PAPER = "#1d2329", "#5b6570", "#d9dee4", "#fefefd"
CYCLE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)
# The names under which a page may give these colours others, for a dark background.
_VARIABLES = {
    BLUE: "--blue",
    ORANGE: "--orange",
    GREEN: "--green",
    RED: "--red",
    PURPLE: "--purple",
    SKY: "--sky",
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--line",
    PAPER: "--card",
}
_LOOK: Any = {
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "5$"
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",  # letters stay letters: small files, and a reader can search them
}


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawn plot.

    Attributes:
        name: of its file.
        title: above it.
        alt: what it shows, in words and numbers, for those who can't see it.
        caption: below it, for those who can; may be empty.
        svg: the file's text, readable by itself on any background.
    """

    name: str
    title: str
    alt: str
    caption: str
    svg: str


@contextmanager
def figure(width: float, height: float, rows: int = 1) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure in the common look with so many axes, one below the other; draw and save it inside the block.

    Args:
        width: in inches.
        height: likewise.
        rows: how many axes.
    """
    with rc_context(_LOOK), warnings.catch_warnings():
        # Letters stay letters, so it doesn't matter that matplotlib's own font has no glyph for some class names.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")
        made = Figure(figsize=(width, height), layout="constrained")
        axes = made.subplots(rows, 1, sharex=rows > 1, squeeze=False)
        yield made, list(axes[:, 0])


def finished(made: Figure, name: str, title: str, alt: str, caption: str = "") -> Plot:
    """Write a figure as SVG, the same bytes for the same numbers."""
    file = io.StringIO()
    # None leaves out the date.
    with rc_context({"svg.hashsalt": name}):
        made.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    return Plot(name, title, alt, caption, file.getvalue())


def inline(plot: Plot) -> str:
    """A plot's SVG as a part of a page: its colours are the page's, its ids its own.

    Args:
        plot: drawn with this module's colours.
    """
    svg = plot.svg[plot.svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<title>.*?</title>", "", svg, count=1, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r'\bid="', f'id="{plot.name}-', svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{plot.name}-", svg)
    # Its size is the page's matter; only its shape is its own.
    return re.sub(
        r'(<svg[^>]*?) height="[^"]*"([^>]*?) width="[^"]*"|(<svg[^>]*?) width="[^"]*"', r"\1\2\3", svg, count=1
    )


def share(value: float) -> str:
    """A number of [0, 1] in percent, or a dash where there is none."""
    return f"{100 * value:.1f}" if value == value and value >= 0 else "-"
