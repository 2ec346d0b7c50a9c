"""The rows of `examples/conv_table.rs`, in PyTorch: GFLOP/s of every convolution of two encoders, each pass.

usage: python benches/peers/conv.py [threads] [rounds]
f32, channels_last, oneDNN as PyTorch ships it. Each figure is the fastest of `rounds` timed groups; with one thread it is
CPU time, so that what others do on the machine is left out.
"""

import sys
import time

import torch

THREADS = int(sys.argv[1]) if len(sys.argv) > 1 else 2
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 7
clock = time.thread_time if THREADS == 1 else time.perf_counter


def layers(size, channels, width, blocks):
    """(h, c, k, r, stride, count, first) of every distinct convolution of a small-stem ResNet."""
    rows = [(size, channels, width, 3, 1)]
    h, c = size, width
    for stage in range(4):
        k = width << stage
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            rows.append((h, c, k, 3, stride))
            if stride == 2:
                rows.append((h, c, k, 1, 2))
            h = -(-h // stride)
            rows.append((h, k, k, 3, 1))
            c = k
    distinct = {}
    for row in rows:
        distinct[row] = distinct.get(row, 0) + 1
    return [(*row, count) for row, count in distinct.items()]


def fastest(work):
    """Seconds of one call: groups of calls long enough to time, the fastest group."""
    work()
    begin = time.perf_counter()
    work()
    calls = max(1, int(0.03 / max(time.perf_counter() - begin, 1e-6)))
    best = float("inf")
    for _ in range(ROUNDS):
        begin = clock()
        for _ in range(calls):
            work()
        best = min(best, (clock() - begin) / calls)
    return best


def network(title, n, size, channels, width, blocks):
    print(f"{title}: layer, GFLOP/s forward, bwd_input, bwd_weight; ms each; count")
    totals = [0.0, 0.0, 0.0]
    for index, (h, c, k, r, stride, count) in enumerate(layers(size, channels, width, blocks)):
        pad = r // 2
        p = (h + 2 * pad - r) // stride + 1
        flops = 2.0 * n * p * p * k * r * r * c
        x = torch.randn(n, c, h, h).to(memory_format=torch.channels_last)
        w = torch.randn(k, c, r, r).to(memory_format=torch.channels_last)
        dy = torch.randn(n, k, p, p).to(memory_format=torch.channels_last)

        def backward(mask):
            return torch.ops.aten.convolution_backward(
                dy, x, w, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], 1, mask
            )

        passes = [
            lambda: torch.nn.functional.conv2d(x, w, None, stride, pad),
            lambda: backward([True, False, False]),
            lambda: backward([False, True, False]),
        ]
        seconds = [fastest(work) if i != 1 or index > 0 else None for i, work in enumerate(passes)]
        for i, s in enumerate(seconds):
            totals[i] += count * (s or 0.0)
        rates = " ".join(f"{flops / s / 1e9:8.1f}" if s else "       -" for s in seconds)
        times = " ".join(f"{s * 1e3:8.3f}" if s else "       -" for s in seconds)
        print(f"{c:4}->{k:<4}{r}x{r} @{h:<3} s{stride} {rates}   {times}  x{count}", flush=True)
    print(f"total ms: forward {totals[0]*1e3:.2f} bwd_input {totals[1]*1e3:.2f} "
          f"bwd_weight {totals[2]*1e3:.2f} all {sum(totals)*1e3:.2f}\n")


if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, channels_last f32")
    with torch.no_grad():
        network("resnet10 w16 28x28x1 n512", 512, 28, 1, 16, 1)
        network("resnet18 w64 32x32x3 n64", 64, 32, 3, 64, 2)
