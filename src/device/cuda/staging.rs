//! Two rounds of pinned memory, each with as much on the device behind it: bytes cross the bus while kernels run.
//!
//! The host copies into pinned memory and goes on. A stream of its own carries the bytes to the device, and the stream of
//! the kernels, when it comes to it, moves them to their place, at the speed of the device's memory. What is written between
//! two runs is a round: while the kernels of one run, the next one's bytes cross, into memory that the round before has not.
//! So a training loop that writes the next batch behind a step's launches has it on the device when the step ends.

use super::super::launch::Address;
use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError, result, sys};
use std::ffi::c_void;
use std::sync::Arc;

/// A round takes memory piece by piece, as it needs it.
const PIECE: usize = 8 << 20;

/// Pieces of a round at most: 64 MiB hold 400 colour pictures of 224×224. Whoever writes more waits for the bus.
const MOST: usize = 8;

/// So few bytes go straight into the stream of the kernels. Not measured.
const FEW: usize = 16 << 10;

pub struct Staging {
    context: Arc<CudaContext>,
    /// Of the copies across the bus.
    copies: Arc<CudaStream>,
    rounds: [Round; 2],
    /// The one being filled.
    current: usize,
}

struct Round {
    pieces: Vec<Piece>,
    /// Bytes of the last of them that are taken.
    used: usize,
    /// The pieces before it are full.
    at: usize,
    /// The last copy into the device's memory.
    crossed: CudaEvent,
    /// The last copy out of it, into place.
    placed: CudaEvent,
}

/// Pinned memory, and as much on the device.
struct Piece {
    host: *mut c_void,
    device: u64,
}

impl Staging {
    pub fn new(context: Arc<CudaContext>) -> Result<Self, DriverError> {
        let copies = context.new_stream()?;
        let rounds = [Round::new(&context)?, Round::new(&context)?];
        Ok(Self { context, copies, rounds, current: 0 })
    }

    /// Copies in the order of the stream.
    pub fn write(&mut self, stream: &CudaStream, to: Address, bytes: &[u8]) -> Result<(), DriverError> {
        for (i, part) in bytes.chunks(PIECE).enumerate() {
            if !self.rounds[self.current].make_room(part.len())? {
                self.turn(stream)?;
                self.rounds[self.current].make_room(part.len())?;
            }
            self.rounds[self.current].write(stream, &self.copies, to.plus(i * PIECE).0, part)?;
        }
        Ok(())
    }

    /// Ends a round. The other one's bytes were to be in place before the last run, so there is nothing to wait for, but
    /// where one round is more than two can hold.
    pub fn turn(&mut self, stream: &CudaStream) -> Result<(), DriverError> {
        let round = &self.rounds[self.current];
        if round.at == 0 && round.used == 0 {
            return Ok(());
        }
        round.placed.record(stream)?;
        self.current = 1 - self.current;
        let next = &mut self.rounds[self.current];
        next.placed.synchronize()?;
        (next.at, next.used) = (0, 0);
        Ok(())
    }
}

impl Round {
    fn new(context: &Arc<CudaContext>) -> Result<Self, DriverError> {
        let event = || context.new_event(Some(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING));
        Ok(Self { pieces: Vec::new(), used: 0, at: 0, crossed: event()?, placed: event()? })
    }

    /// Whether so many bytes, a piece at most, find room.
    fn make_room(&mut self, bytes: usize) -> Result<bool, DriverError> {
        if !self.pieces.is_empty() && self.used + bytes > PIECE {
            if self.at + 1 == MOST {
                return Ok(false);
            }
            (self.at, self.used) = (self.at + 1, 0);
        }
        if self.at == self.pieces.len() {
            self.pieces.push(Piece::new()?);
        }
        Ok(true)
    }

    /// Copies bytes for which there is room.
    fn write(
        &mut self,
        stream: &CudaStream,
        copies: &CudaStream,
        to: u64,
        bytes: &[u8],
    ) -> Result<(), DriverError> {
        let Piece { host, device } = self.pieces[self.at];
        let device = device + self.used as u64;
        // SAFETY: the bytes fit behind what is used, where nobody reads or writes: what a round held before has been
        // waited for.
        unsafe {
            let place = host.cast::<u8>().add(self.used);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len());
            let pinned = std::slice::from_raw_parts(place, bytes.len());
            if bytes.len() <= FEW {
                result::memcpy_htod_async(to, pinned, stream.cu_stream())?;
            } else {
                result::memcpy_htod_async(device, pinned, copies.cu_stream())?;
                self.crossed.record(copies)?;
                stream.wait(&self.crossed)?;
                result::memcpy_dtod_async(to, device, bytes.len(), stream.cu_stream())?;
            }
        }
        self.used = (self.used + bytes.len()).next_multiple_of(256);
        Ok(())
    }
}

impl Piece {
    /// The context is current.
    fn new() -> Result<Self, DriverError> {
        // SAFETY: freed once, in `drop`; one alone is freed here.
        unsafe {
            let host = result::malloc_host(PIECE, 0)?;
            match result::malloc_sync(PIECE) {
                Ok(device) => Ok(Self { host, device }),
                Err(e) => {
                    let _ = result::free_host(host);
                    Err(e)
                }
            }
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // SAFETY: from `new`; `Staging::drop` has waited for the copies, and the backend for its stream.
        unsafe {
            let _ = result::free_host(self.host);
            let _ = result::free_sync(self.device);
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Pieces need it current too.
        if self.context.bind_to_thread().is_ok() {
            let _ = self.copies.synchronize();
        }
    }
}
