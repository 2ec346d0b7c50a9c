//! What the build needs to know of a PTX module: its entries and their launch bounds.

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPoint {
    pub name: String,
    pub launch: Option<Launch>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    pub threads: [u32; 3],
    /// `.reqntid`: exactly these. `.maxntid`: at most so many in all.
    pub exact: bool,
    /// `.minnctapersm`: blocks a multiprocessor must be able to hold; 0 if not given.
    pub min_blocks: u32,
}

/// The entries in order. nvcc writes each directive on its own line between the parameters and the body.
pub fn entries(ptx: &str) -> Vec<EntryPoint> {
    let mut found: Vec<EntryPoint> = Vec::new();
    let mut in_head = false;
    for line in ptx.lines().map(str::trim) {
        if let Some((".visible" | ".weak" | "", rest)) =
            line.split_once(".entry ").map(|(a, b)| (a.trim(), b))
        {
            let name = rest.split(['(', ' ']).next().unwrap_or_default();
            found.push(EntryPoint { name: name.into(), launch: None });
            in_head = true;
        } else if line.starts_with('{') {
            in_head = false;
        } else if in_head && let Some(entry) = found.last_mut() {
            let numbers = || line.split([' ', ',']).filter_map(|w| w.parse::<u32>().ok());
            if line.starts_with(".maxntid") || line.starts_with(".reqntid") {
                let launch = entry.launch.get_or_insert_default();
                launch.threads = [1; 3];
                launch.threads.iter_mut().zip(numbers()).for_each(|(t, n)| *t = n);
                launch.exact = line.starts_with(".reqntid");
            } else if line.starts_with(".minnctapersm") {
                entry.launch.get_or_insert_default().min_blocks = numbers().next().unwrap_or(0);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_entries_and_bounds() {
        let ptx = "\
.visible .func (.param .b32 r) helper(\n)\n{\n}\n// .globl a
.visible .entry a(
	.param .u32 a_param_0
)
.maxntid 256, 1, 1
.minnctapersm 2
{
	mov.u32 %r1, %ntid.x;
}
.visible .entry b()
.reqntid 32, 4
{
}
.entry c(
)
{
";
        let found = entries(ptx);
        let names: Vec<_> = found.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(found[0].launch, Some(Launch { threads: [256, 1, 1], exact: false, min_blocks: 2 }));
        assert_eq!(found[1].launch, Some(Launch { threads: [32, 4, 1], exact: true, min_blocks: 0 }));
        assert_eq!(found[2].launch, None);
    }
}
