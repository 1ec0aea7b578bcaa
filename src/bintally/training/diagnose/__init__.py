"""Rules that watch a training and say what ails it: SageMaker Debugger's, on today's PyTorch, and some more.

Names load when first used: settings of a recipe need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bintally.training.diagnose.activation_rules import DeadRelu as DeadRelu
    from bintally.training.diagnose.activation_rules import PoorWeightInitialization as PoorWeightInitialization
    from bintally.training.diagnose.activation_rules import SaturatedActivation as SaturatedActivation
    from bintally.training.diagnose.answer_rules import CheckInputImages as CheckInputImages
    from bintally.training.diagnose.answer_rules import ClassImbalance as ClassImbalance
    from bintally.training.diagnose.answer_rules import Confusion as Confusion
    from bintally.training.diagnose.callback import Diagnose as Diagnose
    from bintally.training.diagnose.finding import Finding as Finding
    from bintally.training.diagnose.loss_rules import LossNotDecreasing as LossNotDecreasing
    from bintally.training.diagnose.loss_rules import Overfit as Overfit
    from bintally.training.diagnose.loss_rules import Overtraining as Overtraining
    from bintally.training.diagnose.rule import Rule as Rule
    from bintally.training.diagnose.run_rules import SimilarAcrossRuns as SimilarAcrossRuns
    from bintally.training.diagnose.run_rules import StalledTrainingRule as StalledTrainingRule
    from bintally.training.diagnose.tensor_rules import AllZero as AllZero
    from bintally.training.diagnose.tensor_rules import ExplodingTensor as ExplodingTensor
    from bintally.training.diagnose.tensor_rules import TensorVariance as TensorVariance
    from bintally.training.diagnose.tensor_rules import UnchangedTensor as UnchangedTensor
    from bintally.training.diagnose.tensor_rules import VanishingGradient as VanishingGradient
    from bintally.training.diagnose.tensor_rules import WeightUpdateRatio as WeightUpdateRatio
    from bintally.training.diagnose.watcher import Watcher as Watcher
    from bintally.training.diagnose.watcher import watch as watch

_HOMES = {
    "activation_rules": ("DeadRelu", "PoorWeightInitialization", "SaturatedActivation"),
    "answer_rules": ("CheckInputImages", "ClassImbalance", "Confusion"),
    "callback": ("Diagnose",),
    "finding": ("Finding",),
    "loss_rules": ("LossNotDecreasing", "Overfit", "Overtraining"),
    "rule": ("Rule",),
    "run_rules": ("SimilarAcrossRuns", "StalledTrainingRule"),
    "tensor_rules": (
        "AllZero",
        "ExplodingTensor",
        "TensorVariance",
        "UnchangedTensor",
        "VanishingGradient",
        "WeightUpdateRatio",
    ),
    "watcher": ("Watcher", "watch"),
}


def __getattr__(name: str) -> Any:
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
