"""Golden vectors for the op `augment`: torchvision's v2 functional API on float tensors in [0, 1].

usage: python tests/golden/augment.py      (writes tests/golden/augment.safetensors beside itself)

Tensors: `<group>.image` u8 [H,W,C], `<group>.params` f32 [rows,16] (columns as in src/ops/augment/params.rs),
`<group>.views` f32 [rows,S,S,C]. Metadata `<group>`: the op's parameters as JSON. Everything is NHWC.
"""

import json
import math
import pathlib

import torch
import torchvision
import torchvision.transforms.v2.functional as F
from safetensors.torch import save_file

BRIGHTNESS, CONTRAST, SATURATION, HUE, SKIP = 0.0, 1.0, 2.0, 3.0, -1.0
NO_SOLARIZE = 2.0


def picture(h, w, c, seed):
    """Smooth shapes under noise, with flat black and white patches and saturated primaries: what breaks colour maths."""
    g = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(h) / h, torch.arange(w) / w, indexing="ij")
    waves = [torch.sin(9 * x + 2 * k) * torch.cos(7 * y + k) * 90 + 128 for k in range(c)]
    image = torch.stack(waves, -1) + torch.randint(-40, 41, (h, w, c), generator=g)
    image = image.clamp(0, 255).to(torch.uint8)
    image[: h // 4, : w // 4] = 0
    image[-(h // 5) :, -(w // 5) :] = 255
    if c == 3:
        image[: h // 4, -(w // 4) :] = torch.tensor([0, 0, 255], dtype=torch.uint8)
        image[-(h // 4) :, : w // 4] = torch.tensor([255, 0, 0], dtype=torch.uint8)
    return image


def row(crop, flip=0, order=(SKIP,) * 4, factors=(1.0, 1.0, 1.0, 0.0), gray=0, sigma=0.0, solarize=NO_SOLARIZE):
    return [*map(float, crop), float(flip), *order, *factors, float(gray), sigma, solarize]


def view(image, params, op):
    """The chain, a step at a time, as SimCLR-like pipelines apply it."""
    top, left, height, width, flip, *rest = params
    order, (b, c, s, h), (gray, sigma, solarize) = rest[:4], rest[4:8], rest[8:]
    size = op["size"]
    x = image.permute(2, 0, 1).contiguous().float() / 255
    x = F.resized_crop(
        x, int(top), int(left), int(height), int(width), [size, size],
        interpolation=op["interpolation"], antialias=op["antialias"],
    )  # fmt: skip
    if op["clamp"]:
        x = x.clamp(0, 1)
    if flip:
        x = F.horizontal_flip(x)
    for step in order:
        if step == BRIGHTNESS:
            x = F.adjust_brightness(x, b)
        elif step == CONTRAST:
            x = F.adjust_contrast(x, c)
        elif step == SATURATION:
            x = F.adjust_saturation(x, s)
        elif step == HUE:
            x = F.adjust_hue(x, h)
    if gray and x.shape[0] == 3:
        x = F.rgb_to_grayscale(x, num_output_channels=3)
    if sigma > 0:
        kernel = op["blur_kernel"] or min(2 * math.ceil(3 * sigma) + 1, 2 * size - 1)
        x = F.gaussian_blur(x, [kernel, kernel], [sigma, sigma])
    if solarize <= 1:
        x = F.solarize(x, solarize)
    return F.normalize(x, op["mean"], op["std"]).permute(1, 2, 0).contiguous()


def crops(h, w):
    """The whole image, one pixel, a row, a column, odd crops at the borders."""
    return [
        (0, 0, h, w),
        (h - 1, w - 1, 1, 1),
        (h // 2, 0, 1, w),
        (0, w // 2, h, 1),
        (1, 2, h - 3, w // 2),
        (h // 3, w // 3, h // 3, w // 2 + 1),
    ]


def single_steps(h, w):
    """Each step alone on the whole image, at ordinary and extreme strength."""
    whole = (0, 0, h, w)
    one = lambda k, v: row(whole, order=(k, SKIP, SKIP, SKIP), factors=[v if i == k else d for i, d in enumerate((1.0, 1.0, 1.0, 0.0))])
    rows = [row(whole), row(whole, flip=1), row(whole, gray=1)]
    rows += [one(k, v) for k in (0, 1, 2) for v in (0.0, 0.37, 1.0, 1.8)]
    rows += [one(3, v) for v in (-0.5, -0.2, -0.013, 0.0, 0.1, 0.4999, 0.5)]
    rows += [row(whole, sigma=s) for s in (0.1, 0.55, 2.0)]
    # Not 0 and 1: flat patches lie exactly there, and the last bit decides on which side.
    rows += [row(whole, solarize=t) for t in (0.01, 0.33337, 0.50196, 0.99)]
    return rows


def chains(h, w, seed, n):
    g = torch.Generator().manual_seed(seed)
    u = lambda lo, hi: lo + (hi - lo) * torch.rand(1, generator=g).item()
    rows = []
    for i in range(n):
        ch, cw = int(u(1, h + 0.999)), int(u(1, w + 0.999))
        crop = (int(u(0, h - ch + 0.999)), int(u(0, w - cw + 0.999)), ch, cw)
        order = [float(k) for k in torch.randperm(4, generator=g)] if i % 5 else [SKIP] * 4
        factors = [u(0.2, 1.8), u(0.2, 1.8), u(0.2, 1.8), u(-0.2, 0.2)]
        solarize = u(0.3, 0.8) if i % 3 == 0 else NO_SOLARIZE
        rows.append(row(crop, u(0, 1) < 0.5, order, factors, u(0, 1) < 0.3, u(0.1, 2.0) if i % 2 else 0.0, solarize))
    return rows


def main():
    cifar = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2470, 0.2435, 0.2616]}
    plain = {"mean": [0.0], "std": [1.0]}
    fashion = {"mean": [0.2860], "std": [0.3530]}
    base = {"interpolation": "bilinear", "antialias": True, "clamp": False, "blur_kernel": 0}
    groups = {}

    def group(name, image, rows, **op):
        groups[name] = (image, rows, base | op)

    rgb, gray = picture(19, 23, 3, 1), picture(17, 14, 1, 2)
    for interpolation in ("bilinear", "bicubic"):
        for antialias in (True, False):
            kind = f"{interpolation}_{'antialias' if antialias else 'plain'}"
            op = {"interpolation": interpolation, "antialias": antialias, **plain}
            group(f"up_{kind}", rgb, [row(c) for c in crops(19, 23)[::4]], size=25, **op)
            group(f"down_{kind}", rgb, [row(c) for c in crops(19, 23)], size=7, **op)
    group("same_size", picture(12, 12, 3, 3), [row((0, 0, 12, 12)), row((0, 0, 12, 11))], size=12, interpolation="bicubic", **plain)
    group("steps_rgb", rgb, single_steps(19, 23), size=9, **plain)
    group("steps_gray", gray, single_steps(17, 14), size=11, **plain)
    # Bicubic leaves [0, 1]: the colour steps meet values that they were not made for.
    group("steps_bicubic", rgb, single_steps(19, 23), size=9, interpolation="bicubic", **plain)
    group("steps_clamped", rgb, single_steps(19, 23)[-14:-4], size=9, interpolation="bicubic", clamp=True, **plain)
    group("blur_kernel", rgb, [row((0, 0, 19, 23), sigma=s) for s in (0.1, 1.0, 2.0)], size=8, blur_kernel=7, **plain)
    group("blur_small", rgb, [row((0, 0, 19, 23), sigma=s) for s in (1.0, 2.0)], size=4, **plain)
    group("chain_rgb", rgb, chains(19, 23, 4, 12), size=16, interpolation="bicubic", **cifar)
    group("chain_clamped", rgb, chains(19, 23, 5, 5), size=16, interpolation="bicubic", clamp=True, **cifar)
    group("chain_large", picture(61, 47, 3, 6), chains(61, 47, 7, 4), size=20, **cifar)
    group("chain_gray", picture(28, 28, 1, 8), chains(28, 28, 9, 6), size=28, **fashion)

    tensors, metadata = {}, {"torch": torch.__version__, "torchvision": torchvision.__version__}
    for name, (image, rows, op) in groups.items():
        # Through f32, so that torchvision is given the numbers that the op reads.
        params = torch.tensor(rows, dtype=torch.float32)
        tensors[f"{name}.image"] = image.clone()
        tensors[f"{name}.params"] = params
        tensors[f"{name}.views"] = torch.stack([view(image, r.tolist(), op) for r in params])
        metadata[name] = json.dumps(op)
        # Where torchvision itself gives NaN (hue of a pixel whose largest channel is 0) there is nothing to agree with.
        bad = tensors[f"{name}.views"].isnan().sum().item()
        if bad:
            print(f"{name}: torchvision gives {bad} NaN")
    path = pathlib.Path(__file__).with_suffix(".safetensors")
    save_file(tensors, path, metadata)
    print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
