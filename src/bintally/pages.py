"""Pages and plots in one house style: self-contained HTML, inline SVG, photos as data URIs.

matplotlib is imported only where something is drawn; templates stand in `templates/` and extend `base.html`.
"""

import base64
import io
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK: Final = "#1f2933"
MUTED: Final = "#7b8794"
GRID: Final = "#e4e7eb"
ACCENT: Final = "#d9822b"  # cardboard orange: the measured thing
SECOND: Final = "#2f6f8f"  # slate blue: what it is compared with
GOOD: Final = "#2f855a"
BAD: Final = "#c53030"
SEQUENTIAL: Final = "YlOrBr"  # matplotlib colour map for counts and matrices


def render(template: str, **context: Any) -> str:
    """A template of `templates/` as HTML; text is escaped, an undefined name is an error."""
    return _environment().get_template(template).render(**context)


def axes(width_in: float = 5.2, height_in: float = 3.0) -> "tuple[Figure, Axes]":
    """An empty figure in the house style: no box, light grid, room for few words."""
    figure, (plot,) = axes_row(1, width_in=width_in, height_in=height_in)
    return figure, plot


def axes_row(plots: int, *, width_in: float, height_in: float) -> "tuple[Figure, list[Axes]]":
    """Several empty plots beside each other, in the house style."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    row = list(figure.subplots(1, plots, squeeze=False)[0])
    for plot in row:
        _style(plot)
    return figure, row


def _style(plot: "Axes") -> None:
    plot.spines[["top", "right"]].set_visible(False)
    plot.spines[["left", "bottom"]].set_color(MUTED)
    plot.grid(visible=True, axis="y", color=GRID, linewidth=0.8)
    plot.set_axisbelow(True)
    plot.tick_params(colors=MUTED, labelsize=8, length=0)
    plot.xaxis.label.set_color(INK)
    plot.yaxis.label.set_color(INK)


def svg(figure: "Figure") -> Markup:
    """A figure as inline SVG that scales with the page; text stays text."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bintally", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])  # noqa: S704 - drawn by us, its labels escaped by matplotlib


def data_uri(photo: bytes | Image.Image, *, longest_px: int = 320, quality: int = 80) -> str:
    """A photo as a small JPEG data URI, for a page that needs no other file."""
    image = Image.open(io.BytesIO(photo)) if isinstance(photo, bytes) else photo
    image = image.convert("RGB")
    image.thumbnail((longest_px, longest_px))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("bintally"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
