"""What is exported: everything between a photo's pixels and a distribution, as one graph.

Shapes: photos uint8 [N, H, W, 3]; textures_nt float [N, T]; logits_mvnk float, of M networks for V views of N photos;
probabilities_nk float; novelty_n float [N]; maps float [N, V, C, h, w]; attributes_na float [N, A].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bintally.counting.network import ATTRIBUTES, MAPS, NOVELTY, PROBABILITIES
from bintally.training.attributes import served_attributes
from bintally.training.heads import ChangeHead
from bintally.training.network import CountNetwork, Sight, at_side

KEPT_VARIANCE = 0.95
"""Share of the textures' variance whose directions are judged one by one; what is left is judged as a whole."""


@dataclass(frozen=True)
class Familiar:
    """Where the textures of known bins lie: a Gaussian in their main directions, and a residual around it.

    Mahalanobis distance (Lee et al. 2018, arXiv:1807.03888) on the main directions, plus what they can't explain
    (Wang et al. 2022, ViM, arXiv:2203.10807), each scaled to a mean of 1 over known bins.
    On the network's last features instead, a third of 28 photos of other things passed for bins; on the textures of the
    stages before it, none (`CountNetwork.look`).
    """

    mean_t: Tensor
    basis_td: Tensor  # D main directions, orthonormal
    deviations_d: Tensor  # how far known bins spread along each
    residual_scale: Tensor  # scalar: mean squared residual of known bins

    @classmethod
    def fit(cls, textures_nt: Tensor) -> "Familiar":
        """Fits to textures [N, T] of known bins."""
        textures_nt = textures_nt.double()
        mean_t = textures_nt.mean(dim=0)
        centred_nt = textures_nt - mean_t
        variances_t, vectors_tt = torch.linalg.eigh(centred_nt.T @ centred_nt / max(len(centred_nt) - 1, 1))
        variances_t, vectors_tt = variances_t.flip(0).clamp(min=1e-12), vectors_tt.flip(1)
        explained = variances_t.cumsum(0) / variances_t.sum()
        directions = int((explained < KEPT_VARIANCE).sum()) + 1
        basis_td = vectors_tt[:, :directions]
        residual = (centred_nt - centred_nt @ basis_td @ basis_td.T).square().sum(dim=1).mean().clamp(min=1e-12)
        deviations_d = variances_t[:directions].sqrt()
        return cls(mean_t.float(), basis_td.float(), deviations_d.float(), residual.float())

    def novelty(self, textures_nt: Tensor) -> Tensor:
        """How far textures [N, T] are from known bins, [N]; around 1 for a known bin."""
        centred_nt = textures_nt - self.mean_t
        along_nd = centred_nt @ self.basis_td
        typical_n = (along_nd / self.deviations_d).square().mean(dim=1)
        # Pythagoras: the basis is orthonormal, so no [N, T] residual has to be built.
        left_n = centred_nt.square().sum(dim=1) - along_nd.square().sum(dim=1)
        return 0.5 * (typical_n + left_n / self.residual_scale)


@dataclass(frozen=True)
class Member:
    """One of the networks whose answers are averaged, and the mix of counts to answer for over its own [K].

    With `px`, it sees photos at that side; else as the bundle does.
    """

    network: CountNetwork
    prior_ratio_k: Tensor
    px: int | None = None

    def see(self, pixels_nchw: Tensor) -> tuple[Tensor, Sight]:
        """Its logits [N, K], and what they are made from."""
        sight = self.network.see(pixels_nchw if self.px is None else at_side(pixels_nchw, self.px))
        return self.network.head()(sight.features_nf), sight

    def look(self, pixels_nchw: Tensor) -> tuple[Tensor, Tensor]:
        """Its logits [N, K] and the textures [N, T]."""
        logits_nk, sight = self.see(pixels_nchw)
        return logits_nk, self.network.textures(sight)


class Servable(nn.Module):
    """Trained networks as they serve: normalisation, flip averaging, temperature, prior correction, mean, novelty.

    `network` is the first of them; it alone tells what looks like a bin.
    """

    prior_ratio_mk: Tensor
    familiar_mean_t: Tensor
    familiar_basis_td: Tensor
    familiar_deviations_d: Tensor
    familiar_residual_scale: Tensor

    def __init__(self, members: Sequence[Member], *, temperature: float, flip: bool, familiar: Familiar | None) -> None:
        super().__init__()
        self._members = list(members)
        self.network = members[0].network  # under these names their weights stand in the graph
        self.others = nn.ModuleList([member.network for member in members[1:]])
        self.register_buffer("prior_ratio_mk", torch.stack([member.prior_ratio_k for member in members]))
        self._temperature, self._flip, self._familiar = temperature, flip, familiar
        if familiar is not None:
            for name in ("mean_t", "basis_td", "deviations_d", "residual_scale"):
                self.register_buffer(f"familiar_{name}", getattr(familiar, name))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what `forward` returns."""
        return (PROBABILITIES, NOVELTY) if self._familiar is not None else (PROBABILITIES,)

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        """What `outputs` names, of photos uint8 [N, H, W, 3]."""
        pixels_nchw = photos.permute(0, 3, 1, 2)
        # One pass over both views: two passes would put every layer into the graph twice, and loading it takes 1.75x as
        # long (DenseNet-169, measured side by side).
        views = [pixels_nchw, pixels_nchw.flip(3)] if self._flip else [pixels_nchw]
        seen = torch.cat(views)
        answers, sights = zip(*(member.see(seen) for member in self._members), strict=True)
        logits = torch.stack(answers)
        logits_mvnk = logits.view(len(logits), len(views), -1, logits.shape[2])
        probabilities_nk = corrected(logits_mvnk, self.prior_ratio_mk, self._temperature)
        if self._familiar is None:
            return (probabilities_nk,)
        textures_nt = self.network.textures(sights[0])[: photos.shape[0]]
        return probabilities_nk, self._registered().novelty(textures_nt)

    def _registered(self) -> Familiar:
        """The buffers, so that the graph holds them by name."""
        return Familiar(
            self.familiar_mean_t, self.familiar_basis_td, self.familiar_deviations_d, self.familiar_residual_scale
        )


class ServableBeside(nn.Module):
    """What a network tells beside the count, as it serves; of photos at the size the bundle sees."""

    def __init__(self, member: Member, *, flip: bool) -> None:
        super().__init__()
        self.network = member.network
        self._px, self._flip = member.px, flip

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what `forward` returns."""
        told = {MAPS: self.network.change is not None, ATTRIBUTES: self.network.record is not None}
        return tuple(name for name, is_told in told.items() if is_told)

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        """What `outputs` names, of photos uint8 [N, H, W, 3]."""
        pixels_nchw = photos.permute(0, 3, 1, 2)
        views = [pixels_nchw, pixels_nchw.flip(3)] if self._flip else [pixels_nchw]
        seen = torch.cat(views)
        sight = self.network.see(seen if self._px is None else at_side(seen, self._px))
        told = []
        if self.network.change is not None:
            maps = self.network.maps(sight)
            told.append(maps.view(len(views), -1, *maps.shape[1:]).transpose(0, 1))
        if self.network.record is not None:
            attributes = served_attributes(self.network.record(sight.features_nf))
            told.append(attributes.view(len(views), -1, attributes.shape[1]).mean(dim=0))
        return tuple(told)


class ServableChange(nn.Module):
    """What compares two photos, as it serves: the mean evidence over their views."""

    def __init__(self, change: ChangeHead) -> None:
        super().__init__()
        self.change = change

    def forward(self, earlier: Tensor, later: Tensor) -> Tensor:
        """Evidence [P, 2D+1] of the maps [P, V, C, h, w] of pairs."""
        views = earlier.shape[1]
        evidence: Tensor = self.change(earlier.flatten(0, 1), later.flatten(0, 1))
        return evidence.view(-1, views, evidence.shape[1]).mean(dim=1)


def corrected(logits_mvnk: Tensor, prior_ratio_mk: Tensor, temperature: float) -> Tensor:
    """Distributions [N, K] from what M networks say of V views.

    Each network's answers are softened, averaged over views and corrected for its prior; then networks are averaged.
    The correction is Saerens et al. 2002: multiply by target prior / train prior, and normalise.
    """
    scores_mnk = torch.softmax(logits_mvnk / temperature, dim=3).mean(dim=1) * prior_ratio_mk[:, None]
    return (scores_mnk / scores_mnk.sum(dim=2, keepdim=True)).mean(dim=0)


def fit_temperature(logits_mvnk: Tensor, labels_n: Tensor, prior_ratio_mk: Tensor) -> float:
    """The temperature that gives the least log loss, within [0.3, 5] (Guo et al. 2017, arXiv:1706.04599)."""
    candidates: list[float] = torch.logspace(-0.5229, 0.699, 200).tolist()

    def log_loss(temperature: float) -> float:
        probabilities_nk = corrected(logits_mvnk, prior_ratio_mk, temperature)
        return float(-probabilities_nk.gather(1, labels_n[:, None]).clamp(min=1e-12).log().mean())

    return min(candidates, key=log_loss)
