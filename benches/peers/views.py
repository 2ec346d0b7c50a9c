"""Views on a GPU in PyTorch, beside `rusa bench op augment`, for its cases fashion_mnist and cifar (256 images, two views each).

usage: python benches/peers/views.py --device cuda --json FILE
Three ways: torchvision's v2 on each image alone, as each image needs a draw of its own; v2 on the whole batch, which draws once for
all of it, so is less than the same work; and, for gray images, pretrain.py's batched views, each its own draw.
"""

import argparse
import json

import torch
import torchvision

from augment import pipeline
from ops import Clock
from pretrain import views

GRAY = {"crop_scale": [0.2, 1.0], "crop_ratio": [3 / 4, 4 / 3], "flip": 0.5, "jitter": 0.8, "brightness": 0.8, "contrast": 0.8,
        "blur": 0.5, "blur_sigma": [0.1, 2.0], "mean": [0.286], "std": [0.353]}
ROWS = [
    ("fashion_mnist", (1, 28, 28), (28, 0.2, (0.8, 0.8, 0.0, 0.0), 0.8, 0.0, 0.5, False, 13)),
    ("cifar", (3, 32, 32), (32, 0.08, (0.8, 0.8, 0.8, 0.2), 0.8, 0.2, 0.5, True, 13)),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--json", required=True)
    args = parser.parse_args()
    torch.manual_seed(0)
    clock = Clock(args.device, args.seconds)
    for name, shape, settings in ROWS:
        pixels = torch.randint(0, 256, (args.images, *shape), dtype=torch.uint8, device=args.device)
        floats = pixels.float() / 255
        transform = pipeline(*settings, pil=False)
        clock.time(f"augment/v2_each/{name}", lambda: [transform(x) for _ in range(2) for x in floats])
        clock.time(f"augment/v2_one_draw/{name}", lambda: [transform(floats) for _ in range(2)])
        if shape[0] == 1:
            clock.time(f"augment/batched/{name}", lambda: [views(pixels, GRAY, settings[0]) for _ in range(2)])
    for row in clock.rows:
        row["views_per_second"] = 2 * args.images / row["milliseconds"] * 1000
    report = {"device": args.device, "torch": torch.__version__, "torchvision": torchvision.__version__, "timings": clock.rows}
    with open(args.json, "w") as file:
        json.dump(report, file, indent=2)


if __name__ == "__main__":
    main()
