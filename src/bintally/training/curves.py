"""Loss and accuracy over epochs, drawn."""

from collections.abc import Sequence
from pathlib import Path

from bintally import pages
from bintally.artifacts import write_text


def draw_curves(history: Sequence[dict[str, float]], *, best_epoch: int, blind_accuracy: float, target: Path) -> None:
    """Writes `target`, an SVG: loss and val accuracy; the kept epoch and the blind baseline marked."""
    from matplotlib.ticker import MaxNLocator

    figure, (losses, accuracy) = pages.axes_row(2, width_in=8.4, height_in=3.0)
    epochs = [row["epoch"] for row in history]
    losses.plot(
        epochs, [row["train_loss"] for row in history], color=pages.SECOND, marker="o", ms=3, label="train loss"
    )
    losses.plot(
        epochs, [row["log_loss"] for row in history], color=pages.ACCENT, marker="o", ms=3, label="val log loss"
    )
    losses.set_title("Loss", loc="left", fontsize=10, color=pages.INK)
    accuracy.plot(
        epochs, [row["accuracy"] for row in history], color=pages.ACCENT, marker="o", ms=3, label="val accuracy"
    )
    accuracy.axhline(blind_accuracy, color=pages.MUTED, lw=1, ls="--", label="blind: the commonest count")
    accuracy.set_title("Accuracy on val", loc="left", fontsize=10, color=pages.INK)
    for plot in (losses, accuracy):
        plot.axvline(best_epoch, color=pages.GOOD, lw=1, alpha=0.6)
        plot.set_xlabel("epoch (green: kept)", fontsize=8)
        plot.xaxis.set_major_locator(MaxNLocator(integer=True))
        plot.legend(frameon=False, fontsize=8)
    write_text(target, str(pages.svg(figure)))
