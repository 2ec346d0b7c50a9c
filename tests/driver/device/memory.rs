//! Memory of the device, and pinned memory of the host.

use super::{Device, Fails, ILLEGAL_ADDRESS, INVALID_VALUE, OUT_OF_MEMORY};
use crate::work::{Host, Work};
use cudarc::driver::sys::CUdeviceptr;

impl Device {
    pub fn allocate(&mut self, bytes: usize) -> Fails<CUdeviceptr> {
        self.outside_of_capture()?;
        if bytes == 0 {
            return Err(INVALID_VALUE);
        }
        if bytes > self.free_bytes() {
            return Err(OUT_OF_MEMORY);
        }
        let at = self.machine.allocate("device memory", bytes as u64).map_err(|_| OUT_OF_MEMORY)?;
        self.memory.insert(at, bytes);
        Ok(at)
    }

    pub fn free(&mut self, at: CUdeviceptr) -> Fails {
        self.outside_of_capture()?;
        // A driver waits here too.
        self.finish_all()?;
        self.memory.remove(&at).ok_or(INVALID_VALUE)?;
        self.machine.free(at).map_err(|_| INVALID_VALUE)
    }

    pub fn allocate_pinned(&mut self, bytes: usize) -> usize {
        let memory = vec![0u64; bytes.div_ceil(8)].into_boxed_slice();
        let at = memory.as_ptr() as usize;
        self.pinned.insert(at, memory);
        at
    }

    pub fn free_pinned(&mut self, at: usize) -> Fails {
        let bytes = 8 * self.pinned.get(&at).ok_or(INVALID_VALUE)?.len();
        let pending = self.streams.values().flat_map(|s| &s.queue).any(|work| work.touches(at, bytes));
        if pending {
            eprintln!("driver: pinned memory is freed with copies to come");
            return Err(INVALID_VALUE);
        }
        self.pinned.remove(&at);
        Ok(())
    }

    fn is_pinned(&self, at: usize, len: usize) -> bool {
        let before = self.pinned.range(..=at).next_back();
        before.is_some_and(|(base, memory)| at + len <= base + 8 * memory.len())
    }

    /// # Safety
    /// As many bytes can be read there, of pinned memory until the copy has happened.
    pub unsafe fn take(&self, at: usize, len: usize) -> Host {
        if self.is_pinned(at, len) {
            Host::Pinned { at, len }
        } else {
            // SAFETY: the caller's.
            Host::Taken(unsafe { std::slice::from_raw_parts(at as *const u8, len) }.to_vec())
        }
    }

    /// Copies now, whatever streams have still to do: streams of this driver do not wait for the default stream.
    ///
    /// # Safety
    /// As many bytes can be written there.
    pub unsafe fn copy_to_host(&mut self, to: usize, from: CUdeviceptr, len: usize) -> Fails {
        self.outside_of_capture()?;
        // SAFETY: the caller's.
        let bytes = unsafe { std::slice::from_raw_parts_mut(to as *mut u8, len) };
        self.machine.read(from, bytes).map_err(|_| ILLEGAL_ADDRESS)
    }

    /// Copies to the host in the order of the stream; to memory that is not pinned before it returns.
    pub fn queue_to_host(&mut self, stream: u64, to: usize, from: CUdeviceptr, len: usize) -> Fails {
        self.queue(stream, Work::ToHost { to, from, len })?;
        if self.is_pinned(to, len) { Ok(()) } else { self.finish(stream) }
    }
}
