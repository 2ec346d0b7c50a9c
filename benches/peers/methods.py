"""A training step of any method in PyTorch, by lightly's losses: the peer of `rusa bench step --method M`.

usage: python benches/peers/methods.py --method byol --encoder resnet10 --width 16 --image 28 --channels 1 --batch 128
What that command times and nothing else: forward passes (the teacher's too), loss, backward, SGD with momentum, then
moving averages, queues and memory banks, on views that are given, so no loading and no augmentation. Heads and losses
have the sizes of presets/. f32, all cores, eagerly or with --compile. The learning rate is 0, as there: the work is the
same and the weights stay put however long it takes.
Prints one line of JSON with the fields of step.py, what the loss is by, and the step's multiplications and additions.
"""

import argparse
import json
import os
import resource
import statistics
import time

import lightly
import torch
from torch.utils.flop_counter import FlopCounterMode

from method_settings import settings
from method_steps import LOSS_BY, Step
from method_tasks import view_sizes
from simclr import RESNETS, Encoder

LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=[*LOSS_BY, "list"], default="simclr", help="list: print their names")
    parser.add_argument("--encoder", choices=RESNETS, default="resnet10")
    parser.add_argument("--width", type=int, default=16, help="channels of the first stage")
    parser.add_argument("--stem", choices=["small", "imagenet"], help="default: small up to 64 pixels")
    parser.add_argument("--image", type=int, default=28, help="pixels of a view")
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--batch", type=int, default=128, help="source images; the network sees every view of each")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to time, at least five steps")
    parser.add_argument("--layout", choices=LAYOUTS, default="channels_last")
    parser.add_argument("--compile", action="store_true", help="torch.compile the encoder")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    return parser.parse_args()


def sgd(model, wants):
    """rusa's: biases and batch norms do not decay."""
    learned = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": wants["weight_decay"]},
        {"params": [p for p in learned if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=0.0, momentum=wants["momentum"], fused=True)


def timed(step, seconds):
    """Seconds of each step, after two that do not count: `rusa bench`'s rule."""
    for _ in range(2):
        step()
    began, samples = time.perf_counter(), []
    while len(samples) < 5 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        loss = step().item()
        samples.append(time.perf_counter() - start)
    assert loss == loss, "the loss is NaN: nothing was measured"
    return samples


def main():
    args = arguments()
    if args.method == "list":
        print("\n".join(LOSS_BY))
        return
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    stem, layout = args.stem or ("small" if args.image <= 64 else "imagenet"), LAYOUTS[args.layout]
    encoder = Encoder(args.encoder, args.width, stem, args.channels)
    model = Step(args.method, encoder, args.batch).to(memory_format=layout).train()
    *_, wants = settings(args.method)
    optimizer = sgd(model, wants)
    sizes = view_sizes(args.method, args.image)
    views = [torch.randn(count * args.batch, args.channels, size, size) for count, size in sizes]
    views = [v.to(memory_format=layout) for v in views]

    def step():
        loss = model(*views)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        model.after()
        return loss

    with FlopCounterMode(display=False) as counter:
        step()
    if args.compile:
        model.encoder.compile()
        if model.teacher is not None:
            model.teacher["encoder"].compile()
    seconds = timed(step, args.seconds)
    median = statistics.median(seconds)
    report = {
        "images_per_second": args.batch / median,
        "milliseconds": 1000 * median,
        "views_per_image": sum(count for count, _ in sizes),
        "milliseconds_min": 1000 * min(seconds),
        "milliseconds_max": 1000 * max(seconds),
        "repeats": len(seconds),
        "encoder": args.encoder,
        "encoder.width": args.width,
        "encoder.stem": stem,
        "method": args.method,
        "loss_by": LOSS_BY[args.method],
        "image": args.image,
        "channels": args.channels,
        "batch": args.batch,
        "projector": model.head if args.method != "rotation" else None,
        "loss": model.s,
        "precision": "f32",
        "layout": args.layout,
        "compiled": args.compile,
        "device": "cpu",
        "flops": counter.get_total_flops(),
        "samples_milliseconds": [1000 * s for s in seconds],
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "peak_rss_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "torch": torch.__version__,
        "lightly": lightly.__version__,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
