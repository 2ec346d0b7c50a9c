//! What a `.cu` file says to the build: the architecture it asks for, and the marks above its entries.

use std::fmt;

/// `sm_80`, `sm_90a`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arch {
    pub number: u32,
    /// The `a` in `sm_90a`: instructions of this very chip, which no later one runs.
    pub specific: bool,
}

impl Arch {
    /// What PTX is made for when the file asks for nothing: the oldest chip with bf16 and cp.async.
    pub const OLDEST: Arch = Arch { number: 80, specific: false };

    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_prefix("sm_")?;
        let digits = number.strip_suffix('a').unwrap_or(number);
        let number_ok = (2..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        Some(Self {
            number: digits.parse().ok().filter(|_| number_ok)?,
            specific: digits.len() < number.len(),
        })
    }

    /// Its virtual architecture, the one PTX is made for.
    pub fn compute(&self) -> String {
        self.to_string().replacen("sm", "compute", 1)
    }

    /// Whether machine code for `self` can be made from PTX for `ptx`.
    pub fn takes(&self, ptx: &Arch) -> bool {
        if ptx.specific { self == ptx } else { self.number >= ptx.number }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "sm_{}{}", self.number, if self.specific { "a" } else { "" })
    }
}

/// `RUSA_CUDA_ARCHS`: separated by commas or spaces.
pub fn parse_archs(list: &str) -> Result<Vec<Arch>, String> {
    let mut archs = Vec::new();
    for word in list.split([',', ' ', ';']).filter(|w| !w.is_empty()) {
        let arch = Arch::parse(word).ok_or_else(|| {
            format!("RUSA_CUDA_ARCHS: `{word}` is no architecture; write it like sm_80,sm_90a")
        })?;
        if !archs.contains(&arch) {
            archs.push(arch);
        }
    }
    Ok(archs)
}

/// The architecture asked for by a line `// arch: sm_90a` in the comment that opens the file.
pub fn wanted_arch(text: &str) -> Result<Arch, String> {
    let opening = text.lines().take_while(|line| line.starts_with("//"));
    let Some(asked) = opening.filter_map(|line| line.split_once("arch:")).find(|(a, _)| a.trim() == "//")
    else {
        return Ok(Arch::OLDEST);
    };
    let asked = asked.1.trim();
    Arch::parse(asked).ok_or_else(|| format!("`// arch: {asked}` is no architecture; write it like sm_90a"))
}

/// The line, from 1, where `entry(` stands spelled whole outside a comment.
pub fn line_of(text: &str, entry: &str) -> Option<usize> {
    let names_it = |line: &str| {
        line.match_indices(entry).any(|(at, _)| {
            let word_before = line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            !word_before && line[at + entry.len()..].trim_start().starts_with('(')
        })
    };
    text.lines().position(|line| !line.trim_start().starts_with("//") && names_it(line)).map(|at| at + 1)
}

/// Whether the comment right above the entry at `line` says `spills: allowed`.
pub fn allows_spills(text: &str, line: usize) -> bool {
    let above: Vec<_> = text.lines().take(line.saturating_sub(1)).map(str::trim).collect();
    let belongs =
        |l: &&&str| l.starts_with("//") || !(l.is_empty() || l.ends_with(['}', ';']) || l.starts_with('#'));
    above.iter().rev().take_while(belongs).any(|l| l.starts_with("//") && l.contains("spills: allowed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
// y = x
// arch: sm_90a
#include <cstdint>
// calls one(

// spills: allowed, the study measures them
extern \"C\" __global__ void __launch_bounds__(256)
one(float* y) {
}
extern \"C\" __global__ void one_more(float* y) {
}
";

    #[test]
    fn archs_are_read_or_named() {
        let archs = parse_archs("sm_80, sm_90a sm_80").unwrap_or_default();
        assert_eq!(archs.iter().map(Arch::to_string).collect::<Vec<_>>(), ["sm_80", "sm_90a"]);
        for wrong in ["80", "sm_", "sm_9x", "sm_90f", "compute_80", "sm_+80"] {
            assert!(parse_archs(wrong).is_err_and(|e| e.contains(wrong)), "{wrong}");
        }
    }

    #[test]
    fn a_file_may_ask_for_a_chip() {
        assert_eq!(wanted_arch(FILE).map(|a| a.compute()), Ok("compute_90a".into()));
        assert_eq!(wanted_arch("// y = x\n#include <x>\n// arch: sm_90a\n"), Ok(Arch::OLDEST));
        assert!(wanted_arch("// arch: hopper\n").is_err());
        let (hopper, ada) = (Arch { number: 90, specific: true }, Arch { number: 89, specific: false });
        assert!(hopper.takes(&Arch::OLDEST) && hopper.takes(&hopper) && !ada.takes(&hopper));
        assert!(!Arch { number: 120, specific: false }.takes(&hopper));
    }

    #[test]
    fn entries_are_found_with_their_marks() {
        assert_eq!(line_of(FILE, "one"), Some(8));
        assert_eq!(line_of(FILE, "one_more"), Some(10));
        assert_eq!(line_of(FILE, "more"), None);
        assert!(allows_spills(FILE, 8));
        assert!(!allows_spills(FILE, 10));
    }
}
