//! What `ptxas -v` says about each entry.

use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub registers: u32,
    /// Static shared memory.
    pub shared_bytes: u32,
    /// Local memory a thread takes, spills included.
    pub stack: u32,
    pub spill_stores: u32,
    pub spill_loads: u32,
}

/// Figures by entry. A device function that was not inlined may be called by any entry, so its spills count for all.
pub fn parse(report: &str) -> BTreeMap<String, Figures> {
    let mut entries: BTreeMap<String, Figures> = BTreeMap::new();
    let mut compiling = String::new();
    let mut properties = String::new();
    let mut shared = (0, 0);
    for line in report.lines() {
        if let Some(rest) = after(line, "Compiling entry function '") {
            compiling = rest.split('\'').next().unwrap_or_default().into();
            entries.entry(compiling.clone()).or_default();
        } else if let Some(rest) = after(line, "Function properties for ") {
            properties = rest.trim().into();
        } else if line.contains("bytes stack frame") {
            let (stack, stores, loads) = (
                before(line, " bytes stack frame"),
                before(line, " bytes spill stores"),
                before(line, " bytes spill loads"),
            );
            if let Some(figures) = entries.get_mut(&properties) {
                figures.stack = figures.stack.max(stack);
                (figures.spill_stores, figures.spill_loads) = (stores, loads);
            } else {
                shared = (shared.0 + stores, shared.1 + loads);
            }
        } else if let Some(figures) = entries.get_mut(&compiling).filter(|_| after(line, ": Used ").is_some())
        {
            figures.registers = before(line, " registers");
            figures.shared_bytes = before(line, " bytes smem");
            figures.stack = figures.stack.max(before(line, " bytes cumulative stack size"));
        }
    }
    for figures in entries.values_mut() {
        figures.spill_stores += shared.0;
        figures.spill_loads += shared.1;
    }
    entries
}

fn after<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.split_once(mark).map(|(_, rest)| rest)
}

/// The number right before `unit`; 0 where the report leaves it out.
fn before(line: &str, unit: &str) -> u32 {
    let Some((head, _)) = line.split_once(unit) else { return 0 };
    let digits = head.len() - head.bytes().rev().take_while(u8::is_ascii_digit).count();
    head[digits..].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// nvcc 13.0.88, shortened.
    const REPORT: &str = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'plain' for 'sm_89'
ptxas info    : Function properties for plain
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, used 0 barriers, 368 bytes cmem[0]
ptxas info    : Compile time = 1.265 ms
ptxas info    : Compiling entry function 'heavy' for 'sm_89'
ptxas info    : Function properties for heavy
    320 bytes stack frame, 12 bytes spill stores, 24 bytes spill loads
ptxas info    : Used 19 registers, used 1 barriers, 336 bytes cumulative stack size, 1024 bytes smem, 368 bytes cmem[0]
ptxas info    : Compile time = 4.235 ms
";

    #[test]
    fn reads_every_figure() {
        let entries = parse(REPORT);
        assert_eq!(entries.len(), 2);
        assert_eq!(entries["plain"], Figures { registers: 8, ..Figures::default() });
        let heavy =
            Figures { registers: 19, shared_bytes: 1024, stack: 336, spill_stores: 12, spill_loads: 24 };
        assert_eq!(entries["heavy"], heavy);
    }

    #[test]
    fn spills_of_a_called_function_count_for_its_callers() {
        let device = "ptxas info    : Function properties for _Z3devPfi\n    8 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads\n";
        let entries = parse(&format!("{REPORT}{device}"));
        assert_eq!((entries["plain"].spill_stores, entries["plain"].spill_loads), (4, 8));
        assert_eq!((entries["heavy"].spill_stores, entries["heavy"].spill_loads), (16, 32));
    }

    #[test]
    fn other_text_is_no_report() {
        assert!(parse("").is_empty());
        assert!(parse("ptxas warning : bytes stack frame\nUsed many registers\n bytes smem").is_empty());
    }
}
