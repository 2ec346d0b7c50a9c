//! What waits in a stream.

use cudarc::driver::sys::CUdeviceptr;
use rusa::vm::{Argument, Program, Shape};
use std::sync::Arc;

/// The next thing a stream does.
#[derive(Clone)]
pub enum Work {
    Launch {
        program: Arc<Program>,
        shape: Shape,
        arguments: Vec<Argument>,
    },
    ToDevice {
        to: CUdeviceptr,
        from: Host,
    },
    ToHost {
        to: usize,
        from: CUdeviceptr,
        len: usize,
    },
    OnDevice {
        to: CUdeviceptr,
        from: CUdeviceptr,
        len: usize,
    },
    Fill {
        to: CUdeviceptr,
        byte: u8,
        len: usize,
    },
    Graph(Arc<Vec<Work>>),
    /// The event's time is taken.
    Record(u64),
    /// Until that stream has done so many things.
    Wait {
        stream: u64,
        done: u64,
    },
}

/// Bytes on their way to the device.
#[derive(Clone)]
pub enum Host {
    /// Pinned memory is read when the copy happens.
    Pinned { at: usize, len: usize },
    /// Any other memory before the call returns.
    Taken(Vec<u8>),
}

impl Work {
    /// A word for the log.
    pub fn name(&self) -> String {
        match self {
            Self::Launch { program, .. } => program.name.clone(),
            Self::ToDevice { from: Host::Pinned { len, .. }, .. } => {
                format!("to device, {len} bytes, pinned")
            }
            Self::ToDevice { from: Host::Taken(bytes), .. } => format!("to device, {} bytes", bytes.len()),
            Self::ToHost { len, .. } => format!("to host, {len} bytes"),
            Self::OnDevice { len, .. } => format!("on device, {len} bytes"),
            Self::Fill { len, .. } => format!("fill {len} bytes"),
            Self::Graph(nodes) => format!("graph of {} nodes", nodes.len()),
            Self::Record(event) => format!("record event {event}"),
            Self::Wait { stream, .. } => format!("wait for stream {stream}"),
        }
    }

    /// Whether pinned memory at `host` is still to be read or written.
    pub fn touches(&self, host: usize, bytes: usize) -> bool {
        let within = |at: usize| (host..host + bytes).contains(&at);
        match self {
            Self::ToDevice { from: Host::Pinned { at, .. }, .. } => within(*at),
            Self::ToHost { to, .. } => within(*to),
            _ => false,
        }
    }
}
