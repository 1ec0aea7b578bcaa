"""`bintally search` and AutoGluon MultiModal on the same photos, in the same minutes, on the same cores.

    python benchmarks/search_against_autogluon.py --data DATA --weights densenet169.in1k.fp16.safetensors \
        [--minutes 15] [--threads 2] [--counts 1-5] [--preset balanced] [--photos 0] [--work FOLDER] [--only SIDE]

AutoGluon gets an environment of its own in the cache folder (some 7 GB; PyPI alone is needed). Both sides read the same
JPEGs, squashed to 256 px squares beforehand (AutoGluon would crop what is not square), and start with nothing decoded.
AutoGluon trains a densenet169 from the very weights that bintally's densenet169 starts from: its model hub is not
asked. Our search also has its other networks, as far as their weights are there (--backbone leaves all others out).
AutoGluon's `time_limit` ends its training, and finding its best weights comes after it; ours includes export.

Both sets of probabilities on test go through the same code: accuracy, RMSE, log loss with intervals over bins, the
blind answer beside them, and the paired difference.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from bintally.artifacts import write_bytes, write_json
from bintally.counting import metrics
from bintally.counting.intervals import bootstrap_mean
from bintally.manifest import SPLIT, Manifest
from bintally.records import parse_counts
from bintally.settings import cache_folder, cpu_count

PX = 256
QUALITY = 95
REQUIREMENTS = ("autogluon.multimodal==1.6.3", "torch===2.13.0", "torchvision===0.28.0")
"""AutoGluon wants torch below 2.14; both wheels from one place, or torchvision does not find its operators."""
BACKBONE = "densenet169"


def main() -> None:
    """Prepares both sides, runs them one after the other, and prints one table."""
    asked = _arguments()
    work = asked.work or cache_folder() / "search-against-autogluon"
    photos = prepare(asked.data, work / "photos", counts=asked.counts, photos=asked.photos)
    results: dict[str, Any] = {"minutes": asked.minutes, "threads": asked.threads, "counts": asked.counts}
    told: dict[str, NDArray[np.float64]] = {}
    if asked.only != "theirs":
        told["bintally search"], results["ours"] = ours(asked, photos, work)
    if asked.only != "ours":
        told["AutoGluon MultiModal"], results["theirs"] = theirs(asked, photos, work)
    results["figures"] = judge(told, photos, asked.counts)
    write_json(work / "results.json", results)
    print(json.dumps(results, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a data folder with a split")
    parser.add_argument("--weights", type=Path, required=True, help="timm's densenet169 as safetensors")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--threads", type=int, default=cpu_count())
    parser.add_argument("--counts", default="1-5")
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--backbone", action="append", help="ours alone; default: the preset's")
    parser.add_argument("--photos", type=int, default=0, help="of each split, at most; 0: all")
    parser.add_argument("--work", type=Path, help="where photos, environment and results go")
    parser.add_argument("--only", choices=("ours", "theirs"))
    return parser.parse_args()


def prepare(data: Path, out: Path, *, counts: str, photos: int) -> Path:
    """A data folder of the photos with these counts, squashed to squares; and AutoGluon's tables of them."""
    table = Manifest.read(data, SPLIT).usable(counts=parse_counts(counts))
    if photos:
        table = pl.concat([part.sample(min(photos, part.height), seed=0) for part in table.partition_by("split")])
    if (out / SPLIT).is_file() and Manifest.read(out, SPLIT).table.height == table.height:
        return out
    rows = []
    for row in table.drop("count_key").iter_rows(named=True):
        with Image.open(data / row["path"]) as image:
            square = image.convert("RGB").resize((PX, PX), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        square.save(buffer, "JPEG", quality=QUALITY)
        write_bytes(out / row["path"], buffer.getvalue(), durable=False)
        rows.append({**row, "metadata_path": None, **_as_written(buffer.getvalue())})
    Manifest.build(out, rows).write(SPLIT)
    for split in ("train", "val", "test"):
        part = Manifest.read(out, SPLIT).usable(split).sort("bin_image_id")
        paths = [str((out / path).resolve()) for path in part["path"]]
        pl.DataFrame({"image": paths, "label": part["recorded_count"].cast(pl.String)}).write_csv(out / f"{split}.csv")
    return out


def _as_written(jpeg: bytes) -> dict[str, Any]:
    import hashlib

    return {"sha256": hashlib.sha256(jpeg).hexdigest(), "size_bytes": len(jpeg), "width_px": PX, "height_px": PX}


def ours(asked: argparse.Namespace, photos: Path, work: Path) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Our winner's probabilities of test's photos, in the order of test.csv, and how it came about."""
    import shutil

    shutil.rmtree(photos / "cache", ignore_errors=True)
    out = work / "ours"
    command = [sys.executable, "-m", "bintally", "search", "--data", str(photos), "--out", str(out), "--fresh"]
    command += ["--minutes", f"{asked.minutes:g}", "--preset", asked.preset, "--counts", asked.counts]
    command += ["--threads", str(asked.threads), "--json"]
    for name in asked.backbone or ():
        command += ["--backbone", name]
    folders = os.pathsep.join([str(asked.weights.parent.resolve()), os.environ.get("BINTALLY_WEIGHTS", "")])
    started = time.monotonic()
    env = {**os.environ, "BINTALLY_WEIGHTS": folders, "OMP_NUM_THREADS": str(asked.threads)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env)
    seconds = time.monotonic() - started
    report = json.loads(done.stdout)

    from bintally.counting.counter import Counter

    counter = Counter(out / "bundle", counts=asked.counts)
    test = pl.read_csv(photos / "test.csv")
    answers = [counter.count(path).probabilities for path in test["image"]]
    told_nk = np.array([[answer[key] for key in parse_counts(asked.counts)] for answer in answers])
    facts = {name: report[name] for name in ("winner", "used_minutes", "val")}
    return told_nk, {"seconds": round(seconds, 1), "left_out": report["left_out"], **facts}


def theirs(asked: argparse.Namespace, photos: Path, work: Path) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """AutoGluon's probabilities of test's photos, and how they came about."""
    python = environment(work)
    checkpoint = initial_weights(asked.weights, work / "initial")
    script, answers = work / "autogluon_side.py", work / "theirs.csv"
    script.write_text(_SIDE)
    arguments = {
        "photos": str(photos),
        "checkpoint": str(checkpoint),
        "out": str(work / "theirs"),
        "answers": str(answers),
        "seconds": 60 * asked.minutes,
        "threads": asked.threads,
    }
    env = {**os.environ, "OMP_NUM_THREADS": str(asked.threads), "HF_HUB_OFFLINE": "1"}
    started = time.monotonic()
    subprocess.run([str(python), str(script), json.dumps(arguments)], check=True, env=env, stdout=sys.stderr)
    seconds = time.monotonic() - started
    found = pl.read_csv(answers)
    told_nk = found.select(parse_counts(asked.counts)).to_numpy()
    facts = json.loads((work / "theirs.json").read_text())
    return told_nk, {"seconds": round(seconds, 1), **facts}


def environment(work: Path) -> Path:
    """The Python of an environment that has AutoGluon; made where it is not there yet."""
    folder = work / "venv"
    python = folder / "bin" / "python"
    if not (folder / "installed").is_file():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *REQUIREMENTS], check=True, stdout=sys.stderr)
        (folder / "installed").touch()
    return python


def initial_weights(weights: Path, out: Path) -> Path:
    """The folder that AutoGluon takes for a timm checkpoint: the same weights, without the classifier."""
    import timm
    import torch
    from safetensors.torch import load_file

    out.mkdir(parents=True, exist_ok=True)
    body = {name: value.float() for name, value in load_file(weights).items() if not name.startswith("classifier")}
    network = timm.create_model(BACKBONE, pretrained=False, num_classes=0)
    network.load_state_dict(body)  # all of them, and no other
    torch.save(network.state_dict(), out / "pytorch_model.bin")
    config = {"architecture": BACKBONE, "num_features": network.num_features, "pretrained_cfg": network.pretrained_cfg}
    write_json(out / "config.json", config)
    return out


def judge(told: dict[str, NDArray[np.float64]], photos: Path, counts: str) -> dict[str, Any]:
    """The figures of both on test, by one code, and the paired difference of accuracy."""
    keys = parse_counts(counts)
    manifest = Manifest.read(photos, SPLIT)
    test = manifest.usable("test").sort("bin_image_id")
    labels_n = np.array([keys.index(key) for key in test["count_key"]])
    groups_n = test.select(pl.coalesce("group", "bin_image_id")).to_series().to_numpy()
    values_k = np.array([float(key.removesuffix("+")) for key in keys])
    train = [keys.index(key) for key in manifest.usable("train")["count_key"]]
    prior_k = metrics.prior(np.array(train), len(keys))
    found: dict[str, Any] = {"blind": metrics.blind_baselines(prior_k, labels_n, values_k), "photos": len(labels_n)}
    for name, told_nk in told.items():
        figures = metrics.headline(told_nk, labels_n, values_k, groups_n=groups_n)
        found[name] = {key: [round(x, 4) for x in (f.value, f.low, f.high)] for key, f in figures.items()}
        found[name]["ece"] = round(metrics.ece(told_nk, labels_n), 4)
    if len(told) == 2:
        first, second = (metrics.correct_terms(told_nk, labels_n) for told_nk in told.values())
        gain = bootstrap_mean(first - second, groups_n=groups_n)
        found["accuracy, ours minus theirs"] = [round(x, 4) for x in (gain.value, gain.low, gain.high)]
    return found


_SIDE = '''
"""AutoGluon's side, run by its own Python: trains within the time, answers test, and says which versions did."""
import json, platform, sys, time

import pandas as pd
import torch

asked = json.loads(sys.argv[1])
torch.set_num_threads(asked["threads"])
import autogluon.multimodal
import timm
from autogluon.multimodal import MultiModalPredictor

tables = {name: pd.read_csv(f"{asked['photos']}/{name}.csv", dtype=str) for name in ("train", "val", "test")}
started = time.monotonic()
predictor = MultiModalPredictor(label="label", problem_type="multiclass", eval_metric="accuracy", path=asked["out"])
predictor.fit(
    train_data=tables["train"],
    tuning_data=tables["val"],
    time_limit=asked["seconds"],
    hyperparameters={
        "model.names": ["timm_image"],
        "model.timm_image.checkpoint_name": asked["checkpoint"],
        "env.num_workers": 0,
        "env.num_workers_inference": 0,
        "env.accelerator": "cpu",
        "env.num_gpus": 0,
    },
)
fitted = time.monotonic() - started
started = time.monotonic()
told = predictor.predict_proba(tables["test"][["image"]], as_pandas=True)
told.columns = [str(name) for name in told.columns]
told.to_csv(asked["answers"], index=False)
facts = {
    "fit_seconds": round(fitted, 1),
    "predict_seconds": round(time.monotonic() - started, 1),
    "versions": {
        "python": platform.python_version(),
        "autogluon.multimodal": autogluon.multimodal.__version__,
        "torch": torch.__version__,
        "timm": timm.__version__,
    },
}
with open(asked["answers"].replace(".csv", ".json"), "w") as file:
    json.dump(facts, file)
'''


if __name__ == "__main__":
    main()
