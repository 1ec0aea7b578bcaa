"""A frozen backbone sees each photo once (its mirror image too, where flips are wanted); the head learns from that.

What it saw is kept in DATA/cache, so that trainings that differ in how the head learns, as those of `tune` do, look at
no photo again.

Shapes: features_nvf float32 [N, V, F], the views of a photo beside each other.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from bintally.artifacts import atomic_write, code_fingerprint, fingerprint, one_at_a_time
from bintally.errors import BackboneError
from bintally.progress import Progress
from bintally.training.cache import PhotoCache
from bintally.training.dataset import BatchIndex, whole
from bintally.training.network import CountNetwork

BATCH = 32
CODE: Final = (
    "counting/decode.py",
    "photos.py",
    *(f"training/{name}.py" for name in ("cache", "features", "network")),
)
"""What decides features, beside weights and photos."""


class FeatureDataset(Dataset[tuple[Tensor, Tensor]]):
    """Features with labels, by whole batches; a mirrored view stands in for the photo as often as `flip` says."""

    def __init__(self, features_nvf: Tensor, labels_n: NDArray[np.int64], *, flip: float) -> None:
        self.labels_n = labels_n
        self.features_nvf, self._flip = features_nvf, flip

    def __len__(self) -> int:
        return len(self.labels_n)

    def __getitem__(self, index: BatchIndex) -> tuple[Tensor, Tensor]:
        seed, photos, first, stop = whole(index)
        views = (np.random.default_rng(seed).random(len(photos)) < self._flip)[first:stop]
        chosen = photos[first:stop]
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


def kept_features(
    network: CountNetwork,
    data: Path,
    table: pl.DataFrame,
    *,
    px: int,
    mirrored: bool,
    bf16: bool,
    progress: Progress,
) -> Tensor:
    """`compute_features` of the photos of `table` (rows of `data`'s manifest) at `px`, computed once for all trainings.

    They are found by the weights, the photos and all that decides the computation but the number of threads, which may
    change their last bits: trainings that find the same file learn from the same bits.
    """
    digests = table["sha256"].to_list()
    decided = {
        "photos": digests,
        "px": px,
        "mirrored": mirrored,
        "bf16": bf16,
        "network": body_digest(network),
        "torch": torch.__version__,
        "device": "cuda" if torch.cuda.is_available() else "cpu",
    }
    which = f"features-{px}px-{fingerprint(decided)[:16]}"
    target = data / "cache" / f"{which}-{code_fingerprint(CODE)[:8]}.npy"
    if not target.is_file():
        with one_at_a_time(target):
            if not target.is_file():  # another process may just have made it
                for outdated in target.parent.glob(f"{which}-*.npy"):  # by older code
                    outdated.unlink()
                photos = PhotoCache.build(data, table, px=px, progress=progress)
                features_nvf = compute_features(
                    network, photos, digests, mirrored=mirrored, bf16=bf16, progress=progress
                )
                with atomic_write(target) as file:
                    np.save(file, features_nvf.numpy(), allow_pickle=False)
    return torch.from_numpy(np.load(target, allow_pickle=False))


def body_digest(network: CountNetwork) -> str:
    """Hex SHA-256 of all that features come from: architecture, weights, norms and colours, but not the heads."""
    heads = {id(tensor) for head in network.heads() for tensor in head.state_dict(keep_vars=True).values()}
    digest = hashlib.sha256(str(network.backbone.pretrained_cfg.get("architecture")).encode())
    for name, tensor in sorted([*network.named_parameters(), *network.named_buffers()]):
        if id(tensor) not in heads:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
