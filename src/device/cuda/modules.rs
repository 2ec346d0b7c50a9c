//! Kernels of this binary on a GPU: machine code where there is some for it, else PTX that the driver compiles.

use crate::kernels::{self, Cubin, Kernel};
use crate::{Error, Result};
use cudarc::driver::sys::{CUfunction_attribute as Attribute, CUjit_option as JitOption};
use cudarc::driver::{result, sys};
use std::collections::HashMap;
use std::ffi::{CString, c_void};

/// Shared memory, static and dynamic, that needs no permission.
const ALWAYS: u32 = 48 << 10;

/// Room for what the driver's compiler says of PTX it does not take.
const LOG_BYTES: usize = 8 << 10;

/// What has been loaded into a context, where it stays.
pub struct Modules {
    capability: (u32, u32),
    modules: HashMap<&'static str, sys::CUmodule>,
    functions: HashMap<&'static str, Function>,
    /// `RUSA_PTX=1`: let the driver compile PTX even where there is machine code, as it must on chips yet to come.
    ptx: bool,
    /// Whether that has been said.
    told: bool,
}

struct Function {
    handle: sys::CUfunction,
    /// Dynamic shared memory it may have.
    shared: u32,
}

// SAFETY: handles of a context that every user has made current; the driver takes them from any thread.
unsafe impl Send for Modules {}

impl Modules {
    pub fn new(capability: (u32, u32)) -> Self {
        let ptx = std::env::var("RUSA_PTX").is_ok_and(|v| v == "1");
        Self { capability, modules: HashMap::new(), functions: HashMap::new(), ptx, told: false }
    }

    /// An entry that may be launched with so much dynamic shared memory. The context is current.
    pub fn function(&mut self, entry: &'static str, shared: u32) -> Result<sys::CUfunction> {
        if !self.functions.contains_key(entry) {
            let function = self.load(entry)?;
            self.functions.insert(entry, function);
        }
        let function = self.functions.get_mut(entry).expect("as just inserted");
        if shared > function.shared {
            let most = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: a handle of a loaded module.
            unsafe { result::function::set_function_attribute(function.handle, most, shared as i32) }
                .map_err(|e| {
                    Error::kernel(entry, format!("{shared} bytes of shared memory: {}", super::explain(e)))
                })?;
            function.shared = shared;
        }
        Ok(function.handle)
    }

    fn load(&mut self, entry: &'static str) -> Result<Function> {
        let (kernel, _) = kernels::find(entry)?;
        let module = match self.modules.get(kernel.file) {
            Some(&module) => module,
            None => {
                let module = self.module(kernel, entry)?;
                self.modules.insert(kernel.file, module);
                module
            }
        };
        let name = CString::new(entry).expect("names of entries hold no zero");
        // SAFETY: the module stays loaded as long as the context.
        let found = unsafe {
            result::module::get_function(module, name).and_then(|handle| {
                let size = Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES;
                Ok((handle, result::function::get_function_attribute(handle, size)?))
            })
        };
        let (handle, fixed) = found.map_err(|e| {
            Error::kernel(entry, format!("is not found in {}: {}", kernel.file, super::explain(e)))
        })?;
        Ok(Function { handle, shared: ALWAYS.saturating_sub(fixed as u32) })
    }

    /// Machine code for this very chip, or for an older one of its generation, or PTX.
    fn module(&mut self, kernel: &'static Kernel, entry: &'static str) -> Result<sys::CUmodule> {
        let (major, minor) = self.capability;
        if let Some(cubin) = cubin(kernel, self.capability).filter(|_| !self.ptx) {
            // SAFETY: an ELF image.
            let loaded = unsafe { result::module::load_data(cubin.code.as_ptr().cast()) };
            return loaded.map_err(|e| {
                let (file, arch, why) = (kernel.file, cubin.arch, super::explain(e));
                Error::kernel(entry, format!("the machine code of {file} for {arch} cannot be loaded: {why}"))
            });
        }
        if !std::mem::replace(&mut self.told, true) {
            let why = if self.ptx {
                "RUSA_PTX=1".into()
            } else {
                format!(
                    "no machine code for sm_{major}{minor} in this build; RUSA_CUDA_ARCHS=sm_{major}{minor} at build \
                     time avoids the wait"
                )
            };
            tracing::warn!("the driver compiles the kernels' PTX ({}): {why}", kernel.target);
        }
        compile(kernel, entry)
    }
}

/// PTX to a module by the driver's compiler, whose complaints become the error.
fn compile(kernel: &'static Kernel, entry: &'static str) -> Result<sys::CUmodule> {
    let fail = |what: String| Error::kernel(entry, format!("the PTX of {}: {what}", kernel.file));
    let text = CString::new(kernel.ptx).map_err(|_| fail("holds a zero".into()))?;
    let mut log = vec![0u8; LOG_BYTES];
    let mut options = [JitOption::CU_JIT_ERROR_LOG_BUFFER, JitOption::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    // The driver takes values by pointer or, if they are numbers, in the pointer's place.
    let mut values: [*mut c_void; 2] = [log.as_mut_ptr().cast(), std::ptr::without_provenance_mut(LOG_BYTES)];
    let mut module = std::ptr::null_mut();
    // SAFETY: text that ends in zero; as many options as values; the log outlives the call.
    let done = unsafe {
        let image = text.as_ptr().cast();
        sys::cuModuleLoadDataEx(&raw mut module, image, 2, options.as_mut_ptr(), values.as_mut_ptr())
    };
    done.result().map_err(|e| {
        let end = log.iter().position(|&b| b == 0).unwrap_or(log.len());
        fail(format!("{}: {}", super::explain(e), String::from_utf8_lossy(&log[..end]).trim()))
    })?;
    Ok(module)
}

/// The machine code that a chip takes: made for it, or for an older one of its generation. What is made for one chip
/// alone (`sm_90a`) runs on no other.
pub fn cubin(kernel: &'static Kernel, (major, minor): (u32, u32)) -> Option<&'static Cubin> {
    let number = |c: &Cubin| c.arch.trim_start_matches("sm_").trim_end_matches('a').parse::<u32>().ok();
    let specific = |c: &Cubin| c.arch.ends_with('a');
    let fits = |c: &&Cubin| {
        number(c)
            .is_some_and(|n| n / 10 == major && if specific(c) { n % 10 == minor } else { n % 10 <= minor })
    };
    kernel.cubins.iter().filter(fits).max_by_key(|c| (number(c), specific(c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chip_gets_the_newest_code_it_can_run() {
        static CUBINS: [Cubin; 4] = [
            Cubin { arch: "sm_80", code: b"80" },
            Cubin { arch: "sm_86", code: b"86" },
            Cubin { arch: "sm_90", code: b"90" },
            Cubin { arch: "sm_90a", code: b"90a" },
        ];
        static KERNEL: Kernel = Kernel {
            file: "kernels/none.cu",
            source: "",
            target: "compute_80",
            ptx: "",
            cubins: &CUBINS,
            entries: &[],
        };
        for (capability, arch) in [
            ((8, 0), Some("sm_80")),
            ((8, 9), Some("sm_86")),
            ((9, 0), Some("sm_90a")),
            ((9, 1), Some("sm_90")),
            ((7, 5), None),
            ((10, 0), None),
        ] {
            assert_eq!(cubin(&KERNEL, capability).map(|c| c.arch), arch, "{capability:?}");
        }
    }
}
