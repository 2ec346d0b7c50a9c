"""The rows of `examples/augment_table.rs`, in torchvision: views a second on one core.

usage: python benches/peers/augment.py [rounds]
Two ways: `v2` on float tensors (what our op equals), and PIL images as the published pipelines and data loaders use.
"""

import sys
import time

import torch
import torchvision
import torchvision.transforms.v2 as T
from PIL import Image


def pipeline(size, scale, jitter, p, gray, blur, bicubic, kernel, pil):
    interpolation = T.InterpolationMode.BICUBIC if bicubic else T.InterpolationMode.BILINEAR
    steps = [
        T.RandomResizedCrop(size, scale=(scale, 1.0), interpolation=interpolation),
        T.RandomHorizontalFlip(),
        T.RandomApply([T.ColorJitter(*jitter)], p=p),
        T.RandomGrayscale(p=gray),
        T.RandomApply([T.GaussianBlur(kernel, (0.1, 2.0))], p=blur),
    ]
    steps += [T.PILToTensor(), T.ToDtype(torch.float32, scale=True)] if pil else []
    return T.Compose(steps + [T.Normalize([0.5], [0.25])])


def rate(transform, image, views, rounds):
    fastest = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(views):
            transform(image)
        fastest = min(fastest, time.perf_counter() - start)
    return views / fastest


def main():
    torch.set_num_threads(1)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}")
    print(f"{'pipeline, one core':<34} {'v2 float':>10} {'PIL':>10}  views/s")
    weak, strong, light = (0.4, 0.4, 0.4, 0.1), (0.8, 0.8, 0.8, 0.2), (0.4, 0.4, 0.0, 0.0)
    rows = [
        ("fashion-mnist 28x28x1", (28, 28, 1), (28, 0.2, light, 0.8, 0.0, 0.0, False, 3)),
        ("cifar-simclr 32x32x3, blur", (32, 32, 3), (32, 0.08, strong, 0.8, 0.2, 0.5, True, 13)),
        ("lightly-cifar 32x32x3", (32, 32, 3), (32, 0.08, weak, 0.8, 0.2, 0.0, False, 3)),
        ("lightly-cifar, jitter always", (32, 32, 3), (32, 0.08, weak, 1.0, 0.2, 0.0, False, 3)),
        ("imagenet-simclr 375x500x3 to 224", (375, 500, 3), (224, 0.08, strong, 0.8, 0.2, 0.5, True, 23)),
    ]
    for name, shape, settings in rows:
        n = shape[0] * shape[1] * shape[2]
        i = torch.arange(n)
        pixels = ((i * i // 7 + i) % 256).to(torch.uint8).reshape(shape)
        floats = pixels.permute(2, 0, 1).contiguous().float() / 255
        image = Image.fromarray(pixels.squeeze(-1).numpy())
        views = 8 if shape[0] > 100 else 128
        v2 = rate(pipeline(*settings, pil=False), floats, views, rounds)
        pil = rate(pipeline(*settings, pil=True), image, views, rounds)
        print(f"{name:<34} {v2:>10.0f} {pil:>10.0f}")


if __name__ == "__main__":
    main()
