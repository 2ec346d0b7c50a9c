//! Places for boxes in layers (Sugiyama, Tagawa & Toda 1981): every edge leads down, with few crossings, as straight as may
//! be.

/// What is to be placed.
pub(super) struct Request<'a> {
    /// Of each box.
    pub sizes: &'a [[f64; 2]],
    /// From box, to box.
    pub edges: &'a [(usize, usize)],
    /// Boxes without edges into them, which stand just above their first reader.
    pub sources: &'a [bool],
    /// Boxes that stand below all others.
    pub last: &'a [bool],
}

/// Where all is.
pub(super) struct Layout {
    /// Centre and upper edge of each box.
    pub boxes: Vec<[f64; 2]>,
    /// By edge: x, y from and y to of each layer that it passes through.
    pub bends: Vec<Vec<[f64; 3]>>,
    pub width: f64,
    pub height: f64,
}

const GAP: f64 = 26.0;
/// Between layers: room for two lines of labels and an arrow.
const DROP: f64 = 54.0;
const SWEEPS: usize = 12;

/// Boxes come first, then a point for each layer that an edge passes through.
struct Items {
    layers: Vec<Vec<usize>>,
    width: Vec<f64>,
    x: Vec<f64>,
    above: Vec<Vec<usize>>,
    below: Vec<Vec<usize>>,
}

pub(super) fn layout(request: &Request) -> Layout {
    let layer = layers(request);
    let depth = layer.iter().max().map_or(0, |l| l + 1);
    let boxes = request.sizes.len();
    let mut items = Items {
        layers: vec![Vec::new(); depth],
        width: request.sizes.iter().map(|s| s[0]).collect(),
        x: vec![0.0; boxes],
        above: vec![Vec::new(); boxes],
        below: vec![Vec::new(); boxes],
    };
    (0..boxes).for_each(|b| items.layers[layer[b]].push(b));
    let passed: Vec<Vec<usize>> = request
        .edges
        .iter()
        .map(|&(from, to)| {
            let points: Vec<usize> = (layer[from] + 1..layer[to]).map(|l| items.point(l)).collect();
            let path: Vec<usize> = [from].into_iter().chain(points.iter().copied()).chain([to]).collect();
            path.windows(2).for_each(|pair| {
                items.below[pair[0]].push(pair[1]);
                items.above[pair[1]].push(pair[0]);
            });
            points
        })
        .collect();
    items.order();
    items.place();

    let half = |i: usize| items.width[i] / 2.0;
    let all = || 0..items.x.len();
    let left = all().map(|i| items.x[i] - half(i)).fold(f64::INFINITY, f64::min);
    let right = all().map(|i| items.x[i] + half(i)).fold(f64::NEG_INFINITY, f64::max);
    let (mut top, mut y) = (Vec::with_capacity(depth), 0.0);
    let mut bottom = Vec::with_capacity(depth);
    for row in &items.layers {
        let height = row.iter().filter(|&&i| i < boxes).map(|&i| request.sizes[i][1]).fold(0.0, f64::max);
        top.push(y);
        bottom.push(y + height);
        y += height + DROP;
    }
    let bends = passed.iter().zip(request.edges).map(|(points, (from, _))| {
        let bend = |(i, &p): (usize, &usize)| {
            let l = layer[*from] + 1 + i;
            [items.x[p] - left, top[l], bottom[l]]
        };
        points.iter().enumerate().map(bend).collect()
    });
    Layout {
        // A lower box in a row of higher ones stands at the foot of a source, else at the head.
        boxes: (0..boxes)
            .map(|b| {
                let sunk = request.sources[b] && layer[b] > 0;
                let y = if sunk { bottom[layer[b]] - request.sizes[b][1] } else { top[layer[b]] };
                [items.x[b] - left, y]
            })
            .collect(),
        bends: bends.collect(),
        width: (right - left).max(0.0),
        height: (y - DROP).max(0.0),
    }
}

/// The layer of each box: below all that it reads.
fn layers(request: &Request) -> Vec<usize> {
    let mut layer = vec![0; request.sizes.len()];
    let settle = |layer: &mut Vec<usize>| {
        // Edges of a step have no cycle, so that this ends.
        while let Some(&(from, to)) = request.edges.iter().find(|(from, to)| layer[*to] <= layer[*from]) {
            layer[to] = layer[from] + 1;
        }
    };
    settle(&mut layer);
    let others = (0..layer.len()).filter(|&b| !request.last[b]).map(|b| layer[b]).max();
    (0..layer.len())
        .filter(|&b| request.last[b])
        .for_each(|b| layer[b] = layer[b].max(others.map_or(0, |l| l + 1)));
    settle(&mut layer);
    for source in (0..layer.len()).filter(|&b| request.sources[b]) {
        let readers = request.edges.iter().filter(|(from, _)| *from == source).map(|(_, to)| layer[*to]);
        layer[source] = readers.min().map_or(0, |l| l - 1);
    }
    layer
}

impl Items {
    fn point(&mut self, layer: usize) -> usize {
        self.layers[layer].push(self.x.len());
        self.x.push(0.0);
        self.width.push(10.0);
        self.above.push(Vec::new());
        self.below.push(Vec::new());
        self.x.len() - 1
    }

    /// Orders each layer by the mean place of its neighbours, down and up in turn; the order with the fewest crossings stays.
    fn order(&mut self) {
        let mut best = (self.crossings(), self.layers.clone());
        for sweep in 0..2 * SWEEPS {
            let depth = self.layers.len();
            for step in 1..depth {
                let l = if sweep % 2 == 0 { step } else { depth - 1 - step };
                let places = self.places();
                let near = if sweep % 2 == 0 { &self.above } else { &self.below };
                let mean = |i: &usize| {
                    let of = &near[*i];
                    let sum: usize = of.iter().map(|&j| places[j]).sum();
                    if of.is_empty() { places[*i] as f64 } else { sum as f64 / of.len() as f64 }
                };
                self.layers[l].sort_by(|a, b| mean(a).total_cmp(&mean(b)));
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.layers.clone());
            }
        }
        self.layers = best.1;
    }

    /// Each item's place in its layer.
    fn places(&self) -> Vec<usize> {
        let mut places = vec![0; self.x.len()];
        self.layers.iter().for_each(|row| row.iter().enumerate().for_each(|(place, &i)| places[i] = place));
        places
    }

    fn crossings(&self) -> usize {
        let places = self.places();
        let mut count = 0;
        for row in &self.layers {
            let ends: Vec<(usize, usize)> = row
                .iter()
                .flat_map(|&i| self.below[i].iter().map(move |&j| (i, j)))
                .map(|(i, j)| (places[i], places[j]))
                .collect();
            for (n, a) in ends.iter().enumerate() {
                count +=
                    ends[..n].iter().filter(|b| (a.0 < b.0 && a.1 > b.1) || (a.0 > b.0 && a.1 < b.1)).count();
            }
        }
        count
    }

    /// Moves each layer's items to the mean of their neighbours, as near as their widths allow.
    fn place(&mut self) {
        for l in 0..self.layers.len() {
            self.settle(l, |_, _| 0.0);
        }
        for sweep in 0..2 * SWEEPS {
            for step in 0..self.layers.len() {
                let down = sweep % 2 == 0;
                let l = if down { step } else { self.layers.len() - 1 - step };
                self.settle(l, |items, i| {
                    let near = if down { &items.above[i] } else { &items.below[i] };
                    let sum: f64 = near.iter().map(|&j| items.x[j]).sum();
                    if near.is_empty() { items.x[i] } else { sum / near.len() as f64 }
                });
            }
        }
    }

    /// The places nearest to `wish` by least squares that keep the order and the gaps: isotonic regression, by pooling
    /// neighbours that would overlap.
    fn settle(&mut self, layer: usize, wish: impl Fn(&Self, usize) -> f64) {
        let row = self.layers[layer].clone();
        let mut offset = 0.0;
        let mut offsets = Vec::with_capacity(row.len());
        for (n, &i) in row.iter().enumerate() {
            if n > 0 {
                offset += (self.width[row[n - 1]] + self.width[i]) / 2.0 + GAP;
            }
            offsets.push(offset);
        }
        let mut pools: Vec<(f64, usize)> = Vec::new();
        for (n, &i) in row.iter().enumerate() {
            let mut pool = (wish(self, i) - offsets[n], 1);
            while let Some((sum, count)) =
                pools.pop_if(|(sum, count)| *sum / *count as f64 > pool.0 / pool.1 as f64)
            {
                pool = (pool.0 + sum, pool.1 + count);
            }
            pools.push(pool);
        }
        let places = pools.iter().flat_map(|&(sum, count)| std::iter::repeat_n(sum / count as f64, count));
        for ((&i, offset), place) in row.iter().zip(&offsets).zip(places) {
            self.x[i] = place + offset;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_lead_down_and_boxes_do_not_overlap() {
        // Two chains, a long edge, a source of the last box, and a box behind all.
        let edges = [(0, 1), (1, 2), (3, 4), (4, 2), (0, 2), (5, 2), (4, 6)];
        let sizes = [[100.0, 30.0]; 7];
        let sources = [true, false, false, true, false, true, false];
        let last = [false, false, false, false, false, false, true];
        let found = layout(&Request { sizes: &sizes, edges: &edges, sources: &sources, last: &last });
        for (from, to) in edges {
            assert!(found.boxes[from][1] + 30.0 < found.boxes[to][1], "{from} {to}");
        }
        for a in 0..7 {
            assert!(found.boxes[a][0] >= 50.0 && found.boxes[a][0] <= found.width - 50.0);
            for b in 0..a {
                let [x, y] = [0, 1].map(|i| (found.boxes[a][i] - found.boxes[b][i]).abs());
                assert!(x >= 100.0 || y >= 30.0, "{a} {b}");
            }
        }
        assert_eq!(found.bends[4].len(), 1);
        assert_eq!(found.boxes[5][1], found.boxes[1][1], "a source stands just above its reader");
        assert!((0..6).all(|b| found.boxes[b][1] < found.boxes[6][1]));
    }
}
