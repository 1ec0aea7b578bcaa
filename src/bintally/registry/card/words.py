"""What cards say in words: what these models are for and not for, and how figures are called."""

from typing import Final

from bintally.bundle import Figure
from bintally.counting.evaluation_page import TITLES, amount, interval, number, percent
from bintally.counting.report import Slice
from bintally.registry.card.told import Evaluation, ModelCard, Results, Row

NAMES: Final = TITLES | {
    "aurc": "Area under the risk-coverage curve",
    "set_coverage": "Recorded count within the set of counts",
}
SHARES: Final = ("accuracy", "within_one", "set_coverage")

SPLITS: Final = {"train": "trained on", "val": "chosen and calibrated on", "test": "judged on"}

USES: Final = (
    "Counting the items in a photo of one warehouse bin, to compare the count with the stock record.",
    "Choosing which bins a person should count first: those where photo and record are least likely to agree.",
)
USERS: Final = "Inventory teams, and the engineers of warehouse systems, robots and cameras that ask for counts."

NOT_FOR: Final = (
    "Photos of anything but a bin. Most are refused (`abstain`), not all.",
    "Telling products apart, or reading labels: it counts items of whatever kind.",
    "Changing a stock record, an order or a payment by its word alone. Have a person look, or use a policy whose "
    "error rate was measured on the site's own bins.",
    "Judging people: a wrong count is no sign of who made a mistake.",
    "Counts where an error harms somebody, such as medicines, without a second count.",
)

FACTORS: Final = (
    "How many items a bin holds, how many kinds of products, how items hide each other.",
    "Light, sharpness, size and encoding of the photo, and the camera it came from.",
    "The site: its bins, tape and products. A model has seen the sites of its photos and no others.",
)

ETHICS: Final = (
    "Photos may show hands or faces at the edge; nothing here looks for people, and none were labelled.",
    "Recorded counts are themselves sometimes wrong. What is learnt from them, and what is judged by them, has their "
    "errors in it.",
    "Fewer counts by hand change the work of those who count. Recounts by lot keep the figures honest.",
)

CAVEATS: Final = (
    "Figures hold for photos like those it was judged on. On another site, confirm some hundred counts and judge again "
    "(`bintally evaluate`) before its answers decide anything.",
    "Use the whole distribution or the set of counts: the most probable count alone hides how sure it is.",
    "Figures on val are a little too good: temperature, sets and thresholds were fitted there.",
)


def figure(row: Row) -> str:
    """As in "45.5% (42.4 to 48.7%)"."""
    share = row.name in SHARES
    return f"{_told(row.name, row.measured.value)} ({interval(row.measured, share=share)})"


def blind(row: Row, value: float | None) -> str:
    """A blind answer's figure, in the row's unit."""
    return _told(row.name, value)


def with_interval(measured: Figure | None, *, share: bool = True) -> str:
    """A figure with its interval; a dash where there is none."""
    if measured is None:
        return "-"
    return f"{percent(measured.value) if share else number(measured.value)} ({interval(measured, share=share)})"


def lead(card: ModelCard) -> str:
    """The card in one sentence: how often it is right, and what that is worth."""
    if not card.results:
        return "Nothing was measured."
    results = card.results[0]
    row = next((row for row in results.rows if row.name == "accuracy"), None)
    if row is None:
        return "How often it is right was not measured."
    told = [f"Exactly right on {figure(row)} of {amount(results.photos, 'photo')} of {results.split}"]
    if row.blind is not None:
        told.append(f"always giving train's commonest count: {percent(row.blind)}")
    if row.blind_in_hindsight is not None:
        told.append(f"the best constant answer in hindsight: {percent(row.blind_in_hindsight)}")
    return "; ".join(told) + "."


def worst_first(card: ModelCard) -> list[Slice]:
    """The slices with figures, the least often right first."""
    slices = () if card.evaluation is None else card.evaluation.slices
    measured = [(each.accuracy.value, each) for each in slices if each.accuracy is not None]
    return [each for _, each in sorted(measured, key=lambda pair: pair[0])]


def below_blind(card: ModelCard) -> list[str]:
    """The slices where always giving their commonest count would be right more often."""
    return [
        f"{each.by}: {each.value}"
        for each in worst_first(card)
        if each.accuracy is not None and each.blind_accuracy is not None and each.accuracy.value < each.blind_accuracy
    ]


def too_small(card: ModelCard) -> list[str]:
    """The slices with too few photos to say."""
    slices = () if card.evaluation is None else card.evaluation.slices
    return [f"{each.by}: {each.value} ({each.photos})" for each in slices if each.accuracy is None]


def calibration(card: ModelCard) -> str:
    """Whether its probabilities mean what they say."""
    if card.evaluation is None:
        return "Not measured for this card: `bintally models card --report REPORT` takes it from an evaluation."
    told = card.evaluation.calibration
    verdict = "no evidence of miscalibration" if told.ece <= told.ece_if_calibrated else "its probabilities are off"
    return (
        f"Calibration error (ECE) {number(told.ece)}; a perfectly calibrated model this sure shows up to "
        f"{number(told.ece_if_calibrated)} by chance: {verdict}."
    )


def energy(card: ModelCard) -> str:
    """What the training cost, as an estimate, or what is not known."""
    told, seconds = card.energy, card.training.seconds
    if seconds is None:
        return "Not known: nobody told how long the training took."
    took = f"Training took {duration(seconds)}"
    if told.kwh is None:
        return f"{took}. Energy: not known; `[card] power_w` of registry.toml says what the machine is assumed to draw."
    text = f"{took}; at an assumed {told.power_w:,g} W that is about {told.kwh:,.2g} kWh"
    if told.co2_g is None:
        return f"{text}. Carbon: not known; `[card] carbon_g_per_kwh` says what the electricity is assumed to emit."
    return (
        f"{text}, and at an assumed {told.carbon_g_per_kwh:,g} g of CO2 equivalent a kWh about {told.co2_g:,.2g} g. An "
        "estimate: nothing was measured, and only the last training's own time counts."
    )


def made_before(card: ModelCard) -> list[str]:
    """The runs and bundles that this training starts from or learns from, which must be made first."""
    start = (card.recipe.get("network") or {}).get("start")
    teachers = (card.recipe.get("teacher") or {}).get("runs") or ()
    return [str(place) for place in (start, *teachers) if place]


def duration(seconds: float) -> str:
    """5400 as "1 h 30 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def size(octets: int) -> str:
    """23700000 as "23.7 MB"."""
    return f"{octets / 1e6:,.1f} MB" if octets >= 1e5 else f"{octets / 1e3:,.1f} kB"


def judged_on(results: Results) -> str:
    """The photos that figures are of."""
    return f"{amount(results.photos, 'photo')} of {results.split}, counts {results.counts}"


def whose(card: ModelCard, evaluation: Evaluation) -> str:
    """Whether the model may have learnt from the photos that it was judged on."""
    if (card.recipe.get("split") or {}).get("how") == "random_that_leaks":
        return "They were drawn photo by photo: train shows many of their bins, and every figure is too good."
    if not evaluation.is_same_split:
        return "They are of another table of photos than its own: whether it learnt from some of them is not known."
    if evaluation.split not in ("val", "test"):
        return "It was trained on some of them."
    return "They are of the split that it was trained with, and none of them is in train."


def is_non_commercial(licence: str) -> bool:
    """Whether a licence forbids commercial use."""
    return "-NC" in licence or "non-commercial" in licence.lower()


def _told(name: str, value: float | None) -> str:
    return percent(value) if name in SHARES else number(value)
