"""The shapes that `rusa bench op --cases FILE` and ops.py time: every distinct convolution of ResNet-18 on 32x32 and of
ResNet-50 on 224x224, the ops between them and the losses, on tensors larger than an L2 cache.

usage: python benches/peers/shapes.py [--shrink N] FILE
Writes a JSON list of {"op", "name", "params", "inputs": {name: shape}}, in rusa's layouts.
"""

import argparse
import json


def convolution(name, n, h, c, k, r, stride):
    params = {"stride": stride, "padding": r // 2}
    return {"op": "conv2d", "name": name, "params": params, "inputs": {"x": [n, h, h, c], "w": [k, r, r, c]}}


def resnet(name, n, size, bottleneck, depths, stem):
    """Every distinct convolution once, in the order of the network, named after the layer where it stands first."""
    rows, h, c = [], size, 64
    rows.append((f"{name}.conv1", size, 3, 64, 7 if stem else 3, 2 if stem else 1))
    h = size // 4 if stem else size
    for stage, depth in enumerate(depths):
        planes = 64 << stage
        for block in range(depth):
            stride = 2 if stage > 0 and block == 0 else 1
            here, out = f"{name}.layer{stage + 1}.{block}", planes * 4 if bottleneck else planes
            if bottleneck:
                rows += [(f"{here}.conv1", h, c, planes, 1, 1), (f"{here}.conv2", h, planes, planes, 3, stride),
                         (f"{here}.conv3", h // stride, planes, out, 1, 1)]
            else:
                rows += [(f"{here}.conv1", h, c, out, 3, stride), (f"{here}.conv2", h // stride, out, out, 3, 1)]
            if stride != 1 or c != out:
                rows.append((f"{here}.downsample", h, c, out, 1, stride))
            h, c = h // stride, out
    seen = {}
    for label, *shape in rows:
        seen.setdefault(tuple(shape), label)
    return [convolution(label, n, *shape) for shape, label in seen.items()]


def others(n):
    """Between convolutions and behind them; `n` views of 32x32 in 64 channels are 64 MiB in bf16 where n is 512."""
    case = lambda op, name, params={}, **inputs: {"op": op, "name": name, "params": params, "inputs": inputs}
    x, c = [n, 32, 32, 64], [64]
    return [
        case("relu", "layer1", x=x),
        case("add", "layer1", a=x, b=x),
        case("batch_norm", "layer1", {"relu": True}, x=x, gamma=c, beta=c),
        case("batch_norm", "layer1.residual", {"relu": True}, x=x, gamma=c, beta=c, residual=x),
        case("max_pool", "imagenet", x=[max(1, n // 4), 112, 112, 64]),
        case("global_avg_pool", "layer4", x=[8 * n, 4, 4, 512]),
        case("linear", "projector.0", x=[n, 512], w=[512, 512], b=[512]),
        case("linear", "wide", x=[8 * n, 2048], w=[2048, 2048], b=[2048]),
        case("l2_normalize", "rows_512", x=[128 * n, 512]),
        case("cosine_loss", "rows_256", p=[128 * n, 256], z=[128 * n, 256]),
        case("softmax_cross_entropy", "imagenet", logits=[64 * n, 1000], labels=[64 * n]),
        case("nt_xent", "batch_256", {"temperature": 0.2}, z=[n, 128]),
        case("nt_xent", "batch_512", {"temperature": 0.2}, z=[2 * n, 128]),
        case("nt_xent", "batch_4096", {"temperature": 0.2}, z=[16 * n, 128]),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shrink", type=int, default=1, help="divide batches by this: to try what reads the file")
    parser.add_argument("file")
    args = parser.parse_args()
    views = max(4, 512 // args.shrink)
    cases = resnet("resnet18", views, 32, False, [2, 2, 2, 2], stem=False)
    cases += resnet("resnet50", max(1, 64 // args.shrink), 224, True, [3, 4, 6, 3], stem=True)
    with open(args.file, "w") as file:
        json.dump(cases + others(views), file, indent=1)


if __name__ == "__main__":
    main()
