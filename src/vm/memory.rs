//! Device memory: allocations that know their exact length and remember being freed.

use super::check::Shadow;
use std::sync::Mutex;

/// Where the first allocation begins; nothing below is ever valid.
const FIRST: u64 = 0x10_0000_0000;
/// Unmapped bytes between allocations, so that a stray index hits no neighbour.
const GUARD: u64 = 4096;

pub struct Allocation {
    pub name: String,
    pub base: u64,
    pub len: u64,
    pub freed: bool,
    /// Kernels may not write here: `.const` variables.
    pub read_only: bool,
    data: *mut u8,
    layout: std::alloc::Layout,
    /// What the checks know of each byte.
    pub shadow: Mutex<Shadow>,
}

// SAFETY: the bytes are reached only through `pointer`, whose users access them atomically during a launch, and through
// `Memory::write` and `read`, which need `&mut Memory` or run between launches.
unsafe impl Send for Allocation {}
// SAFETY: as above.
unsafe impl Sync for Allocation {}

impl Allocation {
    fn new(name: &str, base: u64, len: u64) -> Option<Self> {
        let layout = std::alloc::Layout::from_size_align((len as usize).max(1), 256).ok()?;
        // SAFETY: the layout has a size above zero.
        let data = unsafe { std::alloc::alloc(layout) };
        if data.is_null() {
            return None;
        }
        // Garbage that shows: as a float NaN, as an index far off.
        // SAFETY: `data` holds layout.size() bytes.
        unsafe { data.write_bytes(0xff, layout.size()) };
        let shadow = Mutex::new(Shadow::new(len as usize));
        Some(Self { name: name.to_string(), base, len, freed: false, read_only: false, data, layout, shadow })
    }

    #[inline(always)]
    pub fn contains(&self, at: u64) -> bool {
        at.wrapping_sub(self.base) < self.len
    }

    #[inline(always)]
    pub fn data(&self) -> *mut u8 {
        self.data
    }

    /// Host address of device address `at`, if `size` bytes from there are inside.
    #[inline(always)]
    pub fn pointer(&self, at: u64, size: u64) -> Option<*mut u8> {
        let offset = at.wrapping_sub(self.base);
        // SAFETY: the offset is within the allocation.
        (offset < self.len && size <= self.len - offset).then(|| unsafe { self.data.add(offset as usize) })
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { std::alloc::dealloc(self.data, self.layout) };
    }
}

#[derive(Default)]
pub struct Memory {
    /// By address; freed ones stay, so that their use is recognised.
    allocations: Vec<Allocation>,
}

impl Memory {
    pub fn allocate(&mut self, name: &str, len: u64) -> Option<u64> {
        let base = self
            .allocations
            .last()
            .map_or(FIRST, |last| (last.base + last.len + GUARD).next_multiple_of(256));
        self.allocations.push(Allocation::new(name, base, len)?);
        Some(base)
    }

    /// Whether there was such an allocation to free.
    pub fn free(&mut self, base: u64) -> bool {
        let found = self.allocations.iter_mut().find(|a| a.base == base && !a.freed);
        found.map(|a| a.freed = true).is_some()
    }

    /// The allocation at or before `at`: the one that holds it, or the one it ran out of.
    pub fn nearest(&self, at: u64) -> Option<(usize, &Allocation)> {
        let index = self.allocations.partition_point(|a| a.base <= at).checked_sub(1)?;
        Some((index, &self.allocations[index]))
    }

    /// The first allocation behind `at`.
    pub fn after(&self, at: u64) -> Option<&Allocation> {
        self.allocations.get(self.allocations.partition_point(|a| a.base <= at))
    }

    /// Kernels may no longer write there.
    pub fn protect(&mut self, base: u64) {
        self.allocations.iter_mut().filter(|a| a.base == base).for_each(|a| a.read_only = true);
    }

    #[inline(always)]
    pub fn allocation(&self, index: usize) -> Option<&Allocation> {
        self.allocations.get(index)
    }

    fn pointer(&self, at: u64, size: u64) -> Option<(&Allocation, *mut u8)> {
        let (_, allocation) = self.nearest(at).filter(|(_, a)| !a.freed)?;
        Some((allocation, allocation.pointer(at, size)?))
    }

    /// Copies to the device. False if `at` is not the device's memory.
    pub fn write(&mut self, at: u64, bytes: &[u8]) -> bool {
        let Some((allocation, pointer)) = self.pointer(at, bytes.len() as u64) else {
            return bytes.is_empty();
        };
        // SAFETY: the range was checked, and `&mut self` keeps launches away.
        unsafe { pointer.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        if let Ok(mut shadow) = allocation.shadow.lock() {
            shadow.host_wrote((at - allocation.base) as usize, bytes.len());
        }
        true
    }

    /// Copies from the device.
    pub fn read(&self, at: u64, bytes: &mut [u8]) -> bool {
        let Some((_, pointer)) = self.pointer(at, bytes.len() as u64) else { return bytes.is_empty() };
        // SAFETY: the range was checked; callers read between launches.
        unsafe { bytes.as_mut_ptr().copy_from_nonoverlapping(pointer, bytes.len()) };
        true
    }

    /// A launch begins: what earlier ones did cannot race with it.
    pub fn forget_accesses(&mut self) {
        for allocation in &mut self.allocations {
            if let Ok(shadow) = allocation.shadow.get_mut() {
                shadow.forget_accesses();
            }
        }
    }
}
