//! The one GPU there is: its memory, its streams, and what it has been asked to do.

mod memory;
mod modules;
mod streams;

use crate::work::Work;
use cudarc::driver::sys::{CUdeviceptr, CUresult};
use rusa::rng::{Philox, Purpose};
use rusa::vm::{Machine, Module};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use streams::{Event, Stream};

/// What driver calls return, but for success.
pub type Fails<T = ()> = Result<T, CUresult>;

pub use CUresult::{
    CUDA_ERROR_ILLEGAL_ADDRESS as ILLEGAL_ADDRESS, CUDA_ERROR_INVALID_CONTEXT as INVALID_CONTEXT,
    CUDA_ERROR_INVALID_HANDLE as INVALID_HANDLE, CUDA_ERROR_INVALID_IMAGE as INVALID_IMAGE,
    CUDA_ERROR_INVALID_PTX as INVALID_PTX, CUDA_ERROR_INVALID_VALUE as INVALID_VALUE,
    CUDA_ERROR_LAUNCH_FAILED as LAUNCH_FAILED, CUDA_ERROR_NOT_FOUND as NOT_FOUND,
    CUDA_ERROR_OUT_OF_MEMORY as OUT_OF_MEMORY, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED as CAPTURE_UNSUPPORTED,
};

static DEVICE: LazyLock<Mutex<Device>> = LazyLock::new(|| Mutex::new(Device::new()));

/// Does something with the device; a panic becomes a failed launch, since none may leave a C function.
pub fn with(act: impl FnOnce(&mut Device) -> Fails) -> CUresult {
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut device = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
        // Sticky: a context that a kernel has broken stays so.
        device.broken.map_or(Ok(()), Err)?;
        act(&mut device)
    }));
    match done.unwrap_or(Err(LAUNCH_FAILED)) {
        Ok(()) => CUresult::CUDA_SUCCESS,
        Err(why) => why,
    }
}

pub struct Device {
    machine: Machine,
    /// Where allocations begin, and their bytes.
    memory: BTreeMap<CUdeviceptr, usize>,
    pub room: usize,
    pub capability: (i32, i32),
    modules: HashMap<u64, Module>,
    functions: HashMap<u64, modules::Function>,
    streams: BTreeMap<u64, Stream>,
    events: HashMap<u64, Event>,
    /// As captured, and as made ready for launches.
    graphs: HashMap<u64, Arc<Vec<Work>>>,
    executables: HashMap<u64, Arc<Vec<Work>>>,
    pinned: BTreeMap<usize, Box<[u64]>>,
    /// Whether the primary context has been asked for.
    pub retained: bool,
    broken: Option<CUresult>,
    seed: u64,
    random: Philox,
    fault: Option<String>,
    log: Option<std::fs::File>,
    handles: u64,
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name}={v}")))
}

impl Device {
    fn new() -> Self {
        let (seed, sm) = (setting("RUSA_DRIVER_SEED", 0), setting("RUSA_DRIVER_SM", 90) as i32);
        let log = std::env::var("RUSA_DRIVER_LOG").ok();
        Self {
            machine: Machine::new(),
            memory: BTreeMap::new(),
            room: (setting("RUSA_DRIVER_MIB", 2048) as usize) << 20,
            capability: (sm / 10, sm % 10),
            modules: HashMap::new(),
            functions: HashMap::new(),
            streams: BTreeMap::new(),
            events: HashMap::new(),
            graphs: HashMap::new(),
            executables: HashMap::new(),
            pinned: BTreeMap::new(),
            retained: false,
            broken: None,
            seed,
            random: Philox::new(seed, Purpose::Test, 0, 0),
            fault: std::env::var("RUSA_DRIVER_FAULT").ok(),
            log: log.map(|path| {
                std::fs::OpenOptions::new().create(true).append(true).open(path).expect("a file for the log")
            }),
            handles: 0,
        }
    }

    fn handle(&mut self) -> u64 {
        self.handles += 1;
        self.handles
    }

    fn say(&mut self, what: std::fmt::Arguments) {
        if let Some(log) = &mut self.log {
            writeln!(log, "{what}").expect("a log that can be written");
        }
    }

    /// What may not happen in a thread that has begun a capture; others are not kept from it, in the mode that rusa asks for
    /// (`CU_STREAM_CAPTURE_MODE_THREAD_LOCAL`).
    fn outside_of_capture(&self) -> Fails {
        let own = std::thread::current().id();
        let capturing = |s: &Stream| s.capture.as_ref().is_some_and(|capture| capture.thread == own);
        if self.streams.values().any(capturing) { Err(CAPTURE_UNSUPPORTED) } else { Ok(()) }
    }

    pub fn free_bytes(&self) -> usize {
        self.room - self.memory.values().sum::<usize>()
    }
}
