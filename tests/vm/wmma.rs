//! Every shape, type and layout of `wmma`: a and b loaded, multiplied, added to c, stored.

use half::{bf16, f16};
use rusa::vm::{Argument, Machine, Shape};

/// Registers a lane of a, b, c and d, as PTX wants them.
struct Case {
    shape: [usize; 3],
    operand: &'static str,
    sum: &'static str,
    registers: [usize; 3],
}

const CASES: [Case; 17] = [
    Case { shape: [16, 16, 16], operand: "f16", sum: "f32", registers: [8, 8, 8] },
    Case { shape: [32, 8, 16], operand: "f16", sum: "f32", registers: [8, 8, 8] },
    Case { shape: [8, 32, 16], operand: "f16", sum: "f32", registers: [8, 8, 8] },
    Case { shape: [16, 16, 16], operand: "f16", sum: "f16", registers: [8, 8, 4] },
    Case { shape: [32, 8, 16], operand: "f16", sum: "f16", registers: [8, 8, 4] },
    Case { shape: [8, 32, 16], operand: "f16", sum: "f16", registers: [8, 8, 4] },
    Case { shape: [16, 16, 16], operand: "bf16", sum: "f32", registers: [4, 4, 8] },
    Case { shape: [32, 8, 16], operand: "bf16", sum: "f32", registers: [8, 2, 8] },
    Case { shape: [8, 32, 16], operand: "bf16", sum: "f32", registers: [2, 8, 8] },
    Case { shape: [16, 16, 8], operand: "tf32", sum: "f32", registers: [4, 4, 8] },
    Case { shape: [16, 16, 16], operand: "s8", sum: "s32", registers: [2, 2, 8] },
    Case { shape: [32, 8, 16], operand: "s8", sum: "s32", registers: [4, 1, 8] },
    Case { shape: [8, 32, 16], operand: "s8", sum: "s32", registers: [1, 4, 8] },
    Case { shape: [16, 16, 16], operand: "u8", sum: "s32", registers: [2, 2, 8] },
    Case { shape: [32, 8, 16], operand: "u8", sum: "s32", registers: [4, 1, 8] },
    Case { shape: [8, 32, 16], operand: "u8", sum: "s32", registers: [1, 4, 8] },
    Case { shape: [8, 8, 4], operand: "f64", sum: "f64", registers: [1, 1, 2] },
];

fn encode(ty: &str, value: i32) -> Vec<u8> {
    match ty {
        "f16" => f16::from_f32(value as f32).to_le_bytes().into(),
        "bf16" => bf16::from_f32(value as f32).to_le_bytes().into(),
        "f32" | "tf32" => (value as f32).to_le_bytes().into(),
        "f64" => f64::from(value).to_le_bytes().into(),
        "s32" => value.to_le_bytes().into(),
        _ => vec![value as u8],
    }
}

/// Rows of `columns` values, each `stride` apart; element (i, j) lies at (j, i) if by column.
fn matrix(
    ty: &str,
    (rows, columns): (usize, usize),
    by_row: bool,
    stride: usize,
    at: impl Fn(usize, usize) -> i32,
) -> Vec<u8> {
    let (lines, len) = if by_row { (rows, columns) } else { (columns, rows) };
    let value = |line: usize, place: usize| match (place < len, by_row) {
        (false, _) => 0,
        (true, true) => at(line, place),
        (true, false) => at(place, line),
    };
    let mut bytes = Vec::new();
    for line in 0..lines {
        for place in 0..stride {
            bytes.extend(encode(ty, value(line, place)));
        }
    }
    bytes
}

fn list(prefix: &str, count: usize) -> String {
    let all: Vec<String> = (0..count).map(|i| format!("%{prefix}{i}")).collect();
    format!("{{{}}}", all.join(", "))
}

fn ptx(case: &Case, layouts: [&str; 3], strides: [usize; 3]) -> String {
    let Case { shape: [m, n, k], operand, sum, registers: [a, b, c] } = case;
    let (shape, [la, lb, lc]) = (format!("m{m}n{n}k{k}"), layouts);
    let word = |ty: &str| match ty {
        "f64" => "f64",
        "f32" => "f32",
        _ => "b32",
    };
    let types =
        if *operand == "f16" { format!("{sum}.{sum}") } else { format!("{sum}.{operand}.{operand}.{sum}") };
    let rounding = if *operand == "f64" { ".rn" } else { "" };
    let [sa, sb, sc] = strides;
    let (ra, rb, rc, rd) = (list("a", *a), list("b", *b), list("c", *c), list("d", *c));
    format!(
        ".version 9.0\n.target sm_80\n.address_size 64\n\
         .visible .entry k(.param .u64 a, .param .u64 b, .param .u64 c) {{\n\
         .reg .{0} %a<8>, %b<8>; .reg .{1} %c<8>, %d<8>; .reg .b64 %rd<4>; .reg .b32 %r<4>;\n\
         ld.param.u64 %rd0, [a]; ld.param.u64 %rd1, [b]; ld.param.u64 %rd2, [c]; mov.u32 %r0, {sa};\n\
         wmma.load.a.sync.aligned.{la}.{shape}.global.{operand} {ra}, [%rd0], %r0;\n\
         wmma.load.b.sync.aligned.{lb}.{shape}.{operand} {rb}, [%rd1], {sb};\n\
         wmma.load.c.sync.aligned.{lc}.{shape}.global.{sum} {rc}, [%rd2], {sc};\n\
         wmma.mma.sync.aligned.{la}.{lb}.{shape}{rounding}.{types} {rd}, {ra}, {rb}, {rc};\n\
         wmma.store.d.sync.aligned.{lc}.{shape}.global.{sum} [%rd2], {rd}, {sc};\nret;\n}}\n",
        word(operand),
        word(sum)
    )
}

#[test]
fn every_fragment_multiplies() {
    for (number, case) in CASES.iter().enumerate() {
        for layouts in 0..8 {
            let by_row = [0, 1, 2].map(|bit| layouts >> bit & 1 == 0);
            let [m, n, k] = case.shape;
            let sizes = [(m, k), (k, n), (m, n)];
            let stride = |i: usize| (if by_row[i] { sizes[i].1 } else { sizes[i].0 }) + 16;
            let strides = [0, 1, 2].map(stride);
            // Small integers are exact in every type.
            let least = if case.operand == "u8" { 0 } else { -3 };
            let value = |i: usize, row: usize, column: usize| {
                ((row * 7 + column * 11 + i * 3 + row * column) % 7) as i32 + if i < 2 { least } else { -3 }
            };
            let types = [case.operand, case.operand, case.sum];
            let mut machine = Machine::new();
            let module =
                machine.load(&ptx(case, by_row.map(|row| if row { "row" } else { "col" }), strides)).unwrap();
            let mut arguments = Vec::new();
            let mut bytes =
                [0, 1, 2].map(|i| matrix(types[i], sizes[i], by_row[i], strides[i], |r, c| value(i, r, c)));
            for bytes in &bytes {
                let address = machine.allocate("matrix", bytes.len() as u64).unwrap();
                machine.write(address, bytes).unwrap();
                arguments.push(Argument::Pointer(address));
            }
            let shape = Shape { block: [32, 1, 1], check: true, ..Shape::default() };
            let outcome = machine.launch(&module, "k", &shape, &arguments).unwrap();
            assert!(outcome.findings.is_empty(), "case {number}: {}", outcome.findings[0]);
            let Argument::Pointer(address) = arguments[2] else { unreachable!() };
            machine.read(address, &mut bytes[2]).unwrap();
            let product = |r: usize, c: usize| -> i32 {
                value(2, r, c) + (0..k).map(|l| value(0, r, l) * value(1, l, c)).sum::<i32>()
            };
            let expected = matrix(case.sum, (m, n), by_row[2], strides[2], product);
            assert_eq!(bytes[2], expected, "case {number}, layouts {by_row:?}");
        }
    }
}

#[test]
fn what_is_no_fragment_is_refused() {
    let case = &CASES[0];
    let good = ptx(case, ["row", "col", "row"], [16; 3]);
    for (from, to) in
        [("m16n16k16", "m16n16k32"), ("global.f16 {%a0, ", "global.f16 {"), ("load.a", "load.d")]
    {
        let mut machine = Machine::new();
        let module = machine.load(&good.replace(from, to)).unwrap();
        assert!(module.program("k").is_err(), "{to}");
    }
}
