"""A frozen backbone sees each photo once (its mirror image too, where flips are wanted); the head learns from that.

Shapes: features_nvf float32 [N, V, F], the views of a photo beside each other.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from bintally.errors import BackboneError
from bintally.progress import Progress
from bintally.training.cache import PhotoCache
from bintally.training.dataset import BatchIndex
from bintally.training.network import CountNetwork

BATCH = 32


class FeatureDataset(Dataset[tuple[Tensor, Tensor]]):
    """Features with labels, by whole batches; a mirrored view stands in for the photo as often as `flip` says."""

    def __init__(self, features_nvf: Tensor, labels_n: NDArray[np.int64], *, flip: float) -> None:
        self.labels_n = labels_n
        self.features_nvf, self._flip = features_nvf, flip

    def __len__(self) -> int:
        return len(self.labels_n)

    def __getitem__(self, index: BatchIndex) -> tuple[Tensor, Tensor]:
        seed, chosen = index
        views = np.random.default_rng(seed).random(len(chosen)) < self._flip
        return self.features_nvf[chosen, torch.from_numpy(views.astype(np.int64))], torch.from_numpy(
            self.labels_n[chosen]
        )


class FeatureHead(nn.Module):
    """A linear head on its own, features [N, F] -> logits [N, K], with the dropout that stands before it.

    It learns from standardised features: a backbone's differ in scale by orders of magnitude, and those that vary least
    would hardly be learnt from (frozen DenseNet-169, counts 1-5, val: log loss 1.421 -> 1.367).
    """

    mean_f: Tensor
    std_f: Tensor

    def __init__(self, head: nn.Linear, drop_rate: float, features_nvf: Tensor) -> None:
        """`features_nvf` are those of train."""
        super().__init__()
        self.layers = nn.Sequential(nn.Dropout(drop_rate), head)
        flat_mf = features_nvf.flatten(0, 1)
        self.register_buffer("mean_f", flat_mf.mean(dim=0))
        self.register_buffer("std_f", flat_mf.std(dim=0, correction=0) + 1e-6)

    def forward(self, features_nf: Tensor) -> Tensor:
        """Logits [N, K]."""
        logits_nk: Tensor = self.layers((features_nf - self.mean_f) / self.std_f)
        return logits_nk


def linear_head(network: CountNetwork) -> nn.Linear:
    """The head of a network whose head is one linear layer, as nearly all of timm's are.

    Raises:
        BackboneError: it is something else.
    """
    head = network.head()
    if not isinstance(head, nn.Linear):
        raise BackboneError(
            f"{type(network.backbone).__name__}'s head is no linear layer, so it can't learn alone.",
            hint="Set network.tune = 'all', or choose another network.backbone.",
        )
    return head


def folded_head(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a linear head that says of plain features what a `FeatureHead` of this state says."""
    weight_kf = state["layers.1.weight"] / state["std_f"]
    return {"weight": weight_kf, "bias": state["layers.1.bias"] - weight_kf @ state["mean_f"]}


@torch.inference_mode()
def compute_features(
    network: CountNetwork, cache: PhotoCache, digests: Sequence[str], *, mirrored: bool, bf16: bool, progress: Progress
) -> Tensor:
    """What the backbone sees in cached photos: features [N, views, F]; the second view, if `mirrored`, is mirrored."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network.eval().to(device)
    rows_n = cache.rows(list(digests))
    parts = []
    with (
        progress.task("features", total=len(rows_n), unit="photos") as task,
        torch.autocast(device, torch.bfloat16, enabled=bf16),
    ):
        for start in range(0, len(rows_n), BATCH):
            pixels_nchw = torch.from_numpy(cache.read(rows_n[start : start + BATCH])).permute(0, 3, 1, 2).to(device)
            views = [pixels_nchw, pixels_nchw.flip(3)] if mirrored else [pixels_nchw]
            parts.append(torch.stack([network.features(view).float().cpu() for view in views], dim=1))
            task.advance(len(pixels_nchw))
    network.cpu()
    return torch.cat(parts)
