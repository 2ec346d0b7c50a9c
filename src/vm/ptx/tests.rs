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

proptest! {
    /// A slip of the pen somewhere in valid text: an error or a module, never a panic.
    #[test]
    fn mutated_text_never_panics(at in any::<prop::sample::Index>(), len in 0..20usize, with in ".{0,6}") {
        let text = include_str!("../../../tests/vm/sample.ptx");
        let mut start = at.index(text.len());
        while !text.is_char_boundary(start) { start -= 1; }
        let mut end = (start + len).min(text.len());
        while !text.is_char_boundary(end) { end += 1; }
        let _ = parse(&format!("{}{with}{}", &text[..start], &text[end..]));
    }

    #[test]
    fn any_text_never_panics(text in "[\\x00-\\x7f]{0,200}") {
        let _ = parse(&format!("{HEAD}{text}"));
    }
}
