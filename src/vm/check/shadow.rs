//! What is known of each byte of memory: written or not, in flight or not, and who touched it last.

/// Of one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ByteState {
    Uninitialised,
    Written,
    /// An async copy may or may not have delivered it.
    InFlight,
}

/// One access: who, when, where in the program.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stamp {
    /// Linear block number plus one; 0 for none.
    pub block: u32,
    /// Linear thread number in the block.
    pub thread: u32,
    pub clock: u32,
    pub epoch: u32,
    pub pc: u32,
    /// Atomic or volatile: two such never race.
    pub strong: bool,
    /// A compare-and-swap, which a plain read may precede or follow: it is read again if it was stale.
    pub compare: bool,
    /// A read that no write of its launch may meet, in whatever order: `ld.global.nc`.
    pub constant: bool,
}

#[derive(Clone, Copy, Default)]
struct Cell {
    write: Stamp,
    /// The last two readers of different warps: enough to catch a write that any reader's barrier does not cover.
    reads: [Stamp; 2],
}

/// Two accesses that nothing orders.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conflict {
    pub earlier: Stamp,
    pub earlier_writes: bool,
    /// Not a question of order: what is read as constant was written.
    pub stale: bool,
    /// First byte of the access that is concerned.
    pub offset: usize,
}

/// Bytes a cell stands for: words, until something smaller is accessed.
const WORD: usize = 4;
/// Bytes a page stands for: an arena of many tensors costs what a launch touches of it, not what it holds.
const PAGE: usize = 1024;

/// The cells of [`PAGE`] bytes; none until the first access.
#[derive(Clone, Default)]
struct Page(Vec<Cell>);

impl Page {
    fn grain(&self) -> usize {
        PAGE / self.0.len().max(1)
    }

    /// The cells of bytes from `offset` on, and how many bytes each stands for.
    #[inline(always)]
    fn cells(&mut self, offset: usize, len: usize) -> (&mut [Cell], usize) {
        let grain = if len < WORD || !offset.is_multiple_of(WORD) { 1 } else { WORD };
        if self.0.is_empty() {
            self.0 = vec![Cell::default(); PAGE / grain];
        } else if grain < self.grain() {
            self.0 = self.0.iter().flat_map(|&cell| [cell; WORD]).collect();
        }
        let grain = self.grain();
        (&mut self.0[offset / grain..(offset + len).div_ceil(grain)], grain)
    }
}

pub struct Shadow {
    len: usize,
    states: Vec<ByteState>,
    pages: Vec<Page>,
    /// Pages that have cells.
    touched: Vec<usize>,
}

impl Shadow {
    pub fn new(len: usize) -> Self {
        Self { len, states: Vec::new(), pages: Vec::new(), touched: Vec::new() }
    }

    fn states(&mut self) -> &mut [ByteState] {
        if self.states.is_empty() {
            self.states = vec![ByteState::Uninitialised; self.len];
        }
        &mut self.states
    }

    pub fn host_wrote(&mut self, offset: usize, len: usize) {
        self.mark(offset, len, ByteState::Written);
    }

    #[inline(always)]
    pub fn mark(&mut self, offset: usize, len: usize, state: ByteState) {
        self.states()[offset..offset + len].fill(state);
    }

    /// The worst state among the bytes.
    #[inline(always)]
    pub fn state(&mut self, offset: usize, len: usize) -> ByteState {
        let states = &self.states()[offset..offset + len];
        if states.iter().all(|s| *s == ByteState::Written) {
            ByteState::Written
        } else if states.contains(&ByteState::InFlight) {
            ByteState::InFlight
        } else {
            ByteState::Uninitialised
        }
    }

    pub fn forget_accesses(&mut self) {
        for page in self.touched.drain(..) {
            self.pages[page] = Page::default();
        }
    }

    /// Files an access and returns the first earlier one it conflicts with, `ordered` telling which are settled.
    #[inline(always)]
    pub fn access(
        &mut self,
        offset: usize,
        len: usize,
        me: Stamp,
        writes: bool,
        ordered: &impl Fn(&Stamp) -> bool,
    ) -> Option<Conflict> {
        if self.pages.is_empty() {
            self.pages = vec![Page::default(); self.len.div_ceil(PAGE)];
        }
        let (page, within) = (offset / PAGE, offset % PAGE);
        // An access is aligned to its size, so it lies within one page; what does not is looked at in parts.
        if within + len > PAGE {
            let first = PAGE - within;
            let conflict = self.access(offset, first, me, writes, ordered);
            let rest = self.access(offset + first, len - first, me, writes, ordered);
            return conflict.or(rest.map(|c| Conflict { offset: c.offset + first, ..c }));
        }
        if self.pages[page].0.is_empty() {
            self.touched.push(page);
        }
        let (cells, grain) = self.pages[page].cells(within, len);
        let mut conflict = None;
        for (at, cell) in cells.iter_mut().enumerate() {
            let mut against = |stamp: &Stamp, earlier_writes: bool| {
                let retried = stamp.compare && !writes || me.compare && !earlier_writes;
                let stale = stamp.block != 0 && (me.constant && earlier_writes || stamp.constant && writes);
                let settled = retried || stamp.block == 0 || (stamp.strong && me.strong) || ordered(stamp);
                if (!settled || stale) && conflict.is_none() {
                    conflict = Some(Conflict { earlier: *stamp, earlier_writes, stale, offset: at * grain });
                }
            };
            against(&cell.write, true);
            if writes {
                cell.reads.iter().for_each(|read| against(read, false));
                *cell = Cell { write: me, reads: [Stamp::default(); 2] };
            } else {
                let same_warp = |a: &Stamp| a.block == me.block && a.thread / 32 == me.thread / 32;
                let mut me = me;
                if same_warp(&cell.reads[0]) {
                    me.constant |= cell.reads[0].constant;
                } else if cell.reads[0].block != 0 {
                    cell.reads[1] = cell.reads[0];
                }
                cell.reads[0] = me;
            }
        }
        conflict
    }
}
