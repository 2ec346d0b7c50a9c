"""Every method's step side by side, from what methods.sh measured.

usage: python benches/peers/methods_table.py FOLDER
Reads METHOD-{rusa,pytorch}-ROUND.json, prints a table in Markdown. Medians are over the rounds' medians; the range of
the ratio is over the rounds, whose two sides ran one after the other. The fastest step of all rounds is what neighbours on
the machine disturbed least.
"""

import json
import re
import sys
from pathlib import Path
from statistics import median

from method_steps import LOSS_BY


def read(folder):
    """method -> side -> the rounds' reports, in order."""
    reports = {}
    for path in sorted(Path(folder).glob("*-*-*.json")):
        if match := re.fullmatch(r"(.+)-(rusa|pytorch)-\d+", path.stem):
            sides = reports.setdefault(match[1], {"rusa": [], "pytorch": []})
            sides[match[2]].append(json.loads(path.read_text()))
    return reports


def fastest(rounds):
    """Milliseconds of the fastest step."""
    return min(r["milliseconds_min"] if "milliseconds_min" in r else min(r["samples_milliseconds"]) for r in rounds)


def row(method, sides):
    speeds = {side: [r["images_per_second"] for r in rounds] for side, rounds in sides.items()}
    ours, theirs = median(speeds["rusa"]), median(speeds["pytorch"])
    ratios = [a / b for a, b in zip(speeds["rusa"], speeds["pytorch"])]
    best = [fastest(sides[side]) for side in ("rusa", "pytorch")]
    work = [sides[side][0]["flops"] / 1e9 for side in ("rusa", "pytorch")]
    cells = [
        method,
        f"{ours:,.0f}",
        f"{theirs:,.0f}",
        f"{ours / theirs:.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        f"{best[0]:.0f} / {best[1]:.0f}",
        f"{best[1] / best[0]:.2f}",
        f"{work[0]:.2f} / {work[1]:.2f}",
        sides["pytorch"][0]["loss_by"],
    ]
    return f"| {' | '.join(cells)} |"


def main():
    reports = read(sys.argv[1])
    print("| method | rusa images/s | PyTorch images/s | ratio (rounds) | fastest step, ms | ratio | GFLOP rusa / PyTorch | loss by |")
    print("|:--|--:|--:|--:|--:|--:|--:|:--|")
    for method in filter(reports.get, LOSS_BY):
        print(row(method, reports[method]))


if __name__ == "__main__":
    main()
