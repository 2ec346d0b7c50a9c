//! CUDA: launches through the driver, a repeated sequence of them as one CUDA graph.
//!
//! The driver's library is loaded when it is first asked for, so a binary starts where there is none. Launches go onto one
//! stream, in order. A copy to the device does not wait, and crosses the bus on a stream of its own; a copy from it waits
//! for the last launches, not for what was written behind them.

mod gpu;
mod modules;
mod staging;

pub use gpu::{Gpu, count, gpu, has_driver};

use super::backend::Backend;
use super::launch::{Address, Launch, Value};
use crate::kernels::KERNELS;
use crate::{Error, Result};
use cudarc::driver::{CudaEvent, CudaGraph, CudaStream, DriverError, result, sys};
use gpu::Shared;
use staging::Staging;
use std::collections::HashMap;
use std::ffi::c_void;
use std::ops::Range;
use std::sync::{Arc, PoisonError};

/// More than the L2 cache of any GPU so far.
const OTHER_BYTES: usize = 192 << 20;

/// Whether every kernel of this build comes as machine code for chips of that compute capability.
pub fn has_machine_code(capability: (u32, u32)) -> bool {
    KERNELS.iter().all(|kernel| modules::cubin(kernel, capability).is_some())
}

/// A stream on a GPU, the memory taken there, and the sequences captured so far.
pub struct CudaBackend {
    ordinal: usize,
    shared: Arc<Shared>,
    stream: Arc<CudaStream>,
    staging: Staging,
    memory: Vec<u64>,
    graphs: HashMap<Range<usize>, Sequence>,
    /// Behind the last launches.
    ran: CudaEvent,
    /// Where bytes go that were written since.
    written: Vec<Range<u64>>,
    /// What [`evict`](Backend::evict) fills the caches with.
    other: Option<Address>,
    /// `RUSA_SYNC=1`: wait after every launch, so that an error names its cause.
    each: bool,
}

/// What has become of a sequence of launches.
enum Sequence {
    /// Run once, which loaded its modules.
    Seen,
    Captured(CudaGraph),
}

// SAFETY: the handles belong to this value alone, and the driver allows any thread that has made the context current,
// which `bind` does.
unsafe impl Send for CudaBackend {}

impl CudaBackend {
    pub fn new(ordinal: usize) -> Result<Self> {
        let shared = gpu::shared(ordinal)?;
        let said = |e| failed(ordinal, e);
        let stream = shared.context.new_stream().map_err(said)?;
        let untimed = Some(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING);
        let ran = shared.context.new_event(untimed).map_err(said)?;
        Ok(Self {
            ordinal,
            staging: Staging::new(shared.context.clone()).map_err(said)?,
            shared,
            stream,
            memory: Vec::new(),
            graphs: HashMap::new(),
            ran,
            written: Vec::new(),
            other: None,
            each: std::env::var("RUSA_SYNC").is_ok_and(|v| v == "1"),
        })
    }

    fn bind(&self) -> Result<()> {
        self.shared.context.bind_to_thread().map_err(|e| self.failed(e, "before it began"))
    }

    fn launch(&mut self, launch: &Launch) -> Result<()> {
        let Launch { entry, grid, block, cluster, shared, .. } = launch;
        assert_eq!(*cluster, [1; 3], "clusters are not launched yet");
        let modules = &self.shared.modules;
        let function = modules.lock().unwrap_or_else(PoisonError::into_inner).function(entry, *shared)?;
        let mut arguments: Vec<Argument> = launch.arguments.iter().map(Argument::of).collect();
        let mut pointers: Vec<*mut c_void> =
            arguments.iter_mut().map(|a| std::ptr::from_mut(a).cast()).collect();
        let triple = |[x, y, z]: [u32; 3]| (x, y, z);
        // SAFETY: the arguments are those of the entry, which a test compares with its PTX; addresses are in the arena,
        // which lives as long as the stream.
        let done = unsafe {
            let stream = self.stream.cu_stream();
            result::launch_kernel(function, triple(*grid), triple(*block), *shared, stream, &mut pointers)
        };
        let done = if self.each { done.and_then(|()| self.stream.synchronize()) } else { done };
        done.map_err(|e| {
            let what = format!(
                "cuda:{}: {}, grid {grid:?}, block {block:?}, {shared} bytes of shared memory",
                self.ordinal,
                explain(e)
            );
            Error::kernel(*entry, what)
        })
    }

    /// One by one, or as a graph from the second time on.
    fn launch_all(&mut self, key: Range<usize>, launches: &[&Launch]) -> Result<()> {
        if self.each || launches.len() < 2 {
            return launches.iter().try_for_each(|launch| self.launch(launch));
        }
        match self.graphs.get(&key) {
            Some(Sequence::Captured(graph)) => graph.launch().map_err(|e| self.failed(e, "on a graph")),
            Some(Sequence::Seen) => {
                let graph = self.capture(launches)?;
                let launched = graph.launch().map_err(|e| self.failed(e, "on a graph"));
                self.graphs.insert(key, Sequence::Captured(graph));
                launched
            }
            None => {
                self.graphs.insert(key, Sequence::Seen);
                launches.iter().try_for_each(|launch| self.launch(launch))
            }
        }
    }

    /// Captures launches instead of running them.
    fn capture(&mut self, launches: &[&Launch]) -> Result<CudaGraph> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).map_err(|e| self.failed(e, "when capture began"))?;
        let launched = launches.iter().try_for_each(|launch| self.launch(launch));
        let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = self.stream.end_capture(flags);
        launched?;
        graph
            .map_err(|e| self.failed(e, "when the graph was made"))?
            .ok_or_else(|| Error::Device { device: self.name(), what: "the captured graph is empty".into() })
    }

    fn failed(&self, e: DriverError, when: &str) -> Error {
        let hint = if self.each {
            ""
        } else {
            "; the cause may be an earlier launch: RUSA_SYNC=1 waits after each and names it"
        };
        Error::Device { device: self.name(), what: format!("{} {when}{hint}", explain(e)) }
    }
}

/// A kernel argument where the driver reads it.
#[repr(C)]
union Argument {
    u32: u32,
    u64: u64,
    f32: f32,
}

impl Argument {
    fn of(value: &Value) -> Self {
        match *value {
            Value::U32(u32) => Self { u32 },
            Value::U64(u64) | Value::Address(Address(u64)) => Self { u64 },
            Value::F32(f32) => Self { f32 },
        }
    }
}

impl Backend for CudaBackend {
    fn name(&self) -> String {
        format!("cuda:{}", self.ordinal)
    }

    fn allocate(&mut self, name: &str, bytes: usize) -> Result<Address> {
        self.bind()?;
        // SAFETY: freed once, in `drop`.
        match unsafe { result::malloc_sync(bytes.max(1)) } {
            Ok(address) => {
                self.memory.push(address);
                Ok(Address(address))
            }
            Err(e) => {
                let free = self.shared.context.mem_get_info().map_or(String::new(), |(free, all)| {
                    format!(": {} of {} MiB are free", free >> 20, all >> 20)
                });
                let what = format!("no room for the {} MiB of `{name}`{free} ({})", bytes >> 20, explain(e));
                Err(Error::Device { device: self.name(), what })
            }
        }
    }

    fn write(&mut self, to: Address, bytes: &[u8]) -> Result<()> {
        self.bind()?;
        self.written.push(to.0..to.0 + bytes.len() as u64);
        self.staging.write(&self.stream, to, bytes).map_err(|e| self.failed(e, "on a copy to it"))
    }

    fn zero(&mut self, to: Address, bytes: usize) -> Result<()> {
        self.bind()?;
        self.written.push(to.0..to.0 + bytes as u64);
        // SAFETY: as many bytes as were allocated there.
        unsafe { result::memset_d8_async(to.0, 0, bytes, self.stream.cu_stream()) }
            .map_err(|e| self.failed(e, "while it was zeroed"))
    }

    fn read(&self, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.bind()?;
        let end = from.0 + bytes.len() as u64;
        let is_new = self.written.iter().any(|new| new.start < end && from.0 < new.end);
        let waited = if is_new { self.stream.synchronize() } else { self.ran.synchronize() };
        // SAFETY: the caller reads what was allocated. Streams of ours do not wait for this copy, nor it for them.
        let copied = waited.and_then(|()| unsafe { result::memcpy_dtoh_sync(bytes, from.0) });
        copied.map_err(|e| self.failed(e, "on a copy from it"))
    }

    fn run(&mut self, key: Range<usize>, launches: &[&Launch]) -> Result<()> {
        self.bind()?;
        self.staging.turn(&self.stream).map_err(|e| self.failed(e, "while input was staged"))?;
        self.launch_all(key, launches)?;
        self.written.clear();
        self.ran.record(&self.stream).map_err(|e| self.failed(e, "behind the launches"))
    }

    fn evict(&mut self) -> Result<()> {
        if self.other.is_none() {
            self.other = Some(self.allocate("other data", OTHER_BYTES)?);
        }
        let Some(Address(other)) = self.other else { return Ok(()) };
        // SAFETY: as many bytes as were allocated.
        unsafe { result::memset_d8_async(other, 0, OTHER_BYTES, self.stream.cu_stream()) }
            .map_err(|e| self.failed(e, "while its caches were filled"))
    }

    fn seconds(&mut self, key: Range<usize>, launches: &[&Launch]) -> Result<f64> {
        let timing = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let event = |b: &Self| b.stream.record_event(timing).map_err(|e| b.failed(e, "on an event"));
        let began = event(self)?;
        self.run(key, launches)?;
        let ended = event(self)?;
        let milliseconds = began.elapsed_ms(&ended).map_err(|e| self.failed(e, "while it was timed"))?;
        Ok(f64::from(milliseconds) / 1e3)
    }
}

impl Drop for CudaBackend {
    fn drop(&mut self) {
        // Nothing to be done about errors here: the context may be broken by the one that is being reported.
        if self.shared.context.bind_to_thread().is_ok() {
            let _ = self.stream.synchronize();
            self.graphs.clear();
            for &address in &self.memory {
                // SAFETY: from `allocate`, and nothing uses it any more.
                let _ = unsafe { result::free_sync(address) };
            }
        }
    }
}

fn failed(ordinal: usize, e: DriverError) -> Error {
    Error::Device { device: format!("cuda:{ordinal}"), what: explain(e) }
}

/// The driver's own name and sentence for an error.
fn explain(e: DriverError) -> String {
    let text = |c: Result<&std::ffi::CStr, _>| {
        c.map_or_else(|_: DriverError| format!("{:?}", e.0), |c| c.to_string_lossy().into_owned())
    };
    format!("{} ({})", text(e.error_string()), text(e.error_name()))
}
