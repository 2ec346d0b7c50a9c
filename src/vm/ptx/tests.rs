use super::*;
use proptest::prelude::*;

const HEAD: &str = ".version 9.0\n.target sm_80\n.address_size 64\n";

#[test]
fn a_module_as_nvcc_writes_it() {
    let source = format!(
        "{HEAD}
.file 1 \"a.cu\"
.global .align 4 .b8 table[2][4] = {{{{1, 2}}, {{0xff}}}};
.extern .shared .align 16 .b8 s[];
.visible .entry k(
\t.param .u64 k_param_0,
\t.param .align 8 .b8 k_param_1[24]
)
.maxntid 256, 1, 1
{{
\t.reg .pred %p<2>;
\t.loc 1 7 3
$L1:
\t@!%p1 bra $L1;
\t{{ .reg .b32 t; ld.global.v2.f32 {{%f1, %f2}}, [%rd1+-8]; }}
\tsetp.lt.s32 %p1|%p2, %r1, -3;
}}
"
    );
    let module = parse(&source).unwrap();
    assert_eq!((module.target, module.files[&1].as_str()), (80, "a.cu"));
    assert_eq!((module.variables[0].bytes, module.variables[0].init.len()), (8, 3));
    assert_eq!((module.variables[1].bytes, module.variables[1].external), (0, true));
    let kernel = &module.functions[0];
    assert!(kernel.entry && kernel.block_max == Some(256));
    assert_eq!((kernel.params[1].bytes, kernel.params[1].align), (24, 8));
    let body = kernel.body.as_ref().unwrap();
    assert_eq!(body.len(), 6);
    let StatementKind::Block(inner) = &body[4].kind else { panic!("{body:?}") };
    let StatementKind::Instruction(load) = &inner[1].kind else { panic!("{inner:?}") };
    let base = Box::new(Operand::Name("%rd1".into()));
    assert_eq!(load.operands[1], Operand::Address { base, offset: -8 });
}

#[test]
fn errors_name_the_line() {
    for (body, what) in
        [("add.s32 %r1 %r2;", "expected `,`"), ("ld.f32 %f1, [%r1;", "expected `]`"), ("{", "statement")]
    {
        let error = parse(&format!("{HEAD}.entry k()\n{{\n{body}\n}}")).unwrap_err();
        assert!((6..=7).contains(&error.line) && error.what.contains(what), "{body}: {error}");
    }
}

const SAMPLE: &str = include_str!("../../../tests/vm/sample.ptx");

/// Loads and links whatever the text may still be: errors are welcome, panics are not.
fn survive(text: &str) {
    let mut machine = crate::vm::Machine::new();
    let Ok(module) = machine.load(text) else { return };
    for entry in module.entries() {
        let _ = module.program(entry);
    }
}

/// Names, numbers and marks, with the blanks between them.
fn tokens(line: &str) -> Vec<&str> {
    let word = |c: char| c.is_alphanumeric() || "_.%$".contains(c);
    let mut cuts = vec![0];
    let chars: Vec<(usize, char)> = line.char_indices().collect();
    cuts.extend(chars.windows(2).filter(|w| !(word(w[0].1) && word(w[1].1))).map(|w| w[1].0));
    cuts.push(line.len());
    cuts.windows(2).map(|w| &line[w[0]..w[1]]).collect()
}

#[test]
fn variables_that_would_fill_the_host_are_refused() {
    let sized = |bytes: u64| {
        crate::vm::Machine::new()
            .load(&format!("{HEAD}.global .b8 a[4096];\n.global .align 8 .b8 b[{bytes}];"))
    };
    assert!(sized(1 << 16).is_ok());
    for bytes in [1 << 28, 1 << 31, u64::MAX] {
        assert!(sized(bytes).is_err(), "{bytes}");
    }
}

proptest! {
    /// A slip of the pen somewhere in valid text: an error or a module, never a panic.
    #[test]
    fn mutated_text_never_panics(at in any::<prop::sample::Index>(), len in 0..20usize, with in ".{0,6}") {
        let mut start = at.index(SAMPLE.len());
        while !SAMPLE.is_char_boundary(start) { start -= 1; }
        let mut end = (start + len).min(SAMPLE.len());
        while !SAMPLE.is_char_boundary(end) { end += 1; }
        survive(&format!("{}{with}{}", &SAMPLE[..start], &SAMPLE[end..]));
    }

    /// Lines lost, doubled or moved.
    #[test]
    fn shuffled_lines_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..3), 1..8)
    ) {
        let mut lines: Vec<&str> = SAMPLE.lines().collect();
        for (from, to, edit) in edits {
            let (from, to) = (from.index(lines.len()), to.index(lines.len()));
            match edit {
                0 => drop(lines.remove(from)),
                1 => lines.insert(to, lines[from]),
                _ => lines.swap(from, to),
            }
        }
        survive(&lines.join("\n"));
    }

    /// A token replaced by another of the file, or by a number at an edge.
    #[test]
    fn exchanged_tokens_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..9usize), 1..6)
    ) {
        const EDGES: [&str; 8] =
            ["0", "-1", "4294967296", "18446744073709551615", "-9223372036854775808", "0x7fffffff", "{}", "_"];
        let mut all: Vec<&str> = SAMPLE.split_inclusive('\n').flat_map(tokens).collect();
        for (at, from, edge) in edits {
            let (at, from) = (at.index(all.len()), from.index(all.len()));
            all[at] = EDGES.get(edge).copied().unwrap_or(all[from]);
        }
        survive(&all.concat());
    }

    #[test]
    fn any_text_never_panics(text in "[\\x00-\\x7f]{0,200}") {
        survive(&format!("{HEAD}{text}"));
    }
}
