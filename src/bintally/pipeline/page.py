"""`bintally pipeline show --out`: the graph and the last runs as a page of its own."""

from pathlib import Path
from typing import Final

from markupsafe import Markup, escape

from bintally import pages
from bintally.artifacts import write_text
from bintally.pipeline.drawing import MARKS, essential, lines_of
from bintally.pipeline.seen import Seen, SeenStage
from bintally.pipeline.words import duration, moment

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y = 118, 46, 30, 30  # px of a box, and between boxes
_ROW: Final = 5  # boxes in a row of the trunk
_COLOURS: Final = {
    "done": pages.GOOD, "running": pages.SECOND, "failed": pages.BAD, "killed": pages.BAD,
    "skipped": pages.ACCENT, "stopped": pages.ACCENT,
}  # fmt: skip


def write_page(seen: Seen, out: Path) -> None:
    """Writes the page.

    Raises:
        StorageError: disk full, or no permission.
    """
    html = pages.render(
        "pipeline.html",
        seen=seen,
        graph=_graph(seen.stages),
        marks={status: mark for status, (mark, _) in MARKS.items()},
        lines_of=lines_of,
        duration=duration,
        moment=moment,
    )
    write_text(out, html)


def _graph(stages: tuple[SeenStage, ...]) -> Markup:
    """The stages as boxes joined by arrows, row by row; colours say what last became of each."""
    places = {stage.name: _place(index) for index, stage in enumerate(stages)}
    arrows = [_arrow(places[before], places[after]) for before, after in essential(stages)]
    boxes = [_box(stage, *places[stage.name]) for stage in stages]
    rows = (len(stages) - 1) // _ROW + 1
    width, height = _ROW * (_WIDTH + _GAP_X), rows * (_HEIGHT + _GAP_Y) + 4
    head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="stages">').format(width, height)
    marker = Markup(
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="{}"/></marker></defs>'
    ).format(pages.MUTED)
    return head + marker + Markup("").join([*arrows, *boxes]) + Markup("</svg>")


def _place(index: int) -> tuple[int, int]:
    """The upper left corner of the box that comes as number `index`."""
    row, column = divmod(index, _ROW)
    return _GAP_X // 2 + column * (_WIDTH + _GAP_X), _GAP_Y + row * (_HEIGHT + _GAP_Y)


def _box(stage: SeenStage, x: int, y: int) -> Markup:
    status = stage.last.status if stage.last else None
    colour = _COLOURS.get(status or "", pages.MUTED)
    told = f"{MARKS[status][0]} {status}" if status else "not yet"
    reason = stage.last.reason if stage.last else ""
    return Markup(
        '<g><title>{reason}</title><rect x="{x}" y="{y}" width="{w}" height="{h}" rx="7" fill="#fff" stroke="{colour}" '
        'stroke-width="2"{dashes}/><text x="{tx}" y="{name_y}" font-weight="600" fill="{ink}">{name}</text>'
        '<text x="{tx}" y="{told_y}" font-size="11" fill="{colour}">{told}</text></g>'
    ).format(
        reason=escape(reason), x=x, y=y, w=_WIDTH, h=_HEIGHT, colour=colour, ink=pages.INK, name=stage.name, told=told,
        tx=x + 12, name_y=y + 20, told_y=y + 36, dashes="" if status else Markup(' stroke-dasharray="4 4"'),
    )  # fmt: skip


def _arrow(before: tuple[int, int], after: tuple[int, int]) -> Markup:
    """From box to box: straight to the next one, else along the gap above or below."""
    (x0, y0), (x1, y1) = before, after
    middle = _HEIGHT // 2
    if y0 == y1 and x1 - x0 == _WIDTH + _GAP_X:
        path = f"M{x0 + _WIDTH} {y0 + middle}H{x1 - 1}"
    elif y0 == y1:
        path = f"M{x0 + _WIDTH // 2} {y0}V{y0 - 14}H{x1 + _WIDTH // 2}V{y1 - 1}"
    else:
        path = f"M{x0 + _WIDTH // 2} {y0 + _HEIGHT}V{y1 - 15}H{x1 + _WIDTH // 2}V{y1 - 1}"
    return Markup('<path d="{}" fill="none" stroke="{}" stroke-width="1.4" marker-end="url(#tip)"/>').format(
        path, pages.MUTED
    )
