//! The one GPU there is: its memory, its streams, and what it has been asked to do.

use crate::work::{Host, Work};
use cudarc::driver::sys::{CUdeviceptr, CUresult};
use rusa::kernels::KERNELS;
use rusa::rng::{Philox, Purpose};
use rusa::vm::{Argument, Machine, Module, Program, Shape};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Instant;

/// What driver calls return, but for success.
pub type Fails<T = ()> = Result<T, CUresult>;

pub use CUresult::{
    CUDA_ERROR_ILLEGAL_ADDRESS as ILLEGAL_ADDRESS, CUDA_ERROR_INVALID_CONTEXT as INVALID_CONTEXT,
    CUDA_ERROR_INVALID_HANDLE as INVALID_HANDLE, CUDA_ERROR_INVALID_IMAGE as INVALID_IMAGE,
    CUDA_ERROR_INVALID_PTX as INVALID_PTX, CUDA_ERROR_INVALID_VALUE as INVALID_VALUE,
    CUDA_ERROR_LAUNCH_FAILED as LAUNCH_FAILED, CUDA_ERROR_NOT_FOUND as NOT_FOUND,
    CUDA_ERROR_OUT_OF_MEMORY as OUT_OF_MEMORY, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED as CAPTURE_UNSUPPORTED,
};

/// Shared memory of a block that needs no permission.
const ALWAYS_SHARED: u32 = 48 << 10;

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
    functions: HashMap<u64, Function>,
    streams: BTreeMap<u64, Stream>,
    events: HashMap<u64, Event>,
    graphs: HashMap<u64, Arc<Vec<Work>>>,
    pinned: BTreeMap<usize, Box<[u64]>>,
    broken: Option<CUresult>,
    seed: u64,
    random: Philox,
    fault: Option<String>,
    log: Option<std::fs::File>,
    handles: u64,
}

struct Function {
    program: Arc<Program>,
    /// Dynamic shared memory a launch may have.
    most_shared: u32,
}

#[derive(Default)]
struct Stream {
    queue: VecDeque<Work>,
    /// How many things it has done, and been given.
    done: u64,
    given: u64,
    capture: Option<Vec<Work>>,
}

#[derive(Default)]
struct Event {
    /// The stream it was last recorded in, and how many things that will have done then.
    at: Option<(u64, u64)>,
    time: Option<Instant>,
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
            pinned: BTreeMap::new(),
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

    fn is_capturing(&self) -> bool {
        self.streams.values().any(|s| s.capture.is_some())
    }

    /// What may not happen while a stream captures.
    fn outside_of_capture(&self) -> Fails {
        if self.is_capturing() { Err(CAPTURE_UNSUPPORTED) } else { Ok(()) }
    }

    pub fn free_bytes(&self) -> usize {
        self.room - self.memory.values().sum::<usize>()
    }
}

/// Memory.
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

/// Modules and functions.
impl Device {
    /// # Safety
    /// Machine code of this project, or PTX that ends in zero.
    pub unsafe fn load(&mut self, image: *const u8) -> Fails<u64> {
        self.outside_of_capture()?;
        // SAFETY: either kind of image is longer.
        let ptx = if unsafe { std::slice::from_raw_parts(image, 4) } == b"\x7fELF" {
            // SAFETY: an ELF file, which ends behind the table of its sections.
            let code = unsafe {
                let at = |offset: usize| image.add(offset);
                let table: u64 = at(0x28).cast::<u64>().read_unaligned();
                let [size, count]: [u16; 2] = at(0x3a).cast::<[u16; 2]>().read_unaligned();
                std::slice::from_raw_parts(image, table as usize + usize::from(size) * usize::from(count))
            };
            let same = |own: &[u8]| own.starts_with(code) || code.starts_with(own);
            let arch = format!("sm_{}{}", self.capability.0, self.capability.1);
            let of = |k: &&rusa::kernels::Kernel| {
                k.cubins.iter().any(|c| c.arch.trim_end_matches('a') <= arch.as_str() && same(c.code))
            };
            KERNELS.iter().find(of).ok_or(INVALID_IMAGE)?.ptx.to_owned()
        } else {
            // SAFETY: the caller's.
            let text = unsafe { std::ffi::CStr::from_ptr(image.cast()) };
            text.to_str().map_err(|_| INVALID_PTX)?.to_owned()
        };
        let module = self.machine.load(&ptx).map_err(|e| {
            eprintln!("driver: {e}");
            INVALID_PTX
        })?;
        let handle = self.handle();
        self.modules.insert(handle, module);
        Ok(handle)
    }

    pub fn function(&mut self, module: u64, name: &str) -> Fails<u64> {
        let module = self.modules.get(&module).ok_or(INVALID_HANDLE)?;
        let program = Arc::new(module.program(name).map_err(|_| NOT_FOUND)?);
        let most_shared = ALWAYS_SHARED - program.shared_bytes;
        let handle = self.handle();
        self.functions.insert(handle, Function { program, most_shared });
        Ok(handle)
    }

    pub fn static_shared(&self, function: u64) -> Fails<u32> {
        Ok(self.functions.get(&function).ok_or(INVALID_HANDLE)?.program.shared_bytes)
    }

    pub fn allow_shared(&mut self, function: u64, bytes: u32) -> Fails {
        self.outside_of_capture()?;
        let function = self.functions.get_mut(&function).ok_or(INVALID_HANDLE)?;
        if bytes + function.program.shared_bytes > 227 << 10 {
            return Err(INVALID_VALUE);
        }
        function.most_shared = bytes;
        Ok(())
    }

    /// # Safety
    /// `arguments` points to as many pointers as the function has parameters, each to a value of its size.
    pub unsafe fn launch(
        &mut self,
        function: u64,
        [grid, block]: [[u32; 3]; 2],
        dynamic_shared: u32,
        stream: u64,
        arguments: *mut *mut std::ffi::c_void,
    ) -> Fails {
        let Function { program, most_shared } = self.functions.get(&function).ok_or(INVALID_HANDLE)?;
        if dynamic_shared > *most_shared {
            return Err(INVALID_VALUE);
        }
        let program = program.clone();
        let value = |(i, param): (usize, &rusa::vm::Param)| {
            // SAFETY: the caller's.
            unsafe {
                let at = *arguments.add(i);
                match param.bytes {
                    4 => Ok(Argument::U32(at.cast::<u32>().read_unaligned())),
                    8 => Ok(Argument::U64(at.cast::<u64>().read_unaligned())),
                    _ => Err(INVALID_VALUE),
                }
            }
        };
        let arguments = program.params.iter().enumerate().map(value).collect::<Fails<_>>()?;
        let shape = Shape { grid, block, dynamic_shared, check: true, seed: self.seed, ..Shape::default() };
        self.queue(stream, Work::Launch { program, shape, arguments })
    }
}

/// Streams, events and graphs.
impl Device {
    pub fn new_stream(&mut self) -> u64 {
        let handle = self.handle();
        self.streams.insert(handle, Stream::default());
        handle
    }

    fn stream(&mut self, stream: u64) -> Fails<&mut Stream> {
        self.streams.get_mut(&stream).ok_or(INVALID_HANDLE)
    }

    pub fn destroy_stream(&mut self, stream: u64) -> Fails {
        self.finish(stream)?;
        self.streams.remove(&stream);
        Ok(())
    }

    /// Puts work into a stream, or into the graph it captures.
    pub fn queue(&mut self, stream: u64, work: Work) -> Fails {
        self.say(format_args!("{stream} {}", work.name()));
        let to = self.stream(stream)?;
        match (&mut to.capture, &work) {
            (Some(_), Work::Wait { .. } | Work::Record(_)) => return Err(CAPTURE_UNSUPPORTED),
            (Some(nodes), _) => nodes.push(work),
            (None, _) => {
                to.queue.push_back(work);
                to.given += 1;
                self.play()?;
            }
        }
        Ok(())
    }

    /// Runs some of what waits, as a GPU might.
    pub fn play(&mut self) -> Fails {
        if self.seed == 0 {
            return Ok(());
        }
        if self.seed == 1 {
            return self.finish_all();
        }
        let streams: Vec<u64> = self.streams.keys().copied().collect();
        for stream in streams {
            let some = self.random.below(4);
            for _ in 0..some {
                let ready = match self.streams[&stream].queue.front() {
                    None => false,
                    Some(&Work::Wait { stream, done }) => self.has_done(stream, done),
                    Some(_) => true,
                };
                if ready {
                    self.next(stream)?;
                }
            }
        }
        Ok(())
    }

    /// A stream that is gone had finished.
    fn has_done(&self, stream: u64, done: u64) -> bool {
        self.streams.get(&stream).is_none_or(|s| s.done >= done)
    }

    fn next(&mut self, stream: u64) -> Fails {
        let Some(work) = self.stream(stream)?.queue.pop_front() else { return Ok(()) };
        if let Err(why) = self.run(work) {
            self.broken = Some(why);
            return Err(why);
        }
        self.stream(stream)?.done += 1;
        Ok(())
    }

    fn finish_until(&mut self, stream: u64, done: u64) -> Fails {
        while !self.has_done(stream, done) {
            self.next(stream)?;
        }
        Ok(())
    }

    /// Waits for everything in a stream.
    pub fn finish(&mut self, stream: u64) -> Fails {
        self.outside_of_capture()?;
        let given = self.stream(stream)?.given;
        self.say(format_args!("{stream} synchronize"));
        self.finish_until(stream, given)
    }

    pub fn finish_all(&mut self) -> Fails {
        let streams: Vec<(u64, u64)> = self.streams.iter().map(|(&id, s)| (id, s.given)).collect();
        streams.into_iter().try_for_each(|(id, given)| self.finish_until(id, given))
    }

    fn run(&mut self, work: Work) -> Fails {
        match work {
            Work::Launch { program, .. } if self.fault.as_ref() == Some(&program.name) => {
                return Err(ILLEGAL_ADDRESS);
            }
            Work::Launch { program, shape, arguments } => {
                let outcome = self.machine.run(&program, &shape, &arguments, &|_| {}).map_err(|e| {
                    eprintln!("driver: {e}");
                    LAUNCH_FAILED
                })?;
                if let Some(finding) = outcome.findings.first() {
                    eprintln!("driver: {} {:?} {:?}: {finding}", program.name, shape.grid, shape.block);
                    return Err(LAUNCH_FAILED);
                }
            }
            Work::ToDevice { to, from } => {
                let bytes = match from {
                    // SAFETY: of `pinned`, which is not freed while a copy waits.
                    Host::Pinned { at, len } => {
                        unsafe { std::slice::from_raw_parts(at as *const u8, len) }.to_vec()
                    }
                    Host::Taken(bytes) => bytes,
                };
                self.machine.write(to, &bytes).map_err(|_| ILLEGAL_ADDRESS)?;
            }
            Work::ToHost { to, from, len } => {
                let mut bytes = vec![0; len];
                self.machine.read(from, &mut bytes).map_err(|_| ILLEGAL_ADDRESS)?;
                // SAFETY: pinned memory, or memory of a call that waits.
                unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, len) };
            }
            Work::OnDevice { to, from, len } => {
                let mut bytes = vec![0; len];
                self.machine.read(from, &mut bytes).map_err(|_| ILLEGAL_ADDRESS)?;
                self.machine.write(to, &bytes).map_err(|_| ILLEGAL_ADDRESS)?;
            }
            Work::Fill { to, byte, len } => {
                self.machine.write(to, &vec![byte; len]).map_err(|_| ILLEGAL_ADDRESS)?;
            }
            Work::Graph(nodes) => nodes.iter().try_for_each(|work| self.run(work.clone()))?,
            Work::Record(event) => {
                if let Some(event) = self.events.get_mut(&event) {
                    event.time = Some(Instant::now());
                }
            }
            Work::Wait { stream, done } => self.finish_until(stream, done)?,
        }
        Ok(())
    }

    pub fn new_event(&mut self) -> u64 {
        let handle = self.handle();
        self.events.insert(handle, Event::default());
        handle
    }

    pub fn destroy_event(&mut self, event: u64) -> Fails {
        self.events.remove(&event).map(drop).ok_or(INVALID_HANDLE)
    }

    pub fn record(&mut self, event: u64, stream: u64) -> Fails {
        let given = self.stream(stream)?.given;
        let of = self.events.get_mut(&event).ok_or(INVALID_HANDLE)?;
        *of = Event { at: Some((stream, given + 1)), time: None };
        self.queue(stream, Work::Record(event))
    }

    /// An event that was never recorded is not waited for.
    pub fn wait(&mut self, stream: u64, event: u64) -> Fails {
        match self.events.get(&event).ok_or(INVALID_HANDLE)?.at {
            Some((of, done)) => self.queue(stream, Work::Wait { stream: of, done }),
            None => Ok(()),
        }
    }

    pub fn finish_event(&mut self, event: u64) -> Fails {
        self.outside_of_capture()?;
        self.say(format_args!("event {event} synchronize"));
        match self.events.get(&event).ok_or(INVALID_HANDLE)?.at {
            Some((of, done)) => self.finish_until(of, done),
            None => Ok(()),
        }
    }

    pub fn elapsed(&self, from: u64, to: u64) -> Fails<f32> {
        let time = |event: u64| {
            self.events.get(&event).ok_or(INVALID_HANDLE)?.time.ok_or(CUresult::CUDA_ERROR_NOT_READY)
        };
        Ok(time(to)?.saturating_duration_since(time(from)?).as_secs_f32() * 1e3)
    }

    pub fn begin_capture(&mut self, stream: u64) -> Fails {
        self.outside_of_capture()?;
        self.stream(stream)?.capture = Some(Vec::new());
        Ok(())
    }

    pub fn end_capture(&mut self, stream: u64) -> Fails<u64> {
        let nodes = self.stream(stream)?.capture.take().ok_or(INVALID_VALUE)?;
        Ok(self.keep_graph(Arc::new(nodes)))
    }

    pub fn instantiate(&mut self, graph: u64) -> Fails<u64> {
        let nodes = self.graphs.get(&graph).ok_or(INVALID_HANDLE)?.clone();
        Ok(self.keep_graph(nodes))
    }

    fn keep_graph(&mut self, nodes: Arc<Vec<Work>>) -> u64 {
        let handle = self.handle();
        self.graphs.insert(handle, nodes);
        handle
    }

    pub fn launch_graph(&mut self, graph: u64, stream: u64) -> Fails {
        let nodes = self.graphs.get(&graph).ok_or(INVALID_HANDLE)?.clone();
        self.queue(stream, Work::Graph(nodes))
    }

    pub fn destroy_graph(&mut self, graph: u64) -> Fails {
        self.graphs.remove(&graph).map(drop).ok_or(INVALID_HANDLE)
    }
}
