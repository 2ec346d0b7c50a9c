//! Kernels of this binary on a GPU: machine code where there is some for it, else PTX that the driver compiles.

use crate::kernels::{self, Kernel};
use crate::{Error, Result};
use cudarc::driver::{result, sys};
use std::collections::HashMap;
use std::ffi::CString;

/// Dynamic shared memory that needs no permission.
const ALWAYS: u32 = 48 << 10;

/// What has been loaded.
pub struct Modules {
    capability: (u32, u32),
    modules: HashMap<&'static str, sys::CUmodule>,
    functions: HashMap<&'static str, Function>,
}

struct Function {
    handle: sys::CUfunction,
    /// Dynamic shared memory it may have.
    shared: u32,
}

impl Modules {
    pub fn new(capability: (u32, u32)) -> Self {
        Self { capability, modules: HashMap::new(), functions: HashMap::new() }
    }

    /// An entry that may be launched with so much dynamic shared memory. The context is current.
    pub fn function(&mut self, entry: &'static str, shared: u32) -> Result<sys::CUfunction> {
        if !self.functions.contains_key(entry) {
            let handle = self.load(entry)?;
            self.functions.insert(entry, Function { handle, shared: ALWAYS });
        }
        let function = self.functions.get_mut(entry).expect("as just inserted");
        if shared > function.shared {
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: a handle of a loaded module.
            unsafe { result::function::set_function_attribute(function.handle, attribute, shared as i32) }
                .map_err(|e| {
                    Error::kernel(entry, format!("{shared} bytes of shared memory: {}", super::explain(e)))
                })?;
            function.shared = shared;
        }
        Ok(function.handle)
    }

    fn load(&mut self, entry: &'static str) -> Result<sys::CUfunction> {
        let (kernel, _) = kernels::find(entry)?;
        let said =
            |e| Error::kernel(entry, format!("cannot be loaded from {}: {}", kernel.file, super::explain(e)));
        let module = match self.modules.get(kernel.file) {
            Some(&module) => module,
            None => {
                let image = self.image(kernel)?;
                // SAFETY: an ELF image or text that ends in zero.
                let module = unsafe { result::module::load_data(image.as_ptr().cast()) }.map_err(said)?;
                self.modules.insert(kernel.file, module);
                module
            }
        };
        let name = CString::new(entry).expect("names of entries hold no zero");
        // SAFETY: the module stays loaded as long as the context.
        unsafe { result::module::get_function(module, name) }.map_err(said)
    }

    /// Machine code for this very chip, or for an older one of its generation, or PTX.
    fn image(&self, kernel: &'static Kernel) -> Result<Vec<u8>> {
        let (major, minor) = self.capability;
        let generation =
            |arch: &str| arch.trim_start_matches("sm_").trim_end_matches('a').parse::<u32>().ok();
        let fits = |arch: &str| {
            let specific = arch.ends_with('a');
            generation(arch)
                .is_some_and(|n| n / 10 == major && if specific { n % 10 == minor } else { n % 10 <= minor })
        };
        let best = kernel
            .cubins
            .iter()
            .filter(|c| fits(c.arch))
            .max_by_key(|c| (generation(c.arch), c.arch.ends_with('a')));
        if let Some(cubin) = best {
            return Ok(cubin.code.to_vec());
        }
        tracing::warn!(
            "{} has no machine code for sm_{major}{minor} in this build: the driver compiles its PTX ({}); \
             RUSA_CUDA_ARCHS=sm_{major}{minor} at build time avoids the wait",
            kernel.file,
            kernel.target
        );
        let text =
            CString::new(kernel.ptx).map_err(|_| Error::kernel(kernel.file, "its PTX holds a zero"))?;
        Ok(text.into_bytes_with_nul())
    }
}
