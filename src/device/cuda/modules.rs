//! Kernels of this binary on a GPU: machine code where there is some for it, else PTX that the driver compiles.

use crate::kernels::{self, Cubin, Kernel};
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
        if let Some(cubin) = cubin(kernel, self.capability) {
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
