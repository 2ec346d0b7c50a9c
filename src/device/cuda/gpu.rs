//! GPUs: what is there, whether this build can use it, and one context each for the whole process.

use super::modules::Modules;
use super::{explain, failed};
use crate::{Error, Result};
use cudarc::driver::sys::CUdevice_attribute as Attribute;
use cudarc::driver::{CudaContext, DriverError, result, sys};
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::sync::{Arc, Mutex, PoisonError};

/// The driver API that this build calls, and whose compiler made its kernels, as `cuDriverGetVersion` counts.
const DRIVER: c_int = 13_000;

/// The chips that the kernels are written for: asynchronous copies and bf16 on tensor cores begin there.
const OLDEST: (u32, u32) = (8, 0);

/// How a GPU introduces itself.
#[derive(Clone, Debug)]
pub struct Gpu {
    pub name: String,
    /// As in `sm_90`.
    pub capability: (u32, u32),
    pub memory_bytes: usize,
}

/// Whether NVIDIA's driver is on this machine, of whatever version.
pub fn has_driver() -> bool {
    // SAFETY: looks for the library and loads it.
    unsafe { sys::is_culib_present() }
}

/// Why CUDA cannot be used here, in a sentence, or how many GPUs there are.
pub fn count() -> Result<usize, String> {
    if !has_driver() {
        return Err("there is no NVIDIA driver on this machine (its library, libcuda, is not found)".into());
    }
    let mut version = 0;
    // SAFETY: writes one number. Asked before anything else: an older driver lacks functions that others call.
    let asked = unsafe { sys::cuDriverGetVersion(&raw mut version) }.result();
    asked.map_err(|e| format!("the NVIDIA driver does not say its version: {}", explain(e)))?;
    if version < DRIVER {
        let said = |v: c_int| format!("{}.{}", v / 1000, v % 1000 / 10);
        return Err(format!(
            "the NVIDIA driver is for CUDA {}; this build needs CUDA {} or later (driver 580 or later)",
            said(version),
            said(DRIVER)
        ));
    }
    match CudaContext::device_count() {
        Ok(0) => Err("the NVIDIA driver is there, but it sees no GPU".into()),
        Ok(count) => Ok(count as usize),
        Err(e) => Err(format!("the NVIDIA driver does not start: {}", explain(e))),
    }
}

/// The GPU of that number, if this build can use it. Takes no memory on it.
pub fn gpu(ordinal: usize) -> Result<Gpu> {
    let fail = |what: String| Error::Device { device: format!("cuda:{ordinal}"), what };
    match count() {
        Err(why) => return Err(fail(why)),
        Ok(1) if ordinal > 0 => return Err(fail("there is one GPU, cuda:0".into())),
        Ok(count) if ordinal >= count => return Err(fail(format!("there are {count} GPUs"))),
        Ok(_) => {}
    }
    let gpu = ask(ordinal).map_err(|e| failed(ordinal, e))?;
    let ((major, minor), (oldest, _)) = (gpu.capability, OLDEST);
    if gpu.capability < OLDEST {
        return Err(fail(format!(
            "{} is sm_{major}{minor}; the kernels need sm_{oldest}0 or later",
            gpu.name
        )));
    }
    Ok(gpu)
}

fn ask(ordinal: usize) -> Result<Gpu, DriverError> {
    result::init()?;
    let device = result::device::get(ordinal as c_int)?;
    // SAFETY: of a device that the driver has just given.
    let (major, minor, memory_bytes) = unsafe {
        (
            result::device::get_attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            result::device::get_attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
            result::device::total_mem(device)?,
        )
    };
    let name = result::device::get_name(device)?;
    Ok(Gpu { name, capability: (major as u32, minor as u32), memory_bytes })
}

/// A GPU in use: its primary context and the kernels loaded there.
///
/// Programs come and go, in tests by the hundred; contexts and modules are dear, so the process keeps them to its end.
pub(super) struct Shared {
    pub context: Arc<CudaContext>,
    pub modules: Mutex<Modules>,
}

/// The GPU of that number, opened when it is first asked for.
pub(super) fn shared(ordinal: usize) -> Result<Arc<Shared>> {
    static OPEN: Mutex<BTreeMap<usize, Arc<Shared>>> = Mutex::new(BTreeMap::new());
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(shared) = open.get(&ordinal) {
        return Ok(shared.clone());
    }
    let Gpu { capability, .. } = gpu(ordinal)?;
    let context = CudaContext::new(ordinal).map_err(|e| failed(ordinal, e))?;
    // SAFETY: no slice of cudarc's is used here; what one stream leaves to another, events order by hand.
    unsafe { context.disable_event_tracking() };
    let shared = Arc::new(Shared { context, modules: Mutex::new(Modules::new(capability)) });
    open.insert(ordinal, shared.clone());
    Ok(shared)
}
