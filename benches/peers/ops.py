"""What PyTorch takes for the shapes that `rusa bench op --cases` times: convolutions by cuDNN, the ops between them, losses as
usually written (nt_xent with its whole 2N x 2N matrix), and the card's own ceilings: a copy and a matrix product.

usage: python benches/peers/shapes.py cases.json
       python benches/peers/ops.py --cases cases.json --device cuda --precision bf16 --json FILE
Eager, channels_last, autotuned cuDNN; backward passes by autograd, convolutions' each alone. Each figure is the median of
timed calls, by events on a GPU, whose caches are filled with other data before each. Prints a line an op, writes every sample.
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

from simclr import nt_xent


class Clock:
    def __init__(self, device, seconds):
        self.device, self.seconds, self.rows = device, seconds, []
        # More than any L2 cache, and long enough to fill that what the host has to say is said meanwhile.
        self.other = torch.empty(1 << 30, dtype=torch.uint8, device=device) if device == "cuda" else None

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
        print(f"{name:<52} {1000 * median:>9.3f} ms", flush=True)
        return self.rows[-1]


def ceilings(clock, dtype, shrink):
    """As `rusa bench copy --json` says them."""
    source = torch.randn((1 << 28) // shrink, device=clock.device)
    target = torch.empty_like(source)
    copy = clock.time("copy", lambda: target.copy_(source), 0, 8 * source.numel())
    side = 8192 // shrink
    a, b = (torch.randn(side, side, device=clock.device, dtype=dtype) for _ in range(2))
    matmul = clock.time("matmul", lambda: a @ b.T, 2 * side**3, 3 * side * side * a.element_size())
    return {"gigabytes_per_second": copy["gigabytes_per_second"], "gflops_per_second": matmul["gflops_per_second"],
            "matmul": f"{str(dtype).removeprefix('torch.')}, {side} cubed"}


def convolution(clock, case, x, w):
    stride, pad = case["params"]["stride"], case["params"]["padding"]
    forward = lambda: F.conv2d(x, w, None, stride, pad)
    dy = torch.randn_like(forward())

    def backward(mask):
        return torch.ops.aten.convolution_backward(
            dy, x, w, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], 1, mask
        )

    clock.time(f"conv2d/{case['name']}", forward)
    # The images take no gradient.
    if x.shape[1] > 3:
        clock.time(f"conv2d/bwd_input/{case['name']}", lambda: backward([True, False, False]))
    clock.time(f"conv2d/bwd_weight/{case['name']}", lambda: backward([False, True, False]))


def batch_norm(t, params):
    c = t["gamma"].numel()
    mean, var = torch.zeros(c, device=t["x"].device), torch.ones(c, device=t["x"].device)

    def forward():
        y = F.batch_norm(t["x"], mean, var, t["gamma"], t["beta"], True)
        return F.relu(y + t["residual"] if "residual" in t else y)

    return forward


FORWARD = {
    "relu": lambda t, p: lambda: F.relu(t["x"]),
    "add": lambda t, p: lambda: t["a"] + t["b"],
    "batch_norm": batch_norm,
    "max_pool": lambda t, p: lambda: F.max_pool2d(t["x"], 3, 2, 1),
    "global_avg_pool": lambda t, p: lambda: t["x"].mean((2, 3)),
    "linear": lambda t, p: lambda: F.linear(t["x"], t["w"], t["b"].to(t["x"].dtype)),
    "l2_normalize": lambda t, p: lambda: F.normalize(t["x"], dim=1),
    "cosine_loss": lambda t, p: lambda: -F.cosine_similarity(t["p"].float(), t["z"].float(), dim=1).mean(),
    "softmax_cross_entropy": lambda t, p: lambda: F.cross_entropy(t["logits"].float(), t["labels"]),
    "nt_xent": lambda t, p: lambda: nt_xent(t["z"].float(), p["temperature"]),
}
# Stay f32 on both sides.
FULL = {"gamma", "beta", "b"}


def tensor(name, shape, device, dtype):
    """[N,H,W,C] and [K,R,S,C] become channels_last tensors of torch's shape."""
    if name == "labels":
        return torch.randint(0, 2, shape, device=device)
    x = torch.randn(shape, device=device, dtype=torch.float32 if name in FULL else dtype)
    return x.permute(0, 3, 1, 2) if len(shape) == 4 else x


def run(clock, case, dtype):
    tensors = {k: tensor(k, shape, clock.device, dtype) for k, shape in case["inputs"].items()}
    if case["op"] == "conv2d":
        convolution(clock, case, tensors["x"], tensors["w"])
        return
    clock_id = lambda suffix: f"{case['op']}{suffix}/{case['name']}"
    forward = FORWARD[case["op"]](tensors, case["params"])
    with torch.no_grad():
        clock.time(clock_id(""), forward)
    if case["op"] == "linear":
        x, w = tensors["x"], tensors["w"]
        dy = torch.randn(len(x), len(w), device=clock.device, dtype=dtype)
        clock.time(clock_id("/bwd_input"), lambda: dy @ w)
        clock.time(clock_id("/bwd_weight"), lambda: dy.T @ x)
        return
    if case["op"] == "add":
        return  # It hands its gradient on as it is.
    leaves = [t.requires_grad_() for t in tensors.values() if t.is_floating_point()]
    y = forward()
    dy = torch.randn_like(y)
    clock.time(clock_id("/bwd"), lambda: torch.autograd.grad(y, leaves, dy, retain_graph=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", required=True, help="what shapes.py wrote")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="bf16")
    parser.add_argument("--seconds", type=float, default=0.2, help="to measure each pass for")
    parser.add_argument("--shrink", type=int, default=1, help="divide the ceilings' sizes by this: to try the script")
    parser.add_argument("--ceilings", help="also write the copy's and the product's rates, for `rusa bench op --ceilings`")
    parser.add_argument("--json", required=True)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    clock = Clock(args.device, args.seconds)
    most = ceilings(clock, dtype, args.shrink)
    if args.ceilings:
        with open(args.ceilings, "w") as file:
            json.dump(most, file, indent=2)
    with open(args.cases) as file:
        cases = json.load(file)
    for case in cases:
        run(clock, case, dtype)
    name = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    report = {"device": name, "torch": torch.__version__, "precision": args.precision, "ceilings": most, "timings": clock.rows}
    with open(args.json, "w") as file:
        json.dump(report, file, indent=2)


if __name__ == "__main__":
    main()
