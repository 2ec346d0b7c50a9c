//! The build of the CUDA kernels: its own unit tests, what it does with a compiler (a stand-in, so that no toolkit is
//! needed), and what this build made of `kernels/`.

#[allow(dead_code, reason = "build.rs calls what no test does")]
#[path = "../build/mod.rs"]
mod build;

use rusa::kernels::{self, COMPILER, KERNELS};
use std::collections::BTreeSet;

#[test]
fn a_build_that_must_have_kernels_has_them() {
    let required = std::env::var("RUSA_REQUIRE_NVCC").is_ok_and(|v| !v.is_empty() && v != "0");
    assert!(!required || !KERNELS.is_empty(), "RUSA_REQUIRE_NVCC is set, but {}", kernels::NO_KERNELS);
    assert_eq!(COMPILER.is_some(), !KERNELS.is_empty());
}

#[test]
fn every_entry_is_named_once_and_found_with_its_source() -> Result<(), Box<dyn std::error::Error>> {
    let mut names = BTreeSet::new();
    for (kernel, entry) in kernels::entries() {
        assert!(names.insert(entry.name), "{} twice", entry.name);
        let (_, found) = kernels::find(entry.name)?;
        assert_eq!(found.line, entry.line);
        let source = kernel.source_of(entry);
        assert!(source.contains(entry.name) && source.trim_end().ends_with('}'), "{source}");
        assert!(kernel.ptx.contains(&format!(".entry {}(", entry.name)), "{}", entry.name);
        assert_eq!(entry.figures.len(), kernel.cubins.len());
    }
    let error = kernels::find("no_such_kernel").err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("no_such_kernel"), "{error}");
    Ok(())
}

#[test]
fn nothing_spills_unless_its_source_says_so() {
    for (kernel, entry) in kernels::entries().filter(|(_, e)| !e.spills_allowed) {
        for f in entry.figures {
            assert_eq!(f.spills(), 0, "{}:{}: {} on {}", kernel.file, entry.line, entry.name, f.arch);
        }
    }
}

#[test]
fn kernel_files_open_with_what_a_reader_needs() {
    for kernel in KERNELS {
        let header = kernel.header();
        for part in ["Memory", "Work", "Shape", "Cost", "Numbers", "Lost"] {
            assert!(
                header.lines().any(|l| l.starts_with(part)),
                "{}: no `{part}` in its comment",
                kernel.file
            );
        }
    }
}

#[test]
fn ptx_says_nothing_of_where_it_was_built() {
    for kernel in KERNELS {
        assert!(!kernel.ptx.contains(env!("CARGO_MANIFEST_DIR")), "{}", kernel.file);
        assert!(kernel.ptx.contains(kernel.file), "{}: no line information", kernel.file);
    }
}

#[test]
fn machine_code_is_aligned_elf() {
    for cubin in KERNELS.iter().flat_map(|k| k.cubins) {
        assert!(
            cubin.code.starts_with(b"\x7fELF") && cubin.code.as_ptr().addr().is_multiple_of(64),
            "{}",
            cubin.arch
        );
    }
}

/// Compiling with a script in nvcc's place.
#[cfg(unix)]
mod stand_in {
    use super::build::compile::{self, Settings};
    use super::build::find::Nvcc;
    use super::build::source::parse_archs;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    /// Emits an entry of the file's name, reports its spills, and keeps count of its runs.
    const NVCC: &str = r#"#!/bin/sh
echo run >>runs
for word; do last=$word; done
while [ "$1" != -o ]; do [ "$1" = -ptx ] && ptx=1; shift; done
if grep -q BROKEN "$last"; then echo "$last(3): error: expected a ;" >&2; exit 2; fi
name=$(sed -n 's/.*entry //p' "$last" | tr -d '(')
if [ "$ptx" ]; then
    printf '.visible .entry %s(\n)\n.maxntid 64\n{\n}\n.file 1 "%s"\n' "$name" "$PWD/$last" >"$2"
else
    echo "ptxas info    : Compiling entry function '$name' for 'sm_80'" >&2
    echo "ptxas info    : Function properties for $name" >&2
    echo "    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads" >&2
    echo "ptxas info    : Used 40 registers, used 0 barriers" >&2
    echo code >"$2"
fi
"#;

    fn settings(root: &Path, files: &[(&str, &str)]) -> std::io::Result<Settings> {
        fs::create_dir_all(root.join("kernels/include"))?;
        for (name, text) in files {
            fs::write(root.join("kernels").join(name), text)?;
        }
        let path = root.join("nvcc");
        fs::write(&path, NVCC)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(Settings {
            root: root.into(),
            cache: root.join("cache"),
            nvcc: Nvcc { path, version: "13.0.88".into() },
            environment: String::new(),
            archs: parse_archs("sm_80,sm_90a").unwrap_or_default(),
            jobs: 3,
        })
    }

    fn runs(root: &Path) -> usize {
        fs::read_to_string(root.join("runs")).map_or(0, |t| t.lines().count())
    }

    #[test]
    fn compiles_once_and_again_only_what_changed() -> Outcome {
        let folder = tempfile::tempdir()?;
        let root = folder.path();
        let one = "// y = x\n// entry one(\none(\n";
        let hopper = "// y = x\n// arch: sm_90a\n// entry two(\ntwo(\n";
        let settings = settings(root, &[("one.cu", one), ("two.cu", hopper)])?;

        let kernels = compile::all(&settings)?;
        let made: Vec<_> = kernels.iter().map(|k| (k.target.as_str(), k.cubins.len())).collect();
        assert_eq!(made, [("compute_80", 2), ("compute_90a", 1)], "sm_80 cannot run sm_90a's instructions");
        assert_eq!(kernels[0].entries[0].line, 3);
        assert!(kernels[0].ptx.contains(".file 1 \"kernels/one.cu\""), "{}", kernels[0].ptx);
        assert_eq!(runs(root), 5);

        compile::all(&settings)?;
        assert_eq!(runs(root), 5, "nothing changed");
        fs::write(root.join("kernels/one.cu"), format!("{one}\n"))?;
        compile::all(&settings)?;
        assert_eq!(runs(root), 6, "a file whose PTX stays the same needs no new machine code");
        fs::write(root.join("kernels/include/a.cuh"), "//")?;
        compile::all(&settings)?;
        assert_eq!(runs(root), 8, "any file may include it");
        let newer =
            Settings { nvcc: Nvcc { version: "13.0.99".into(), ..settings.nvcc.clone() }, ..settings };
        compile::all(&newer)?;
        assert_eq!(runs(root), 13, "another compiler");
        Ok(())
    }

    #[test]
    fn spills_are_named_unless_allowed() -> Outcome {
        let folder = tempfile::tempdir()?;
        let files = [
            ("bad.cu", "// entry bad(\n\nbad(\n"),
            ("good.cu", "// entry good(\n\n// spills: allowed, to see them\ngood(\n"),
        ];
        let kernels = compile::all(&settings(folder.path(), &files)?)?;
        let spills = compile::forbidden_spills(&kernels);
        assert_eq!(spills.len(), 2, "{spills:?}");
        assert!(
            spills[0].starts_with("kernels/bad.cu:3: bad spills on sm_80: 8 bytes stored, 12 loaded"),
            "{spills:?}"
        );
        Ok(())
    }

    #[test]
    fn errors_are_shown_whole_for_every_file() -> Outcome {
        let folder = tempfile::tempdir()?;
        let files = [("a.cu", "BROKEN"), ("b.cu", "BROKEN"), ("c.cu", "// entry c(\nc(\n")];
        let error = compile::all(&settings(folder.path(), &files)?).err().unwrap_or_default();
        for file in ["kernels/a.cu(3): error: expected a ;", "kernels/b.cu(3): error: expected a ;"] {
            assert!(error.contains(file), "{error}");
        }
        Ok(())
    }

    #[test]
    fn an_entry_must_stand_in_its_source_and_in_one_file() -> Outcome {
        let folder = tempfile::tempdir()?;
        let error = compile::all(&settings(folder.path(), &[("a.cu", "// entry hidden(\n")])?).err();
        assert!(error.is_some_and(|e| e.contains("hidden is not spelled whole")));
        let twice = [("a.cu", "// entry same(\nsame(\n"), ("b.cu", "// entry same(\nsame(\n")];
        let error = compile::all(&settings(folder.path(), &twice)?).err();
        assert!(error.is_some_and(|e| e.contains("same is in kernels/a.cu and in kernels/b.cu")));
        Ok(())
    }
}
