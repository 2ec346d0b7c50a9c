//! The machine as its users see it: memory to fill, modules to load, kernels to launch.

use super::exec::{self, Outcome, Shape};
use super::link::{self, Globals, initial_bytes};
use super::memory::Memory;
use super::program::{Program, Special};
use super::ptx::{self, Source, Space};
use crate::error::{Error, Result};

/// A GPU in software: device memory, and the launches that work on it.
///
/// ```
/// # fn main() -> rusa::Result<()> {
/// use rusa::vm::{Argument, Machine, Shape};
/// let ptx = "
///     .version 9.0
///     .target sm_80
///     .address_size 64
///     .visible .entry twice(.param .u64 x) {
///         .reg .b64 %rd<3>; .reg .b32 %r<3>;
///         ld.param.u64 %rd0, [x];
///         mov.u32 %r0, %tid.x;
///         mul.wide.u32 %rd1, %r0, 4;
///         add.u64 %rd0, %rd0, %rd1;
///         ld.global.u32 %r1, [%rd0];
///         add.u32 %r1, %r1, %r1;
///         st.global.u32 [%rd0], %r1;
///         ret;
///     }";
/// let mut machine = Machine::new();
/// let module = machine.load(ptx)?;
/// let x = machine.allocate("x", 64 * 4)?;
/// machine.write(x, bytemuck::cast_slice(&(0..64).collect::<Vec<u32>>()))?;
/// let shape = Shape { block: [64, 1, 1], check: true, ..Shape::default() };
/// let outcome = machine.launch(&module, "twice", &shape, &[Argument::Pointer(x)])?;
/// assert!(outcome.findings.is_empty());
/// let mut result = [0u32; 64];
/// machine.read(x, bytemuck::cast_slice_mut(&mut result))?;
/// assert_eq!(result[21], 42);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Machine {
    memory: Memory,
    /// Made when a kernel first asks for it.
    workspace: Option<u64>,
}

/// A loaded `.ptx` file; its variables live in the memory of the machine that loaded it.
pub struct Module {
    source: Source,
    globals: Globals,
}

/// What a kernel is given.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    U8(u8),
    U16(u16),
    U32(u32),
    I32(i32),
    U64(u64),
    F32(f32),
    F64(f64),
    Pointer(u64),
    /// A struct, laid out as in C++.
    Struct(Vec<Argument>),
}

impl Argument {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::U8(x) => x.to_le_bytes().into(),
            Self::U16(x) => x.to_le_bytes().into(),
            Self::U32(x) => x.to_le_bytes().into(),
            Self::I32(x) => x.to_le_bytes().into(),
            Self::F32(x) => x.to_le_bytes().into(),
            Self::U64(x) | Self::Pointer(x) => x.to_le_bytes().into(),
            Self::F64(x) => x.to_le_bytes().into(),
            Self::Struct(fields) => {
                let mut all = Vec::new();
                for field in fields {
                    all.resize(all.len().next_multiple_of(field.align()), 0);
                    all.extend(field.bytes());
                }
                all.resize(all.len().next_multiple_of(self.align()), 0);
                all
            }
        }
    }

    fn align(&self) -> usize {
        match self {
            Self::Struct(fields) => fields.iter().map(Self::align).max().unwrap_or(1),
            other => other.bytes().len(),
        }
    }
}

impl Module {
    /// Names of the kernels, in the order of the file.
    pub fn entries(&self) -> Vec<&str> {
        self.source.functions.iter().filter(|f| f.entry).map(|f| f.name.as_str()).collect()
    }

    /// Decodes a kernel with everything it calls. An instruction the machine does not know is an error with its line.
    pub fn program(&self, entry: &str) -> Result<Program> {
        if !self.entries().contains(&entry) {
            let known = self.entries().join(", ");
            return Err(Error::kernel(entry, format!("the file has no such entry; it has: {known}")));
        }
        link::link(&self.source, entry, &self.globals).map_err(|e| Error::kernel(entry, format!("PTX {e}")))
    }
}

impl Machine {
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads PTX and puts its variables into device memory.
    pub fn load(&mut self, ptx: &str) -> Result<Module> {
        let source = ptx::parse(ptx).map_err(|e| Error::kernel("PTX", e.to_string()))?;
        let mut globals = Globals::new();
        let device = |space| matches!(space, Space::Global | Space::Const);
        let mut room = MAX_VARIABLES;
        for variable in source.variables.iter().filter(|v| device(v.space) && !(v.external && v.bytes == 0)) {
            room = room.checked_sub(variable.bytes).ok_or_else(|| {
                let (line, name) = (variable.line, &variable.name);
                let what = format!("line {line}: `{name}` and those before it exceed {MAX_VARIABLES} bytes");
                Error::kernel("PTX", what)
            })?;
            let address = self.allocate(&variable.name, variable.bytes as u64)?;
            globals.insert(variable.name.clone(), address);
        }
        for variable in source.variables.iter().filter(|v| device(v.space)) {
            let Some(&address) = globals.get(&variable.name) else { continue };
            let line = variable.line;
            let resolve =
                |name: &str| globals.get(name).copied().or_else(|| link::code_address(&source, name));
            let mut bytes = initial_bytes(variable.ty, &variable.init, resolve)
                .map_err(|e| Error::kernel("PTX", format!("line {line}: {e}")))?;
            bytes.resize(variable.bytes, 0);
            self.write(address, &bytes)?;
            if variable.space == Space::Const {
                self.memory.protect(address);
            }
        }
        Ok(Module { source, globals })
    }

    /// Device memory of `bytes`, not initialised; its address. The name is for messages.
    pub fn allocate(&mut self, name: &str, bytes: u64) -> Result<u64> {
        let what = || Error::Device {
            device: "vm".into(),
            what: format!("no memory for {bytes} bytes of `{name}`"),
        };
        self.memory.allocate(name, bytes).ok_or_else(what)
    }

    pub fn free(&mut self, address: u64) -> Result<()> {
        if self.memory.free(address) { Ok(()) } else { Err(outside("frees", address, 0)) }
    }

    /// Host → device.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<()> {
        if self.memory.write(address, bytes) { Ok(()) } else { Err(outside("writes", address, bytes.len())) }
    }

    /// Device → host.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<()> {
        let len = bytes.len();
        if self.memory.read(address, bytes) { Ok(()) } else { Err(outside("reads", address, len)) }
    }

    /// Runs a kernel to its end.
    pub fn launch(
        &mut self,
        module: &Module,
        entry: &str,
        shape: &Shape,
        arguments: &[Argument],
    ) -> Result<Outcome> {
        self.run(&module.program(entry)?, shape, arguments, &|_| {})
    }

    /// Runs a decoded kernel; `progress` hears how many blocks have finished.
    pub fn run(
        &mut self,
        program: &Program,
        shape: &Shape,
        arguments: &[Argument],
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Outcome> {
        let bad = |what: String| Error::kernel(&program.name, what);
        validate(program, shape).map_err(bad)?;
        if arguments.len() != program.params.len() {
            let (want, got) = (program.params.len(), arguments.len());
            return Err(bad(format!("takes {want} arguments, {got} were given")));
        }
        let mut params = vec![0; program.param_bytes];
        for (param, argument) in program.params.iter().zip(arguments) {
            let bytes = argument.bytes();
            if bytes.len() != param.bytes {
                let (name, want, got) = (&param.name, param.bytes, bytes.len());
                return Err(bad(format!("parameter `{name}` has {want} bytes, its argument {got}")));
            }
            params[param.offset..][..bytes.len()].copy_from_slice(&bytes);
        }
        let workspace = self.workspace(program)?;
        self.memory.forget_accesses();
        Ok(exec::run(program, &self.memory, shape, params, workspace, progress))
    }

    /// Where the blocks of a grid meet, cleared: bytes used, and the barrier. 0 for a program that asks for none.
    fn workspace(&mut self, program: &Program) -> Result<u64> {
        if !program.reads(|special| matches!(special, Special::Workspace(_))) {
            return Ok(0);
        }
        let address = match self.workspace {
            Some(address) => address,
            None => self.allocate("grid workspace", 8)?,
        };
        self.workspace = Some(address);
        self.write(address, &[8, 0, 0, 0, 0, 0, 0, 0])?;
        Ok(address)
    }
}

/// Bytes a module's variables may have: all are written when it is loaded.
const MAX_VARIABLES: usize = 256 << 20;
/// Threads a block may have, bytes of shared memory: the limits of sm_90.
const MAX_THREADS: u64 = 1024;
const MAX_SHARED: u64 = 227 << 10;
/// Blocks a grid may have along x, y and z, on every GPU.
pub const MOST_BLOCKS: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];

fn validate(program: &Program, shape: &Shape) -> Result<(), String> {
    let threads: u64 = shape.block.iter().map(|&n| u64::from(n)).product();
    let shared = u64::from(program.shared_bytes) + u64::from(shape.dynamic_shared);
    if shape.grid.contains(&0) || shape.block.contains(&0) {
        return Err("grid and block need at least 1 in each dimension".into());
    }
    if threads > MAX_THREADS || shape.block[2] > 64 {
        return Err(format!("a block of {threads} threads: {MAX_THREADS} (and 64 in z) are the limit"));
    }
    if shape.grid.iter().zip(MOST_BLOCKS).any(|(&n, most)| n > most) {
        return Err(format!("a grid of {:?} blocks: {MOST_BLOCKS:?} are the limit", shape.grid));
    }
    if shape.blocks() > u64::from(u32::MAX - 1) {
        return Err("more than 2³² blocks".into());
    }
    if shared > MAX_SHARED {
        return Err(format!("{shared} bytes of shared memory: {MAX_SHARED} are the limit"));
    }
    if program.block_required.is_some_and(|required| required != shape.block) {
        return Err(format!(
            "was compiled for blocks of {:?} threads only",
            program.block_required.unwrap_or_default()
        ));
    }
    if program.block_max.is_some_and(|max| threads > max.into()) {
        return Err(format!(
            "was compiled for at most {} threads a block",
            program.block_max.unwrap_or_default()
        ));
    }
    Ok(())
}

fn outside(verb: &str, address: u64, bytes: usize) -> Error {
    Error::Device {
        device: "vm".into(),
        what: format!("the host {verb} {bytes} bytes at {address:#x}, where there is no allocation"),
    }
}
