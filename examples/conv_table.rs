//! GFLOP/s of every convolution of two encoders, each pass: the rows of `benches/peers/conv.py`.
//!
//! usage: conv_table [threads] [rounds] [direct|winograd|best] [part of a row's name]
//!
//! With one thread the times are CPU time.

use std::time::Instant;

use rusa::ops::conv2d::{Engine, Geometry, Isa, Pass, Technique};

/// Every distinct convolution of a small-stem ResNet of basic blocks, with how many it has; the stem is first.
fn layers(n: usize, size: usize, channels: usize, width: usize, blocks: usize) -> Vec<(Geometry, usize)> {
    let conv = |size: usize, c: usize, k: usize, taps: usize, stride: usize| Geometry {
        n,
        h: size,
        w: size,
        c,
        k,
        r: taps,
        s: taps,
        stride: [stride; 2],
        padding: [taps / 2; 2],
        dilation: [1; 2],
    };
    let mut all = vec![conv(size, channels, width, 3, 1)];
    let (mut size, mut c) = (size, width);
    for stage in 0..4 {
        let k = width << stage;
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            all.push(conv(size, c, k, 3, stride));
            if stride == 2 {
                all.push(conv(size, c, k, 1, 2));
            }
            size = size.div_ceil(stride);
            all.push(conv(size, k, k, 3, 1));
            c = k;
        }
    }
    let mut distinct: Vec<(Geometry, usize)> = Vec::new();
    for g in all {
        match distinct.iter_mut().find(|(seen, _)| *seen == g) {
            Some((_, count)) => *count += 1,
            None => distinct.push((g, 1)),
        }
    }
    distinct
}

/// Seconds so far: of this thread's CPU time if it works alone (what others do on the machine is then left out), else of
/// the clock.
#[cfg(target_os = "linux")]
fn seconds() -> f64 {
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
    }
    const MONOTONIC: i32 = 1;
    const THREAD_CPUTIME: i32 = 3;
    let clock = if rayon::current_num_threads() == 1 { THREAD_CPUTIME } else { MONOTONIC };
    let mut time = [0; 2];
    // SAFETY: `time` has the layout of a 64-bit `timespec`.
    unsafe { clock_gettime(clock, &mut time) };
    time[0] as f64 + time[1] as f64 * 1e-9
}

#[cfg(not(target_os = "linux"))]
fn seconds() -> f64 {
    static BEGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    BEGIN.elapsed().as_secs_f64()
}

/// Seconds of one call: groups of calls long enough to time, the fastest group.
fn fastest(rounds: usize, mut work: impl FnMut()) -> f64 {
    work();
    let begin = Instant::now();
    work();
    let calls = (0.03 / begin.elapsed().as_secs_f64()).max(1.0) as usize;
    let group = |_| {
        let begin = seconds();
        (0..calls).for_each(|_| work());
        (seconds() - begin) / calls as f64
    };
    (0..rounds).map(group).fold(f64::INFINITY, f64::min)
}

fn network(title: &str, layers: &[(Geometry, usize)], rounds: usize, forced: Option<Technique>, part: &str) {
    println!("{title}: layer, GFLOP/s forward, bwd_input, bwd_weight; ms each; count");
    let mut totals = [0.0; 3];
    for (index, (g, count)) in layers.iter().enumerate() {
        let Geometry { h, c, k, r, stride, .. } = g;
        let name = format!("{c:4}->{k:<4}{r}x{r} @{h:<3} s{}", stride[0]);
        if !name.contains(part) {
            continue;
        }
        let noise = |len: usize| (0..len).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect::<Vec<_>>();
        let (mut x, mut w, mut y) = (noise(g.x_len()), noise(g.w_len()), noise(g.y_len()));
        let mut rates = String::new();
        let mut times = String::new();
        for (total, pass) in totals.iter_mut().zip(Pass::ALL) {
            if index == 0 && pass == Pass::BwdInput {
                rates += "        -";
                times += "        -";
                continue;
            }
            let technique = forced.filter(|technique| technique.accepts(g)).unwrap_or(Technique::choose(g));
            let engine = Engine { technique, isa: Isa::best() };
            let mut scratch = vec![0.0; engine.scratch_len(g, pass)];
            let seconds = fastest(rounds, || match pass {
                Pass::Forward => engine.forward(g, &x, &w, &mut y, &mut scratch),
                Pass::BwdInput => engine.bwd_input(g, &y, &w, &mut x, false, &mut scratch),
                Pass::BwdWeight => engine.bwd_weight(g, &x, &y, &mut w, false, &mut scratch),
            });
            *total += *count as f64 * seconds;
            rates += &format!(" {:8.1}", g.flops() as f64 / seconds / 1e9);
            times += &format!(" {:8.3}", seconds * 1e3);
        }
        println!("{name}{rates}  {times}  x{count}");
    }
    let [forward, input, weight] = totals.map(|seconds| seconds * 1e3);
    let all = forward + input + weight;
    println!("total ms: forward {forward:.2} bwd_input {input:.2} bwd_weight {weight:.2} all {all:.2}\n");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default| arguments.get(i).and_then(|word| word.parse().ok()).unwrap_or(default);
    let forced = Technique::ALL
        .into_iter()
        .find(|technique| arguments.get(2).is_some_and(|word| word == technique.name()));
    let part = arguments.get(3).map_or("", String::as_str);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(number(0, 2)).build().expect("a thread pool");
    pool.install(|| {
        println!("{:?}, {} threads", Isa::best(), rayon::current_num_threads());
        network("resnet10 w16 28x28x1 n512", &layers(512, 28, 1, 16, 1), number(1, 7), forced, part);
        network("resnet18 w64 32x32x3 n64", &layers(64, 32, 3, 64, 2), number(1, 7), forced, part);
    });
}
