"""One SimCLR training step in plain PyTorch: the peer of `rusa bench step`.

usage: python benches/peers/step.py --encoder resnet10 --width 16 --image 28 --channels 1 --batch 256
Forward on both views at once, NT-Xent, backward, SGD with momentum; the views are given, so no loading and no
augmentation, as in our bench. channels_last, all cores. On a GPU (--device cuda) the step is timed by events, eagerly, with
torch.compile, or replayed as a CUDA graph (--graph; both together compile first). Prints one JSON object with the fields of `rusa bench step`:
images_per_second (source images, median), milliseconds (median), views_per_image, and what it was measured with.
"""

import argparse
import json
import os
import resource
import statistics
import time

import torch

from simclr import RESNETS, Encoder, SimCLR, nt_xent


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", choices=RESNETS, default="resnet18")
    parser.add_argument("--width", type=int, default=64, help="channels of the first stage")
    parser.add_argument("--stem", choices=["small", "imagenet"], help="default: small up to 64 pixels")
    parser.add_argument("--image", type=int, default=32, help="pixels of a view")
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--batch", type=int, default=256, help="source images; the network sees twice as many views")
    parser.add_argument("--hidden", type=int, default=512, help="features between the head's two layers")
    parser.add_argument("--out", type=int, default=128, help="features of the head")
    parser.add_argument("--temperature", type=float, default=0.2)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32", help="bf16: autocast")
    parser.add_argument("--compile", action="store_true", help="torch.compile the network")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--graph", action="store_true", help="capture the step as a CUDA graph")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--warmup", type=int, default=3, help="steps before timing")
    parser.add_argument("--repeats", type=int, default=10, help="steps timed")
    return parser.parse_args()


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    stem = args.stem or ("small" if args.image <= 64 else "imagenet")
    encoder = Encoder(args.encoder, args.width, stem, args.channels)
    model = SimCLR(encoder, args.hidden, args.out).to(args.device, memory_format=torch.channels_last).train()
    network = torch.compile(model) if args.compile else model
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4, fused=True)
    views = torch.randn(2 * args.batch, args.channels, args.image, args.image)
    views = views.to(args.device, memory_format=torch.channels_last)
    torch.backends.cudnn.benchmark = True

    def step():
        with torch.autocast(args.device, torch.bfloat16, enabled=args.precision == "bf16"):
            z = network(views)
        loss = nt_xent(z.float(), args.temperature)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    replay = step
    if args.graph:
        # Warm up aside, as the documentation of torch.cuda.graph asks.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(5):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = step()

        def replay():
            graph.replay()
            return captured

    for _ in range(args.warmup):
        replay()
    seconds = []
    for _ in range(args.repeats):
        if args.device == "cuda":
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            began.record()
            loss = replay()
            ended.record()
            torch.cuda.synchronize()
            seconds.append(began.elapsed_time(ended) / 1000)
        else:
            start = time.perf_counter()
            loss = replay().item()
            seconds.append(time.perf_counter() - start)
    loss = float(loss)
    assert loss == loss, "the loss is NaN: nothing was measured"
    median = statistics.median(seconds)
    report = {
        "images_per_second": args.batch / median,
        "milliseconds": 1000 * median,
        "views_per_image": 2,
        "milliseconds_min": 1000 * min(seconds),
        "milliseconds_max": 1000 * max(seconds),
        "repeats": args.repeats,
        "encoder": args.encoder,
        "encoder.width": args.width,
        "encoder.stem": stem,
        "method": "simclr",
        "image": args.image,
        "channels": args.channels,
        "batch": args.batch,
        "precision": args.precision,
        "compiled": args.compile,
        "graph": args.graph,
        "device": torch.cuda.get_device_name() if args.device == "cuda" else "cpu",
        "samples_milliseconds": [1000 * s for s in seconds],
        "parameters": sum(p.numel() for p in model.parameters()),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "peak_rss_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "torch": torch.__version__,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
