//! Two buffers of pinned memory, each with one on the device behind it: bytes cross the bus while kernels run.
//!
//! The host copies into pinned memory and goes on. A stream of its own carries the bytes to the device's buffer, and the
//! stream of the kernels, when it comes to it, moves them to their place, at the speed of the device's memory. A training
//! loop that writes the next batch behind a step's launches thus has it on the device when the step ends. One buffer is
//! filled while the other is emptied; only where both are full does the host wait.

use super::super::launch::Address;
use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError, result, sys};
use std::ffi::c_void;
use std::sync::Arc;

/// Of each buffer: some batches of small images.
const BYTES: usize = 8 << 20;

/// So few bytes are quicker moved than handed from stream to stream.
const FEW: usize = 16 << 10;

pub struct Staging {
    context: Arc<CudaContext>,
    /// Of the copies across the bus.
    copies: Arc<CudaStream>,
    buffers: [Buffer; 2],
    /// The one being filled.
    current: usize,
}

struct Buffer {
    host: *mut c_void,
    device: u64,
    used: usize,
    /// All bytes put here so far have left the host.
    crossed: CudaEvent,
    /// All bytes put here before another buffer's turn are where they belong.
    emptied: CudaEvent,
}

impl Staging {
    pub fn new(context: Arc<CudaContext>) -> Result<Self, DriverError> {
        let copies = context.new_stream()?;
        let buffers = [Buffer::new(&context)?, Buffer::new(&context)?];
        Ok(Self { context, copies, buffers, current: 0 })
    }

    /// Copies in the order of the stream.
    pub fn write(&mut self, stream: &CudaStream, to: Address, bytes: &[u8]) -> Result<(), DriverError> {
        for (i, part) in bytes.chunks(BYTES).enumerate() {
            let to = to.plus(i * BYTES).0;
            if self.buffers[self.current].used + part.len() > BYTES {
                self.buffers[self.current].emptied.record(stream)?;
                self.current = 1 - self.current;
                let next = &mut self.buffers[self.current];
                next.emptied.synchronize()?;
                next.used = 0;
            }
            let Buffer { host, device, used, crossed, .. } = &mut self.buffers[self.current];
            let device = *device + *used as u64;
            // SAFETY: the part fits behind what is used, where nobody reads or writes: what this buffer held before has
            // been waited for.
            unsafe {
                let place = host.cast::<u8>().add(*used);
                std::ptr::copy_nonoverlapping(part.as_ptr(), place, part.len());
                let pinned = std::slice::from_raw_parts(place, part.len());
                if part.len() <= FEW {
                    result::memcpy_htod_async(to, pinned, stream.cu_stream())?;
                } else {
                    result::memcpy_htod_async(device, pinned, self.copies.cu_stream())?;
                    crossed.record(&self.copies)?;
                    stream.wait(crossed)?;
                    result::memcpy_dtod_async(to, device, part.len(), stream.cu_stream())?;
                }
            }
            *used = (*used + part.len()).next_multiple_of(256);
        }
        Ok(())
    }
}

impl Buffer {
    fn new(context: &Arc<CudaContext>) -> Result<Self, DriverError> {
        let event = || context.new_event(Some(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING));
        let (crossed, emptied) = (event()?, event()?);
        // SAFETY: freed once, in `Staging::drop`.
        let (host, device) = unsafe { (result::malloc_host(BYTES, 0)?, result::malloc_sync(BYTES)?) };
        Ok(Self { host, device, used: 0, crossed, emptied })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_err() {
            return;
        }
        let _ = self.copies.synchronize();
        for buffer in &self.buffers {
            // SAFETY: from `Buffer::new`; the backend has waited for its stream, and this for its own.
            unsafe {
                let _ = result::free_host(buffer.host);
                let _ = result::free_sync(buffer.device);
            }
        }
    }
}
