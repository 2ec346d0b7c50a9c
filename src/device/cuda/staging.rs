//! A ring of pinned memory: copies to the device that the host need not wait for.

use super::super::launch::Address;
use cudarc::driver::{CudaContext, CudaStream, DriverError, result};
use std::ffi::c_void;
use std::sync::Arc;

/// Some batches of small images.
const BYTES: usize = 32 << 20;

/// Bytes on their way lie here until the stream has passed them.
pub struct Staging {
    context: Arc<CudaContext>,
    host: *mut c_void,
    used: usize,
}

impl Staging {
    pub fn new(context: Arc<CudaContext>) -> Result<Self, DriverError> {
        context.bind_to_thread()?;
        // SAFETY: freed once, in `drop`.
        let host = unsafe { result::malloc_host(BYTES, 0) }?;
        Ok(Self { context, host, used: 0 })
    }

    /// Copies in the order of the stream. Waits only when the ring is full.
    pub fn write(&mut self, stream: &CudaStream, to: Address, bytes: &[u8]) -> Result<(), DriverError> {
        for (i, part) in bytes.chunks(BYTES).enumerate() {
            if self.used + part.len() > BYTES {
                stream.synchronize()?;
                self.used = 0;
            }
            // SAFETY: the part fits behind what is used; nobody else writes there before the stream is waited for.
            unsafe {
                let place = self.host.cast::<u8>().add(self.used);
                std::ptr::copy_nonoverlapping(part.as_ptr(), place, part.len());
                let pinned = std::slice::from_raw_parts(place, part.len());
                result::memcpy_htod_async(to.plus(i * BYTES).0, pinned, stream.cu_stream())?;
            }
            self.used = (self.used + part.len()).next_multiple_of(256);
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_err() {
            return;
        }
        // SAFETY: from `malloc_host`; the backend has waited for the stream.
        let _ = unsafe { result::free_host(self.host) };
    }
}
