"""Views of a bin's photos: cut alike, and no second look that gives itself away."""

import torch

from bintally.training.bins import SHIFT, BinViews
from bintally.training.recipe import AugmentSettings

SIDE = 96


def marked() -> torch.Tensor:
    """A photo whose columns tell where they are from: red runs from left to right, green from top to bottom."""
    ramp = torch.linspace(20, 235, SIDE)
    return torch.stack([ramp.expand(SIDE, SIDE), ramp[:, None].expand(SIDE, SIDE), torch.full((SIDE, SIDE), 128.0)]).to(
        torch.uint8
    )


def test_a_bins_photos_are_cut_and_mirrored_alike() -> None:
    settings = AugmentSettings(crop_min_area=0.5, brightness=0, contrast=0, flip=0.5)
    views = BinViews(settings, 48)
    views._colours = torch.nn.Identity()  # geometry alone
    mirrored = []
    for seed in range(12):
        torch.manual_seed(seed)
        views_vchw = views(torch.stack([marked()] * 3)).float()
        assert views_vchw.shape == (3, 3, 48, 48)
        means_vc = views_vchw.mean(dim=(2, 3))
        furthest = 2 * SHIFT * (235 - 20)
        assert (means_vc.amax(dim=0) - means_vc.amin(dim=0)).max() <= furthest + 2
        slopes_v = views_vchw[:, 0, :, -1].mean(dim=1) - views_vchw[:, 0, :, 0].mean(dim=1)
        assert (slopes_v > 0).all() or (slopes_v < 0).all()
        mirrored.append(bool(slopes_v[0] < 0))
    assert {True, False} == set(mirrored)


def test_every_view_may_be_exposed_or_compressed_otherwise() -> None:
    """Also those that are no second look: else how a photo was made would tell that nothing changed."""
    views = BinViews(AugmentSettings(crop_min_area=1, crop_aspect=1, flip=0, brightness=0, contrast=0), 48)
    torch.manual_seed(0)
    first, second = views(torch.stack([marked()] * 40)).float().split(20)
    for part in (first, second):
        brightness_v = part.mean(dim=(1, 2, 3))
        assert brightness_v.amax() - brightness_v.amin() > 10
