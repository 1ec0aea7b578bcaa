"""What finished trials say of val: their kept epoch's answers, with a temperature fitted there as export fits it.

Shapes: probabilities_nk float [N, K], N photos of val, K counts asked about.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from bintally.artifacts import write_bytes, write_json
from bintally.counting import metrics
from bintally.counting.predictions import PREDICTIONS, Predictions, read_predictions
from bintally.errors import CheckpointError
from bintally.training.features import folded_head
from bintally.training.finished import RECIPE, RUN, TrainReport, read_run
from bintally.training.loop import BEST
from bintally.training.network import WEIGHTS, build_network, read_weights
from bintally.training.plan import Plan
from bintally.training.recipe import Recipe
from bintally.training.run import CHECKPOINTS
from bintally.training.servable import corrected, fit_temperature
from bintally.training.told import write_told
from bintally.training.tune.search_state import Figures
from bintally.training.tune.trial import TrialEnd

BYTES: Final = 2
"""Of a weight in a bundle, as float16."""


def told(run: Path) -> Predictions:
    """What a finished run says of val, as it would once a temperature is fitted.

    Its probabilities are prior-corrected; taking that back leaves the logits up to a constant, also where only some
    counts are asked about.

    Raises:
        CheckpointError: `run` is no finished run.
        DataError: it holds no predictions.
    """
    _, report = read_run(run)
    found = read_predictions(run / PREDICTIONS)
    ratio_k = np.array([report.target_prior[key] / report.train_prior[key] for key in found.keys])
    logits_nk = np.log(np.maximum(found.probabilities_nk, 1e-12)) - np.log(ratio_k)
    logits_mvnk, ratio_mk = torch.from_numpy(logits_nk)[None, None], torch.from_numpy(ratio_k)[None]
    temperature = fit_temperature(logits_mvnk, torch.from_numpy(found.labels_n), ratio_mk)
    probabilities_nk = corrected(logits_mvnk, ratio_mk, temperature).numpy()
    return Predictions(
        found.ids_n, found.groups_n, found.recorded_n, found.keys, found.labels_n, probabilities_nk.astype(np.float64)
    )


def figures_of(answers: Predictions, values_k: NDArray[np.float64], *, seed: int = 0) -> Figures:
    """How good answers are; intervals resampled by bin. `values_k` is what each key counts as."""
    probabilities_nk, labels_n = answers.probabilities_nk, answers.labels_n
    found = metrics.headline(probabilities_nk, labels_n, values_k, groups_n=answers.groups_n, seed=seed)
    return Figures(
        photos=len(answers),
        accuracy=found["accuracy"],
        rmse=found["rmse"],
        log_loss=found["log_loss"],
        ece=metrics.ece(probabilities_nk, labels_n),
        ece_if_calibrated=metrics.ece_if_calibrated(probabilities_nk, seed=seed),
    )


def asked_values(plan: Plan) -> NDArray[np.float64]:
    """What each count asked about counts as, [K]."""
    return plan.values_k[plan.target.asked_k]


def blind(plan: Plan, answers: Predictions) -> dict[str, float]:
    """Figures on val of the best answers that never look at a photo, fitted on train."""
    return metrics.blind_baselines(plan.train_prior_k[plan.target.asked_k], answers.labels_n, asked_values(plan))


def size_mb(run: Path) -> float:
    """Megabytes of a run's weights as a bundle keeps them."""
    return sum(weight.numel() for weight in read_weights(run / WEIGHTS).values()) * BYTES / 1e6


def finish(run: Path, recipe: Recipe, data: Path, end: TrialEnd) -> bool:
    """Makes a finished run of a trial that was stopped, from its best epoch; whether there was one.

    Raises:
        CheckpointError: what was kept is not whole.
    """
    best = run / CHECKPOINTS / BEST
    if (run / RUN).is_file() or not (best.is_file() and end.best):
        return (run / RUN).is_file()
    plan = Plan.of(recipe, data)
    frozen = recipe.network.tune == "head"
    network, _ = build_network(recipe.network, len(plan.keys), pretrained=frozen)
    try:
        state = load_file(best)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{best} is not whole: {error}.", hint="Start again with --fresh.") from error
    if frozen:
        network.head().load_state_dict(folded_head(state))
    else:
        network.load_state_dict(state)
    write_bytes(run / WEIGHTS, save({name: value.contiguous() for name, value in network.weights().items()}))
    write_told(plan, run / CHECKPOINTS, run)
    write_json(run / RECIPE, recipe.model_dump(mode="json"))
    write_bytes(run / RUN, msgspec.json.format(msgspec.json.encode(_report(plan, run, end)), indent=2))
    return True


def _report(plan: Plan, run: Path, end: TrialEnd) -> TrainReport:
    def by_key(values_k: Sequence[float]) -> dict[str, float]:
        return dict(zip(plan.keys, values_k, strict=True))

    return TrainReport(
        recipe=plan.recipe.name,
        run=str(run),
        identity=plan.identity(),
        dataset=plan.dataset,
        weights=f"stopped at its deadline, {len(end.history)} epochs judged",
        keys=plan.keys,
        values=by_key(plan.values_k.tolist()),
        train_prior=by_key(plan.train_prior_k.tolist()),
        target_prior=by_key(plan.target_prior_k.tolist()),
        train_photos=plan.train.height,
        val_photos=plan.val.height,
        best=end.best,
        blind_accuracy=0.0,
        history=end.history,
        resumed_at_step=0,
        stopped_early=True,
        seconds=end.seconds,
        photos_per_s=0.0,
    )
