//! `OUT_DIR/kernels.rs` for `src/kernels.rs`, and beside it what it includes.

use super::cache::at;
use super::compile::{Entry, Kernel};
use super::find::Nvcc;
use std::fs;
use std::path::Path;

/// Writes the static tables; both are empty without nvcc.
pub fn write(out: &Path, nvcc: Option<&Nvcc>, kernels: &[Kernel]) -> Result<(), String> {
    let folder = out.join("kernels");
    fs::create_dir_all(&folder).map_err(|e| at(&folder, e))?;
    let save = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, content).map_err(|e| at(&path, e))
    };
    for kernel in kernels {
        let stem = stem(kernel);
        save(&format!("{stem}.cu"), kernel.source.as_bytes())?;
        save(&format!("{stem}.ptx"), kernel.ptx.as_bytes())?;
        for (arch, code) in &kernel.cubins {
            save(&format!("{stem}.{arch}.cubin"), code)?;
        }
    }
    let path = out.join("kernels.rs");
    fs::write(&path, tables(nvcc, kernels)).map_err(|e| at(&path, e))
}

fn stem(kernel: &Kernel) -> &str {
    kernel.file.trim_start_matches("kernels/").trim_end_matches(".cu")
}

/// The Rust source. Strings go through `{:?}`, which escapes them as Rust does.
fn tables(nvcc: Option<&Nvcc>, kernels: &[Kernel]) -> String {
    let nvcc = nvcc.map(|n| (n.version.clone(), n.path.display().to_string()));
    let compiler = match nvcc {
        Some((version, path)) => format!("Some(Compiler {{ version: {version:?}, path: {path:?} }})"),
        None => "None".into(),
    };
    let mut text =
        format!("/// The nvcc of this build.\npub static COMPILER: Option<Compiler> = {compiler};\n\n");
    text += "/// Every kernel file, compiled; empty in a build without nvcc.\npub static KERNELS: &[Kernel] = &[\n";
    for kernel in kernels {
        kernel_table(&mut text, kernel);
    }
    text + "];\n"
}

fn kernel_table(text: &mut String, kernel: &Kernel) {
    let stem = stem(kernel);
    let include =
        |how: &str, name: String| format!("include_{how}!(concat!(env!(\"OUT_DIR\"), \"/kernels/{name}\"))");
    *text += "    Kernel {\n";
    *text += &format!("        file: {:?},\n", kernel.file);
    *text += &format!("        source: {},\n", include("str", format!("{stem}.cu")));
    *text += &format!("        target: {:?},\n", kernel.target);
    *text += &format!("        ptx: {},\n", include("str", format!("{stem}.ptx")));
    *text += "        cubins: &[\n";
    for (arch, _) in &kernel.cubins {
        let code = include("bytes", format!("{stem}.{arch}.cubin"));
        // The driver reads it as ELF, in place.
        *text += &format!("            Cubin {{ arch: {arch:?}, code: &Aligned(*{code}).0 }},\n");
    }
    *text += "        ],\n        entries: &[\n";
    for entry in &kernel.entries {
        entry_table(text, entry);
    }
    *text += "        ],\n    },\n";
}

fn entry_table(text: &mut String, entry: &Entry) {
    let launch = entry.launch.map_or("None".into(), |l| {
        let (threads, exact, min_blocks) = (l.threads, l.exact, l.min_blocks);
        format!("Some(LaunchBounds {{ threads: {threads:?}, exact: {exact}, min_blocks: {min_blocks} }})")
    });
    let (name, line, allowed) = (&entry.name, entry.line, entry.spills_allowed);
    *text += &format!(
        "            Entry {{ name: {name:?}, line: {line}, launch: {launch}, spills_allowed: {allowed}, figures: &[\n"
    );
    for (arch, f) in &entry.figures {
        *text += &format!(
            "                Figures {{ arch: {arch:?}, registers: {}, shared_bytes: {}, stack_bytes: {}, \
             spill_stores: {}, spill_loads: {} }},\n",
            f.registers, f.shared_bytes, f.stack, f.spill_stores, f.spill_loads
        );
    }
    *text += "            ] },\n";
}
