//! What public kernels do and the checks must let pass, and what looks like it and is wrong.

use rusa::vm::{Argument, Finding, Kind, Machine, Shape};

const WORDS: usize = 64;

/// Runs `body` with `%rd0` at 64 zeroed words and `%r0` the thread's number; returns the words and what was found.
fn run(grid: u32, block: u32, body: &str) -> (Vec<u32>, Vec<Finding>) {
    let ptx = format!(
        ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 x) {{\n\
         .reg .pred %p<8>; .reg .b32 %r<16>; .reg .b64 %rd<8>; .shared .align 4 .b8 s[256];\n\
         ld.param.u64 %rd0, [x]; mov.u32 %r0, %tid.x;\n{body}\nret;\n}}\n"
    );
    let mut machine = Machine::new();
    let module = machine.load(&ptx).unwrap();
    let x = machine.allocate("x", 4 * WORDS as u64).unwrap();
    machine.write(x, &[0; 4 * WORDS]).unwrap();
    let shape = Shape {
        grid: [grid, 1, 1],
        block: [block, 1, 1],
        check: true,
        stall_limit: 1_000_000,
        ..Shape::default()
    };
    let outcome = machine.launch(&module, "k", &shape, &[Argument::Pointer(x)]).unwrap();
    let mut words = vec![0; WORDS];
    machine.read(x, bytemuck::cast_slice_mut(&mut words)).unwrap();
    (words, outcome.findings)
}

fn clean(grid: u32, block: u32, body: &str) -> Vec<u32> {
    let (words, findings) = run(grid, block, body);
    let all: String = findings.iter().map(|f| format!("\n{f}")).collect();
    assert!(findings.is_empty(), "{body}:{all}");
    words
}

/// A lock taken by compare-and-swap; `%s` is where a fence may stand.
const LOCK: &str = "AGAIN:\natom.global.cas.b32 %r1, [%rd0], 0, 1;\nsetp.ne.u32 %p1, %r1, 0;\n@%p1 bra AGAIN;\n\
     ld.global.u32 %r2, [%rd0+4];\nadd.u32 %r2, %r2, 1;\nst.global.u32 [%rd0+4], %r2;\n%s\
     atom.global.exch.b32 %r3, [%rd0], 0;";

#[test]
fn a_lock_orders_the_lanes_of_a_warp() {
    assert_eq!(clean(2, 64, &LOCK.replace("%s", "membar.gl;\n"))[1], 128);
    let (_, findings) = run(1, 32, &LOCK.replace("%s", ""));
    assert!(findings.iter().any(|f| f.kind == Kind::Race), "a lock given back without a fence");
}

#[test]
fn whoever_sleeps_lets_the_holder_of_the_lock_run() {
    let sleeps = "@!%p1 bra GOT;\nnanosleep.u32 20;\nbra AGAIN;\nGOT:\n";
    let body = LOCK.replace("@%p1 bra AGAIN;", sleeps).replace("%s", "membar.gl;\n");
    let started = std::time::Instant::now();
    assert_eq!(clean(4, 64, &body)[1], 256);
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
}

#[test]
fn a_plain_read_before_a_compare_and_swap_is_no_race() {
    let body = "ld.global.u32 %r1, [%rd0];\nAGAIN:\nmov.u32 %r2, %r1;\nadd.u32 %r3, %r2, 3;\n\
         atom.global.cas.b32 %r1, [%rd0], %r2, %r3;\nsetp.ne.u32 %p1, %r1, %r2;\n@%p1 bra AGAIN;";
    assert_eq!(clean(4, 64, body)[0], 3 * 256);
    let (_, findings) =
        run(1, 64, &body.replace("ld.global.u32 %r1", "st.global.u32 [%rd0], %r0;\nld.global.u32 %r1"));
    assert!(findings.iter().any(|f| f.kind == Kind::Race), "a plain write is one");
}

/// `const __restrict__` makes compilers load so: an input that is the output too is then read behind the writer's back,
/// whoever writes, even if the reader itself does so later.
#[test]
fn what_is_read_as_constant_is_not_written_in_the_same_launch() {
    let body = "mul.wide.u32 %rd1, %r0, 4;\nadd.u64 %rd1, %rd0, %rd1;\nld.global.nc.u32 %r1, [%rd1];\n\
         st.global.u32 [%rd1+128], %r1;";
    clean(1, 32, body);
    for body in [body.replace("+128", ""), format!("st.global.u32 [%rd0+4], 1;\nbar.sync 0;\n{body}")] {
        let (_, findings) = run(1, 32, &body);
        assert!(findings.iter().any(|f| f.kind == Kind::StaleRead), "{body}: {findings:?}");
        let (_, findings) = run(1, 32, &body.replace(".nc", ""));
        assert!(findings.iter().all(|f| f.kind != Kind::StaleRead), "{body}: {findings:?}");
    }
}

#[test]
fn lanes_that_come_to_a_barrier_in_parts_have_met() {
    // Lane 0 spins for long, the others wait for it at the barrier already.
    let body = "setp.ne.u32 %p1, %r0, 0;\n@%p1 bra MEET;\nmov.u32 %r1, 0;\n\
         SPIN:\nadd.u32 %r1, %r1, 1;\nsetp.lt.u32 %p2, %r1, 60000;\n@%p2 bra SPIN;\n\
         st.shared.u32 [s], %r1;\nMEET:\nbar.sync 0;\nld.shared.u32 %r2, [s];\n\
         mul.wide.u32 %rd1, %r0, 4;\nadd.u64 %rd1, %rd0, %rd1;\nst.global.u32 [%rd1], %r2;";
    assert_eq!(clean(1, 64, body), [60000; WORDS]);
}

#[test]
fn blocks_meet_in_the_grid_workspace() {
    // As cooperative groups do: block 0 adds what makes the top bit flip once all have come.
    let body = "mov.u32 %r1, %envreg2;\nmov.u32 %r2, %envreg1;\nmov.b64 %rd1, {%r1, %r2};\n\
         mov.u32 %r3, %ctaid.x;\nmul.wide.u32 %rd2, %r3, 4;\nadd.u64 %rd2, %rd0, %rd2;\nst.global.u32 [%rd2], 7;\n\
         setp.eq.u32 %p1, %r3, 0;\nselp.b32 %r4, 0x7ffffffd, 1, %p1;\n\
         atom.add.release.gpu.u32 %r5, [%rd1+4], %r4;\nWAIT:\nld.acquire.gpu.u32 %r6, [%rd1+4];\n\
         xor.b32 %r6, %r6, %r5;\nsetp.ge.s32 %p2, %r6, 0;\n@%p2 bra WAIT;\n\
         ld.global.u32 %r7, [%rd0];\nld.global.u32 %r8, [%rd0+8];\nadd.u32 %r7, %r7, %r8;\nst.global.u32 [%rd2+32], %r7;";
    assert_eq!(clean(4, 1, body)[8..12], [14; 4]);
}

#[test]
fn the_driver_s_shared_memory_is_apart_and_zero() {
    let body = "mov.u32 %r1, %reserved_smem_offset_1;\nst.shared.u32 [s], %r1;\nld.shared.u32 %r2, [%r1];\n\
         ld.shared.u32 %r3, [s];\nst.global.u32 [%rd0], %r2;\nst.global.u32 [%rd0+4], %r3;";
    let words = clean(1, 1, body);
    assert!(words[0] == 0 && words[1] >= 256, "{words:?}");
}

#[test]
fn a_shuffle_from_a_lane_that_takes_no_part_gives_zero() {
    let body = "setp.ge.u32 %p1, %r0, 8;\n@%p1 bra END;\nadd.u32 %r1, %r0, 1;\n\
         shfl.sync.down.b32 %r2, %r1, 16, 31, 0xff;\nmul.wide.u32 %rd1, %r0, 4;\nadd.u64 %rd1, %rd0, %rd1;\n\
         st.global.u32 [%rd1], %r2;\nEND:";
    assert_eq!(clean(1, 32, body), [0; WORDS]);
}

#[test]
fn structs_lie_as_in_c() {
    let ptx = ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .align 8 .b8 s[32], .param .u8 b) {\n\
         .reg .b32 %r<4>; .reg .b64 %rd<4>;\nld.param.u64 %rd0, [s+8];\nld.param.u32 %r0, [s];\n\
         ld.param.u16 %r1, [s+16];\nld.param.u32 %r2, [s+20];\nld.param.u8 %r3, [b];\nst.global.u32 [%rd0], %r0;\n\
         st.global.v2.u32 [%rd0+8], {%r1, %r2};\nst.global.u32 [%rd0+4], %r3;\nret;\n}\n";
    let mut machine = Machine::new();
    let module = machine.load(ptx).unwrap();
    let x = machine.allocate("x", 16).unwrap();
    use Argument::{Pointer, Struct, U8, U16, U32};
    let fields = vec![U32(1), Pointer(x), U16(2), U32(3), U8(0)];
    machine.launch(&module, "k", &Shape::default(), &[Struct(fields.clone()), U8(4)]).unwrap();
    let mut words = [0u32; 4];
    machine.read(x, bytemuck::cast_slice_mut(&mut words)).unwrap();
    assert_eq!(words, [1, 4, 2, 3]);
    let short = fields[..3].to_vec();
    assert!(machine.launch(&module, "k", &Shape::default(), &[Struct(short), U8(4)]).is_err());
}
