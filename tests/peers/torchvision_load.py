#!/usr/bin/env python
"""Loads an encoder that rusa trained into torchvision, and compares features with `rusa embed`.

usage: python tests/peers/torchvision_load.py RUN|encoder.safetensors
       rusa embed RUN --data IMAGES --out F.safetensors
       python tests/peers/torchvision_load.py RUN --embeddings F.safetensors --images IMAGES

A resnet18, 34 or 50 of width 64 with 3 channels goes into `torchvision.models`, strictly: nothing may be missing but
`fc`, nothing left over. If its stem is the small one (conv1 3x3), conv1 is replaced and maxpool left out first. Other
networks go into benches/peers/simclr.py's Encoder, which has torchvision's names.

IMAGES is what rusa was given: a folder of class folders, or one with such folders in `train` and `test`; rows in the
order of torchvision's ImageFolder, train before test. Pictures must have the size of a view already, so that nothing is
resized; mean and std are the file's own. Features must agree to 1e-4 of the largest, labels exactly.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "benches" / "peers"))
from simclr import Encoder  # noqa: E402

TOLERANCE = 1e-4


def load(path):
    """The network in evaluation mode, and what the file says of itself."""
    path = path / "encoder.safetensors" if path.is_dir() else path
    with safe_open(path, "pt") as file:
        about = json.loads((file.metadata() or {}).get("rusa", "{}"))
    state = load_file(path)
    name = about["encoder"]["name"]
    width, channels, kernel, _ = state["conv1.weight"].shape
    small = kernel == 3
    if hasattr(torchvision.models, name) and (width, channels) == (64, 3):
        network = getattr(torchvision.models, name)(weights=None)
        if small:
            network.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
            network.maxpool = nn.Identity()
        missing, unexpected = network.load_state_dict(state, strict=False)
        if set(missing) != {"fc.weight", "fc.bias"} or unexpected:
            sys.exit(f"FAIL: missing {sorted(missing)}, unexpected {sorted(unexpected)}")
        network.fc = nn.Identity()
        where = f"torchvision.models.{name}"
    else:
        network = Encoder(name, width, "small" if small else "imagenet", channels)
        network.load_state_dict(state, strict=True)
        where = "Encoder of benches/peers/simclr.py"
    print(f"loaded {len(state)} tensors of {path} into {where}")
    return network.eval(), about


def pictures(folder, about):
    """Normalised images and labels, in ImageFolder's order."""
    splits = [folder / name for name in ("train", "test")]
    splits = splits if all(split.is_dir() for split in splits) else [folder]
    mode = "RGB" if about["channels"] == 3 else "L"
    images, labels = [], []
    for picture, label in (sample for split in splits for sample in torchvision.datasets.ImageFolder(split)):
        pixels = np.asarray(picture.convert(mode)).reshape(*picture.size[::-1], -1)
        if pixels.shape[:2] != (about["size"], about["size"]):
            sys.exit(f"a picture has {pixels.shape[:2]} pixels, views have {about['size']}: this compares no resizing")
        images.append(pixels)
        labels.append(label)
    mean, std = (torch.tensor(about["augment"][key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return (x - mean) / std, torch.tensor(labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--embeddings", type=Path)
    parser.add_argument("--images", type=Path)
    args = parser.parse_args()
    network, about = load(args.run)
    if args.embeddings is None or args.images is None:
        return
    images, labels = pictures(args.images, about)
    with torch.no_grad():
        want = torch.cat([network(batch) for batch in images.split(64)])
    theirs = load_file(args.embeddings)
    got = theirs["embeddings"]
    if got.shape != want.shape:
        sys.exit(f"FAIL: {args.embeddings} holds {list(got.shape)}, want {list(want.shape)}")
    if not torch.equal(theirs["labels"], labels):
        sys.exit("FAIL: labels differ: other pictures, or in another order")
    error = ((got - want).abs().max() / want.abs().max()).item()
    if not error <= TOLERANCE:
        sys.exit(f"FAIL: features differ by {error:.1e} of the largest, more than {TOLERANCE:.0e}")
    print(f"{len(want)} x {want.shape[1]} features agree to {error:.1e} of the largest")


if __name__ == "__main__":
    main()
