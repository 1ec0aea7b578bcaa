"""What the rules cost, and how often they are wrong about healthy trainings.

    python benchmarks/diagnose.py cost [--steps 60] [--batch 16] [--head-steps 20000]
    python benchmarks/diagnose.py alarms [--runs 20] [--steps 200] [--photos 800]

cost: all rules at default intervals, on a ResNet-18 (96 px) and on a linear head on 512 features (batches of 64). Two
copies of each train in one process, one of them watched, in blocks in turns; CPU time, so that other processes matter
little. alarms: a small network from scratch on rendered bins, another seed each run.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bintally.training.diagnose import Watcher, watch
from bintally.training.diagnose.rules import DEFAULT, ON_REQUEST, RULES

CLASSES = 7


def main() -> None:
    """Prints one of the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cost", "alarms"))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--head-steps", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--photos", type=int, default=800)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.what == "cost":
        cost(asked.steps or 60, asked.head_steps, asked.batch)
    else:
        alarms(asked.runs, asked.steps or 200, asked.photos)


def cost(steps: int, head_steps: int, batch: int) -> None:
    """Added time by the rules, as a share of a step's own."""
    import timm

    def resnet() -> nn.Module:
        network: nn.Module = timm.create_model("resnet18", pretrained=False, num_classes=CLASSES)
        return network.to(memory_format=torch.channels_last)

    photos = torch.randn(batch, 3, 96, 96).contiguous(memory_format=torch.channels_last)
    features = torch.randn(64, 512)
    head = nn.Sequential(nn.Dropout(0.2), nn.Linear(512, CLASSES))
    _cost("linear head", lambda: deepcopy(head), features, head_steps, block=500)
    _cost(f"ResNet-18, 96 px, batches of {batch}", resnet, photos, steps, block=10)


def _cost(name: str, build: Callable[[], nn.Module], inputs: Tensor, steps: int, *, block: int) -> None:
    torch.manual_seed(0)
    labels_n = torch.randint(CLASSES, (len(inputs),))
    plain, watched = build(), build()
    optimizers = {id(model): torch.optim.AdamW(model.parameters(), lr=1e-4) for model in (plain, watched)}

    def step(model: nn.Module, w: Watcher | None) -> None:
        logits_nk = model(inputs)
        loss = cross_entropy(logits_nk, labels_n)
        optimizers[id(model)].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizers[id(model)].step()
        if w is not None:
            w.step(loss=loss, inputs=inputs, logits=logits_nk, labels=labels_n)

    for model in (plain, watched):
        for _ in range(2):
            step(model, None)
    with watch(watched, optimizers[id(watched)], rules="all") as w:
        spent: dict[str, list[float]] = {"plain": [], "watched": []}
        for _ in range(steps // block):
            for way, model, watcher in (("plain", plain, None), ("watched", watched, w)):
                began = time.process_time()
                for _ in range(block):
                    step(model, watcher)
                spent[way].append(time.process_time() - began)
    first = max(20 // block, 1)
    shares = {
        f"steps 0-{first * block - 1}": _share(spent, slice(0, first)),
        f"steps {first * block}-{steps - 1}": _share(spent, slice(first, None)),
        "all": _share(spent, slice(None)),
    }
    late = spent["plain"][len(spent["plain"]) // 2 :]
    print(f"{name}: {1000 * sum(late) / len(late) / block:.2f} ms a step; rules add", end=" ")
    print(", ".join(f"{share:+.1%} ({part})" for part, share in shares.items()), flush=True)


def _share(spent: dict[str, list[float]], part: slice) -> float:
    own = sum(spent["plain"][part])
    return sum(spent["watched"][part]) / own - 1 if own else float("nan")


def alarms(runs: int, steps: int, photos: int) -> None:
    """Healthy runs in which a rule found something."""
    with tempfile.TemporaryDirectory() as folder:
        (images_nchw, labels_n), val = _rendered(Path(folder), photos)
    counted: Counter[str] = Counter()
    falls = []
    for seed in range(runs):
        torch.manual_seed(seed)
        model, losses = _network(), []
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
        with watch(model, optimizer, rules="all") as w:
            for step in range(steps):
                chosen = torch.randint(len(labels_n), (32,))
                batch = images_nchw[chosen]
                batch = torch.where(torch.rand(32, 1, 1, 1) < 0.5, batch.flip(3), batch)
                logits_nk = model.train()(batch)
                loss = cross_entropy(logits_nk, labels_n[chosen])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                losses.append(loss.item())
                w.step(loss=loss, inputs=batch, logits=logits_nk, labels=labels_n[chosen])
                if (step + 1) % (steps // 8) == 0:
                    _validate(model, w, val)
        counted.update({finding.rule for finding in w.findings})
        falls.append((sum(losses[:10]) / 10, sum(losses[-10:]) / 10))
    started, ended = (sum(values) / runs for values in zip(*falls, strict=True))
    print(f"{runs} runs of {steps} steps on {len(labels_n)} rendered photos, loss {started:.2f} -> {ended:.2f}")
    for rule in RULES:
        if rule not in ON_REQUEST:
            print(f"{rule:26} {counted[rule]:3} of {runs}{'' if rule in DEFAULT else '   (not in the default set)'}")


@torch.no_grad()
def _validate(model: nn.Module, w: Watcher, val: tuple[Tensor, Tensor]) -> None:
    logits_nk = model.eval()(val[0])
    w.step(loss=cross_entropy(logits_nk, val[1]), mode="eval", logits=logits_nk, labels=val[1])


def _network() -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        layers += [nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, CLASSES))


def _rendered(folder: Path, photos: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Train and val of the rendered sample at 48 px, by train's own mean and deviation."""
    from bintally.data.check import check
    from bintally.data.fetch import fetch
    from bintally.data.split import split
    from bintally.manifest import SPLIT, Manifest
    from bintally.progress import SILENT
    from bintally.records import COUNT_KEYS
    from bintally.training.cache import PhotoCache
    from bintally.training.dataset import labels_of

    fetch(source="sample", out=folder, photos=photos, seed=3)
    check(data=folder)
    split(data=folder, fractions="70/20/10", seed=1)
    manifest = Manifest.read(folder, SPLIT)
    parts: list[Any] = []
    for name in ("train", "val"):
        table = manifest.usable(name, counts=COUNT_KEYS)
        cache = PhotoCache.build(folder, table, px=48, progress=SILENT)
        pixels_nhwc = torch.from_numpy(cache.read(cache.rows(table["sha256"].to_list())))
        parts.append((pixels_nhwc.permute(0, 3, 1, 2).float(), torch.from_numpy(labels_of(table, COUNT_KEYS))))
    mean, deviation = parts[0][0].mean((0, 2, 3), keepdim=True), parts[0][0].std((0, 2, 3), keepdim=True)
    train, val = (((pixels_nchw - mean) / deviation, labels_n) for pixels_nchw, labels_n in parts)
    return train, val


if __name__ == "__main__":
    main()
