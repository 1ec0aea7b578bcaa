"""The reports' model, for its speed: ResNet-50, fp32, eager PyTorch, one photo after the other, random weights.

    python benchmarks/serving/resnet.py --photos DIR --seconds 5

Prints JSON: `photos_per_s`, decoding included, no network between. Needs the extra `train`.
"""

import argparse
import io
import itertools
import json
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.models import resnet50

MEAN_C, SPREAD_C = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's, of ImageNet


def main() -> None:
    """Prints the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=5.0)
    asked = parser.parse_args()
    photos = [path.read_bytes() for path in sorted(asked.photos.glob("*.jpg"))]
    network = resnet50(weights=None, num_classes=6).eval()
    mean_c11, spread_c11 = (torch.tensor(each).view(3, 1, 1) for each in (MEAN_C, SPREAD_C))

    @torch.inference_mode()
    def count(photo: bytes) -> int:
        pixels_hwc = np.asarray(Image.open(io.BytesIO(photo)).convert("RGB").resize((224, 224)))
        image_chw = torch.from_numpy(pixels_hwc.copy()).permute(2, 0, 1).float() / 255
        return int(network(((image_chw - mean_c11) / spread_c11)[None]).argmax())

    for photo in photos[:3]:
        count(photo)
    counted, started = 0, time.perf_counter()
    for photo in itertools.cycle(photos):
        if time.perf_counter() >= started + asked.seconds:
            break
        count(photo)
        counted += 1
    print(json.dumps({"photos_per_s": counted / (time.perf_counter() - started)}))


if __name__ == "__main__":
    main()
