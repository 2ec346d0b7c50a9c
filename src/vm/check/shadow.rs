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
    /// First byte of the access that is concerned.
    pub offset: usize,
}

/// Bytes a cell stands for: words, until something smaller is accessed.
const WORD: usize = 4;

pub struct Shadow {
    len: usize,
    states: Vec<ByteState>,
    cells: Vec<Cell>,
    grain: usize,
}

impl Shadow {
    pub fn new(len: usize) -> Self {
        Self { len, states: Vec::new(), cells: Vec::new(), grain: WORD }
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
        self.cells = Vec::new();
        self.grain = WORD;
    }

    /// Files an access and returns the first earlier one it conflicts with, `ordered` telling which are settled.
    #[inline(always)]
    pub fn access(
        &mut self,
        offset: usize,
        len: usize,
        me: Stamp,
        writes: bool,
        mut ordered: impl FnMut(&Stamp) -> bool,
    ) -> Option<Conflict> {
        if len < WORD || !offset.is_multiple_of(WORD) {
            self.refine();
        }
        if self.cells.is_empty() {
            self.cells = vec![Cell::default(); self.len.div_ceil(self.grain)];
        }
        let mut conflict = None;
        let grain = self.grain;
        for (at, cell) in self.cells[offset / grain..(offset + len).div_ceil(grain)].iter_mut().enumerate() {
            let mut against = |stamp: &Stamp, earlier_writes: bool| {
                let retried = stamp.compare && !writes || me.compare && !earlier_writes;
                let settled = retried || stamp.block == 0 || (stamp.strong && me.strong) || ordered(stamp);
                if !settled && conflict.is_none() {
                    conflict = Some(Conflict { earlier: *stamp, earlier_writes, offset: at * grain });
                }
            };
            against(&cell.write, true);
            if writes {
                cell.reads.iter().for_each(|read| against(read, false));
                *cell = Cell { write: me, reads: [Stamp::default(); 2] };
            } else {
                let same_warp = |a: &Stamp| a.block == me.block && a.thread / 32 == me.thread / 32;
                if cell.reads[0].block != 0 && !same_warp(&cell.reads[0]) {
                    cell.reads[1] = cell.reads[0];
                }
                cell.reads[0] = me;
            }
        }
        conflict
    }

    fn refine(&mut self) {
        if self.grain > 1 {
            let old = std::mem::take(&mut self.cells);
            self.cells = old.into_iter().flat_map(|cell| [cell; WORD]).take(self.len).collect();
            self.grain = 1;
        }
    }
}
