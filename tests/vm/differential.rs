//! Random small programs, run on the machine and by a few lines of plain Rust.

use proptest::prelude::*;
use rusa::vm::{Argument, Machine, Shape};

/// Registers of a program; the first four hold inputs.
const REGISTERS: usize = 8;
const THREADS: usize = 64;

/// d = op(a, b, c), perhaps only where register `guard` is odd.
#[derive(Clone, Debug)]
struct Step {
    op: usize,
    d: usize,
    abc: [usize; 3],
    guard: Option<usize>,
}

type Evaluate = fn(u32, u32, u32) -> u32;

fn float(x: f32) -> u32 {
    if x.is_nan() { 0x7fff_ffff } else { x.to_bits() }
}

fn f(x: u32) -> f32 {
    f32::from_bits(x)
}

/// Instructions of three, two or one sources, and what they mean.
const OPS: [(&str, usize, Evaluate); 30] = [
    ("add.u32", 2, |a, b, _| a.wrapping_add(b)),
    ("sub.s32", 2, |a, b, _| a.wrapping_sub(b)),
    ("mul.lo.u32", 2, |a, b, _| a.wrapping_mul(b)),
    ("mul.hi.u32", 2, |a, b, _| ((u64::from(a) * u64::from(b)) >> 32) as u32),
    ("mul.hi.s32", 2, |a, b, _| ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32),
    ("mad.lo.s32", 3, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
    ("and.b32", 2, |a, b, _| a & b),
    ("or.b32", 2, |a, b, _| a | b),
    ("xor.b32", 2, |a, b, _| a ^ b),
    ("not.b32", 1, |a, _, _| !a),
    ("shl.b32", 2, |a, b, _| a.checked_shl(b).unwrap_or(0)),
    ("shr.u32", 2, |a, b, _| a.checked_shr(b).unwrap_or(0)),
    ("shr.s32", 2, |a, b, _| ((a as i32) >> b.min(31)) as u32),
    ("min.s32", 2, |a, b, _| (a as i32).min(b as i32) as u32),
    ("max.u32", 2, |a, b, _| a.max(b)),
    ("popc.b32", 1, |a, _, _| a.count_ones()),
    ("clz.b32", 1, |a, _, _| a.leading_zeros()),
    ("brev.b32", 1, |a, _, _| a.reverse_bits()),
    ("abs.s32", 1, |a, _, _| (a as i32).wrapping_abs() as u32),
    ("add.sat.s32", 2, |a, b, _| (a as i32).saturating_add(b as i32) as u32),
    ("sad.u32", 3, |a, b, c| c.wrapping_add(a.abs_diff(b))),
    ("shf.l.wrap.b32", 3, |a, b, c| (((u64::from(b) << 32 | u64::from(a)) << (c & 31)) >> 32) as u32),
    ("add.f32", 2, |a, b, _| float(f(a) + f(b))),
    ("mul.f32", 2, |a, b, _| float(f(a) * f(b))),
    ("fma.rn.f32", 3, |a, b, c| float(f(a).mul_add(f(b), f(c)))),
    ("div.rn.f32", 2, |a, b, _| float(f(a) / f(b))),
    ("sqrt.rn.f32", 1, |a, _, _| float(f(a).sqrt())),
    ("cvt.rn.f32.s32", 1, |a, _, _| (a as i32 as f32).to_bits()),
    ("cvt.rzi.s32.f32", 1, |a, _, _| f(a) as i32 as u32),
    ("cvt.rn.f32.u32", 1, |a, _, _| (a as f32).to_bits()),
];

fn step() -> impl Strategy<Value = Step> {
    let register = || 0..REGISTERS;
    (0..OPS.len(), register(), [register(), register(), register()], proptest::option::of(register()))
        .prop_map(|(op, d, abc, guard)| Step { op, d, abc, guard })
}

/// Values where arithmetic has its corners.
fn value() -> impl Strategy<Value = u32> {
    prop_oneof![
        any::<u32>(),
        0u32..70,
        any::<f32>().prop_map(f32::to_bits),
        (-1000f32..1000.0).prop_map(f32::to_bits),
        prop::sample::select(vec![
            0x8000_0000,
            0x7fff_ffff,
            u32::MAX,
            1,
            0x7f80_0000,
            0xff80_0000,
            0x7fc0_0000,
            0x0080_0000
        ]),
    ]
}

/// Guarded steps become branches half of the time, so that lanes diverge and meet again.
fn ptx(steps: &[Step], branches: &[bool]) -> String {
    let mut body = String::new();
    for (at, (step, branch)) in steps.iter().zip(branches.iter().cycle()).enumerate() {
        let (name, sources, _) = OPS[step.op];
        let operands: String = step.abc[..sources].iter().map(|r| format!(", %r{r}")).collect();
        let text = format!("{name} %r{}{operands};", step.d);
        match step.guard {
            None => body += &format!("{text}\n"),
            Some(guard) => {
                body += &format!("and.b32 %r20, %r{guard}, 1;\nsetp.eq.u32 %p1, %r20, 1;\n");
                body += &if *branch {
                    format!("@!%p1 bra L{at};\n{text}\nL{at}:\n")
                } else {
                    format!("@%p1 {text}\n")
                };
            }
        }
    }
    let moves = |verb: &str| -> String {
        (0..REGISTERS)
            .map(|r| {
                if verb == "ld" {
                    format!("ld.global.u32 %r{r}, [%rd2+{}];\n", 4 * r)
                } else {
                    format!("st.global.u32 [%rd2+{}], %r{r};\n", 4 * r)
                }
            })
            .collect()
    };
    format!(
        ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 x) {{\n\
         .reg .pred %p<2>; .reg .b32 %r<24>; .reg .b64 %rd<4>;\n\
         ld.param.u64 %rd0, [x];\nmov.u32 %r21, %tid.x;\nmul.wide.u32 %rd1, %r21, {};\nadd.s64 %rd2, %rd0, %rd1;\n{}{body}{}ret;\n}}\n",
        4 * REGISTERS,
        moves("ld"),
        moves("st")
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn random_programs_compute_what_rust_does(
        steps in prop::collection::vec(step(), 1..25),
        branches in prop::collection::vec(any::<bool>(), 1..8),
        inputs in prop::collection::vec(value(), THREADS * REGISTERS),
    ) {
        let text = ptx(&steps, &branches);
        let mut machine = Machine::new();
        let module = machine.load(&text).unwrap();
        let x = machine.allocate("x", 4 * inputs.len() as u64).unwrap();
        machine.write(x, bytemuck::cast_slice(&inputs)).unwrap();
        let shape = Shape { block: [THREADS as u32, 1, 1], check: true, ..Shape::default() };
        let outcome = machine.launch(&module, "k", &shape, &[Argument::Pointer(x)]).unwrap();
        prop_assert!(outcome.findings.is_empty());
        let mut results = vec![0u32; inputs.len()];
        machine.read(x, bytemuck::cast_slice_mut(&mut results)).unwrap();
        for (thread, (input, result)) in inputs.chunks(REGISTERS).zip(results.chunks(REGISTERS)).enumerate() {
            let mut registers: [u32; REGISTERS] = input.try_into().unwrap();
            for step in &steps {
                if step.guard.is_none_or(|guard| registers[guard] & 1 == 1) {
                    let [a, b, c] = step.abc.map(|r| registers[r]);
                    registers[step.d] = OPS[step.op].2(a, b, c);
                }
            }
            prop_assert_eq!(result, &registers[..], "thread {} of\n{}", thread, text);
        }
    }
}
