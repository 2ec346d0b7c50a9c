//! Modules, their functions, and launches of these.

use super::{Device, Fails, INVALID_HANDLE, INVALID_IMAGE, INVALID_PTX, INVALID_VALUE, NOT_FOUND};
use crate::work::Work;
use rusa::kernels::{KERNELS, Kernel};
use rusa::vm::{Argument, Param, Program, Shape};
use std::sync::Arc;

/// Shared memory of a block that needs no permission.
const ALWAYS_SHARED: u32 = 48 << 10;

pub struct Function {
    program: Arc<Program>,
    /// Dynamic shared memory a launch may have.
    most_shared: u32,
}

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
            let of = |k: &&Kernel| k.cubins.iter().any(|c| self.takes(c.arch) && same(c.code));
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

    /// Whether the chip runs machine code for `sm_89` or, it alone, `sm_90a`.
    fn takes(&self, arch: &str) -> bool {
        let (major, minor) = self.capability;
        let number = arch.trim_start_matches("sm_");
        let chip: i32 = number.trim_end_matches('a').parse().unwrap_or(i32::MAX);
        chip / 10 == major && if number.ends_with('a') { chip % 10 == minor } else { chip % 10 <= minor }
    }

    /// Shared memory that a block may ask for (CUDA C++ programming guide, compute capabilities).
    fn most_shared(&self) -> u32 {
        match self.capability {
            (8, 0 | 7) => 163 << 10,
            (8, _) | (12, _) => 99 << 10,
            _ => 227 << 10,
        }
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
        let most = self.most_shared();
        let function = self.functions.get_mut(&function).ok_or(INVALID_HANDLE)?;
        if bytes + function.program.shared_bytes > most {
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
        let value = |(i, param): (usize, &Param)| {
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
