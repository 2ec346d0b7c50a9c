#!/usr/bin/env python3
"""Makes the synthetic hashtags and GPS positions of the embedded Fashion-MNIST: the same bytes every time.

usage: scripts/make-embedded-sidecars.py [FOLDER]      (default: data/fashion-mnist-10k)

Nobody wrote these hashtags and nobody was at these places. Both are drawn from the picture's class, with noise, so that
methods that learn from semi-automatic labels have something to learn from without a download.
"""

import gzip
import random
import sys
from pathlib import Path

SEED = 20180707
NO_TAGS, NOISE, NO_POSITION, AWAY = 0.08, 0.15, 0.05, 0.25
OWN = [
    "tshirt tee top summer casual", "trousers pants jeans chinos", "pullover sweater knitwear winter cozy",
    "dress summerdress partywear", "coat winter outerwear jacket", "sandals shoes summer beach heels",
    "shirt casual button workwear", "sneakers shoes kicks running", "bag handbag purse accessories",
    "boots ankleboots shoes winter leather",
]
SHARED = "fashion ootd style instafashion outfit".split()
OFF_TOPIC = "love happy friday instagood sale vintage monday photooftheday blackandwhite new".split()
CITIES = {  # degrees north, degrees east
    "Miami": (25.76, -80.19), "Los Angeles": (34.05, -118.24), "New York": (40.71, -74.01), "London": (51.51, -0.13),
    "Paris": (48.86, 2.35), "Milan": (45.46, 9.19), "Berlin": (52.52, 13.40), "Oslo": (59.91, 10.75),
    "Moscow": (55.76, 37.62), "Tokyo": (35.68, 139.69), "Sydney": (-33.87, 151.21), "Rio": (-22.91, -43.17),
    "Mumbai": (19.08, 72.88), "Lagos": (6.52, 3.38),
}
HOMES = [
    "Los Angeles, Miami, Lagos", "Berlin, New York, Tokyo", "Oslo, London, Moscow", "Paris, Milan, Mumbai",
    "Moscow, Oslo, New York", "Rio, Sydney, Miami", "London, Mumbai, Berlin", "Tokyo, Los Angeles, New York",
    "Milan, Paris, Lagos", "Moscow, London, Oslo",
]


def tags_of(rng, label):
    if rng.random() < NO_TAGS:
        return []
    own, tags = OWN[label].split(), []
    for _ in range(rng.randint(1, 4)):
        if rng.random() < NOISE:
            tags.append(rng.choice(OFF_TOPIC))
        else:
            tags.append(rng.choice(own if rng.random() < 0.7 else SHARED))
    tags = list(dict.fromkeys(tags))
    return ["#" + (tag.capitalize() if rng.random() < 0.05 else tag) for tag in tags]


def position_of(rng, label):
    if rng.random() < NO_POSITION:
        return None
    home = rng.choice(list(CITIES) if rng.random() < AWAY else HOMES[label].split(", "))
    north, east = CITIES[home]
    return f"{north + rng.gauss(0, 0.15):.2f},{east + rng.gauss(0, 0.15):.2f}"


def write(path, header, lines):
    text = "\n".join([header, *lines, ""]).encode()
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        file.write(text)
    print(f"{path}: {len(lines)} lines, {path.stat().st_size} bytes")


folder = Path(sys.argv[1] if len(sys.argv) > 1 else "data/fashion-mnist-10k")
labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
rng = random.Random(SEED)
tags = [tags_of(rng, label) for label in labels]
write(folder / "hashtags.csv.gz", "index,tags", [f"{i},{' '.join(t)}" for i, t in enumerate(tags) if t])
places = [position_of(rng, label) for label in labels]
write(folder / "gps.csv.gz", "index,latitude,longitude", [f"{i},{p}" for i, p in enumerate(places) if p])
