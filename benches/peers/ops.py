"""What PyTorch takes for the ops that `rusa bench op` times, on the same shapes: convolutions by cuDNN, memory-bound ops, the
contrastive loss as usually written (its whole 2N x 2N matrix), and the copy rate of the card.

usage: python benches/peers/ops.py --device cuda --precision bf16 --json FILE
channels_last, autotuned cuDNN. Each figure is the median of timed calls, by events on a GPU; caches are filled with other data
before each call. Prints a line an op and writes every sample.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

from simclr import nt_xent

# name, x[N,H,W,C], w[K,R,S,C], stride, padding: the bench cases of src/ops/conv2d/mod.rs.
CONVOLUTIONS = [
    ("resnet18.conv1", (64, 32, 32, 3), (64, 3, 3, 3), 1, 1),
    ("resnet18.layer1", (64, 32, 32, 64), (64, 3, 3, 64), 1, 1),
    ("resnet18.layer2.0", (64, 32, 32, 64), (128, 3, 3, 64), 2, 1),
    ("resnet18.layer2.0.downsample", (64, 32, 32, 64), (128, 1, 1, 64), 2, 0),
    ("resnet18.layer4", (64, 4, 4, 512), (512, 3, 3, 512), 1, 1),
    ("resnet50.layer1.conv3", (16, 56, 56, 64), (256, 1, 1, 64), 1, 0),
    ("imagenet_stem", (16, 224, 224, 3), (64, 7, 7, 3), 2, 3),
]


class Clock:
    def __init__(self, device, seconds):
        self.device, self.seconds, self.rows = device, seconds, []
        # More than any L2 cache.
        self.other = torch.empty(192 << 20, dtype=torch.uint8, device=device) if device == "cuda" else None

    def once(self, work):
        if self.device != "cuda":
            start = time.perf_counter()
            work()
            return time.perf_counter() - start
        self.other.zero_()
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        work()
        ended.record()
        torch.cuda.synchronize()
        return began.elapsed_time(ended) / 1000

    def time(self, name, work, flops=0, bytes_=0):
        for _ in range(3):
            self.once(work)
        samples, start = [], time.perf_counter()
        while len(samples) < 5 or time.perf_counter() - start < self.seconds and len(samples) < 1000:
            samples.append(self.once(work))
        median = statistics.median(samples)
        self.rows.append({
            "id": name, "milliseconds": 1000 * median, "flops": flops, "bytes": bytes_,
            "gflops_per_second": flops / median / 1e9, "gigabytes_per_second": bytes_ / median / 1e9,
            "samples_milliseconds": [1000 * s for s in samples],
        })
        row = self.rows[-1]
        print(f"{name:<52} {row['milliseconds']:>9.3f} ms {row['gflops_per_second']:>10.1f} GFLOP/s "
              f"{row['gigabytes_per_second']:>8.1f} GB/s", flush=True)


def convolutions(clock, dtype, shrink):
    for name, (n, h, w, c), (k, r, s, _), stride, pad in CONVOLUTIONS:
        n = max(1, n // shrink)
        options = {"device": clock.device, "dtype": dtype}
        x = torch.randn(n, c, h, w, **options).to(memory_format=torch.channels_last)
        weight = torch.randn(k, c, r, s, **options).to(memory_format=torch.channels_last)
        y = F.conv2d(x, weight, None, stride, pad)
        dy = torch.randn_like(y)
        flops = 2 * y.numel() * r * s * c
        size = x.element_size()

        def backward(mask):
            return torch.ops.aten.convolution_backward(
                dy, x, weight, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], 1, mask
            )

        moved = size * (x.numel() + weight.numel() + y.numel())
        clock.time(f"conv2d/{name}", lambda: F.conv2d(x, weight, None, stride, pad), flops, moved)
        clock.time(f"conv2d/bwd_input/{name}", lambda: backward([True, False, False]), flops, moved)
        clock.time(f"conv2d/bwd_weight/{name}", lambda: backward([False, True, False]), flops, moved)


def memory_bound(clock, dtype, shrink):
    options = {"device": clock.device, "dtype": dtype}
    x = torch.randn(256 // shrink, 16, 28, 28, **options).to(memory_format=torch.channels_last)
    moved = 2 * x.numel() * x.element_size()
    clock.time("relu/large", lambda: F.relu(x), x.numel(), moved)
    x = torch.randn(64 // shrink, 64, 32, 32, **options).to(memory_format=torch.channels_last)
    gamma, beta = (torch.randn(64, device=clock.device) for _ in range(2))
    mean, var = torch.zeros(64, device=clock.device), torch.ones(64, device=clock.device)
    # Statistics read x once, applying them once more.
    moved = 3 * x.numel() * x.element_size()
    clock.time("batch_norm/resnet18", lambda: F.relu(F.batch_norm(x, mean, var, gamma, beta, True)), 6 * x.numel(), moved)


def losses(clock, dtype, shrink):
    for rows in (512 // shrink, 8192 // shrink):
        z = torch.randn(rows, 128, device=clock.device, dtype=dtype, requires_grad=True)

        def step():
            loss = nt_xent(z.float(), 0.5)
            loss.backward()
            z.grad = None

        clock.time(f"nt_xent+bwd/{rows // 2}", step, 6 * rows * rows * 128, 3 * z.numel() * z.element_size())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="bf16")
    parser.add_argument("--seconds", type=float, default=0.5, help="to measure each op for")
    parser.add_argument("--shrink", type=int, default=1, help="divide batches by this: to try the script")
    parser.add_argument("--json", required=True)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    clock = Clock(args.device, args.seconds)
    source = torch.randn((1 << 28) // args.shrink, device=args.device)
    target = torch.empty_like(source)
    clock.time("copy", lambda: target.copy_(source), 0, 8 * source.numel())
    del source, target
    side = 8192 // args.shrink
    a, b = (torch.randn(side, side, device=args.device, dtype=dtype) for _ in range(2))
    clock.time(f"matmul/{side}", lambda: a @ b.T, 2 * side**3, 3 * side * side * a.element_size())
    convolutions(clock, dtype, args.shrink)
    memory_bound(clock, dtype, args.shrink)
    losses(clock, dtype, args.shrink)
    name = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    report = {"device": name, "torch": torch.__version__, "precision": args.precision, "timings": clock.rows}
    with open(args.json, "w") as file:
        json.dump(report, file, indent=2)


if __name__ == "__main__":
    main()
