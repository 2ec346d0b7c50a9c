//! The driver's functions, as `cuda.h` declares them.

use crate::device::{Device, Fails, INVALID_CONTEXT, INVALID_VALUE, with};
use crate::work::Work;
use cudarc::driver::sys::{
    CUcontext, CUdevice, CUdevice_attribute as DeviceAttribute, CUdeviceptr, CUevent, CUevent_flags,
    CUfunction, CUfunction_attribute as FunctionAttribute, CUgraph, CUgraphExec, CUjit_option, CUmodule,
    CUresult, CUstream, CUstreamCaptureMode,
};
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};

/// The primary context, of which a thread knows whether it is current.
const CONTEXT: usize = 0xc0;

thread_local! {
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// What needs a current context.
fn in_context(act: impl FnOnce(&mut Device) -> Fails) -> CUresult {
    if CURRENT.get() != CONTEXT {
        return INVALID_CONTEXT;
    }
    with(act)
}

/// Hands a result back through a pointer.
///
/// # Safety
/// The pointer is valid, or null.
unsafe fn give<T>(to: *mut T, value: T) -> Fails {
    if to.is_null() {
        return Err(INVALID_VALUE);
    }
    // SAFETY: the caller's.
    unsafe { to.write(value) };
    Ok(())
}

/// Handles are numbers.
fn pointer<T>(handle: u64) -> *mut T {
    std::ptr::without_provenance_mut(handle as usize)
}

/// Name and sentence of an error.
fn words(error: CUresult) -> [&'static CStr; 2] {
    match error {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => [c"CUDA_ERROR_OUT_OF_MEMORY", c"out of memory"],
        CUresult::CUDA_ERROR_LAUNCH_FAILED => [c"CUDA_ERROR_LAUNCH_FAILED", c"unspecified launch failure"],
        CUresult::CUDA_ERROR_ILLEGAL_ADDRESS => {
            [c"CUDA_ERROR_ILLEGAL_ADDRESS", c"an illegal memory access was encountered"]
        }
        _ => [c"CUDA_ERROR_OF_ANOTHER_KIND", c"another error"],
    }
}

/// `extern "C"` functions whose pointers are their callers' to vouch for.
macro_rules! driver {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $ty:ty),* $(,)?) $body:expr;)*) => { $(
        $(#[$doc])*
        #[allow(non_snake_case, unsafe_op_in_unsafe_fn, clippy::missing_safety_doc, reason = "as `cuda.h` has it")]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $ty),*) -> CUresult {
            $body
        }
    )* };
}

driver! {
    fn cuInit(_flags: c_uint) with(|_| Ok(()));
    fn cuDriverGetVersion(version: *mut c_int) with(|_| give(version, 13_000));
    fn cuDeviceGetCount(count: *mut c_int) with(|_| give(count, 1));
    fn cuDeviceGet(device: *mut CUdevice, ordinal: c_int)
        with(|_| if ordinal == 0 { give(device, 0) } else { Err(CUresult::CUDA_ERROR_INVALID_DEVICE) });
    fn cuDeviceGetName(name: *mut c_char, len: c_int, _device: CUdevice) with(|_| {
        let text = c"the PTX machine, played as a GPU".to_bytes_with_nul();
        if text.len() > len as usize {
            return Err(INVALID_VALUE);
        }
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), name, text.len());
        Ok(())
    });
    fn cuDeviceTotalMem_v2(bytes: *mut usize, _device: CUdevice) with(|d| give(bytes, d.room));
    fn cuDeviceGetAttribute(value: *mut c_int, attribute: DeviceAttribute, _device: CUdevice)
        with(|d| give(value, match attribute {
            DeviceAttribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR => d.capability.0,
            DeviceAttribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR => d.capability.1,
            DeviceAttribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED => 0,
            _ => return Err(INVALID_VALUE),
        }));

    fn cuDevicePrimaryCtxRetain(context: *mut CUcontext, _device: CUdevice) with(|d| {
        d.retained = true;
        give(context, pointer(CONTEXT as u64))
    });
    fn cuDevicePrimaryCtxRelease_v2(_device: CUdevice) with(|_| Ok(()));
    fn cuCtxGetCurrent(context: *mut CUcontext) with(|_| give(context, pointer(CURRENT.get() as u64)));
    fn cuCtxSetCurrent(context: CUcontext) with(|d| {
        if context.addr() != CONTEXT || !d.retained {
            return Err(INVALID_CONTEXT);
        }
        CURRENT.set(CONTEXT);
        Ok(())
    });
    fn cuCtxSynchronize() in_context(Device::finish_all);

    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) in_context(|d| {
        give(free, d.free_bytes())?;
        give(total, d.room)
    });
    fn cuMemAlloc_v2(address: *mut CUdeviceptr, bytes: usize)
        in_context(|d| give(address, d.allocate(bytes)?));
    fn cuMemFree_v2(address: CUdeviceptr) in_context(|d| d.free(address));
    fn cuMemHostAlloc(address: *mut *mut c_void, bytes: usize, _flags: c_uint)
        in_context(|d| give(address, d.allocate_pinned(bytes) as *mut c_void));
    fn cuMemFreeHost(address: *mut c_void) in_context(|d| d.free_pinned(address.addr()));
    fn cuMemcpyHtoDAsync_v2(to: CUdeviceptr, from: *const c_void, bytes: usize, stream: CUstream)
        in_context(|d| {
            let from = d.take(from.addr(), bytes);
            d.queue(stream.addr() as u64, Work::ToDevice { to, from })
        });
    fn cuMemcpyDtoDAsync_v2(to: CUdeviceptr, from: CUdeviceptr, len: usize, stream: CUstream)
        in_context(|d| d.queue(stream.addr() as u64, Work::OnDevice { to, from, len }));
    fn cuMemcpyDtoH_v2(to: *mut c_void, from: CUdeviceptr, bytes: usize)
        in_context(|d| d.copy_to_host(to.addr(), from, bytes));
    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: CUdeviceptr, bytes: usize, stream: CUstream)
        in_context(|d| d.queue_to_host(stream.addr() as u64, to.addr(), from, bytes));
    fn cuMemsetD8Async(to: CUdeviceptr, byte: u8, len: usize, stream: CUstream)
        in_context(|d| d.queue(stream.addr() as u64, Work::Fill { to, byte, len }));

    fn cuModuleLoadData(module: *mut CUmodule, image: *const c_void)
        in_context(|d| give(module, pointer(d.load(image.cast())?)));
    fn cuModuleLoadDataEx(
        module: *mut CUmodule,
        image: *const c_void,
        _count: c_uint,
        _options: *mut CUjit_option,
        _values: *mut *mut c_void,
    ) in_context(|d| give(module, pointer(d.load(image.cast())?)));
    fn cuModuleGetFunction(function: *mut CUfunction, module: CUmodule, name: *const c_char)
        in_context(|d| {
            let name = CStr::from_ptr(name).to_str().map_err(|_| INVALID_VALUE)?;
            give(function, pointer(d.function(module.addr() as u64, name)?))
        });
    fn cuFuncGetAttribute(value: *mut c_int, attribute: FunctionAttribute, function: CUfunction)
        in_context(|d| match attribute {
            FunctionAttribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES => {
                give(value, d.static_shared(function.addr() as u64)? as c_int)
            }
            _ => Err(INVALID_VALUE),
        });
    fn cuFuncSetAttribute(function: CUfunction, attribute: FunctionAttribute, value: c_int)
        in_context(|d| match attribute {
            FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES => {
                d.allow_shared(function.addr() as u64, value as u32)
            }
            _ => Err(INVALID_VALUE),
        });
    fn cuLaunchKernel(
        function: CUfunction,
        gx: c_uint,
        gy: c_uint,
        gz: c_uint,
        bx: c_uint,
        by: c_uint,
        bz: c_uint,
        shared: c_uint,
        stream: CUstream,
        arguments: *mut *mut c_void,
        _extra: *mut *mut c_void,
    ) in_context(|d| {
        let sizes = [[gx, gy, gz], [bx, by, bz]];
        d.launch(function.addr() as u64, sizes, shared, stream.addr() as u64, arguments)
    });

    fn cuStreamCreate(stream: *mut CUstream, _flags: c_uint)
        in_context(|d| give(stream, pointer(d.new_stream())));
    fn cuStreamDestroy_v2(stream: CUstream) in_context(|d| d.destroy_stream(stream.addr() as u64));
    fn cuStreamSynchronize(stream: CUstream) in_context(|d| d.finish(stream.addr() as u64));
    fn cuStreamWaitEvent(stream: CUstream, event: CUevent, _flags: c_uint)
        in_context(|d| d.wait(stream.addr() as u64, event.addr() as u64));
    fn cuStreamBeginCapture_v2(stream: CUstream, _mode: CUstreamCaptureMode)
        in_context(|d| d.begin_capture(stream.addr() as u64));
    fn cuStreamEndCapture(stream: CUstream, graph: *mut CUgraph)
        in_context(|d| give(graph, pointer(d.end_capture(stream.addr() as u64)?)));

    fn cuGraphInstantiateWithFlags(exec: *mut CUgraphExec, graph: CUgraph, _flags: c_ulonglong)
        in_context(|d| give(exec, pointer(d.instantiate(graph.addr() as u64)?)));
    fn cuGraphLaunch(exec: CUgraphExec, stream: CUstream)
        in_context(|d| d.launch_graph(exec.addr() as u64, stream.addr() as u64));
    fn cuGraphExecDestroy(exec: CUgraphExec) in_context(|d| d.destroy_executable(exec.addr() as u64));
    fn cuGraphDestroy(graph: CUgraph) in_context(|d| d.destroy_graph(graph.addr() as u64));

    fn cuEventCreate(event: *mut CUevent, flags: c_uint) in_context(|d| {
        let timed = flags & CUevent_flags::CU_EVENT_DISABLE_TIMING as c_uint == 0;
        give(event, pointer(d.new_event(timed)))
    });
    fn cuEventDestroy_v2(event: CUevent) in_context(|d| d.destroy_event(event.addr() as u64));
    fn cuEventRecord(event: CUevent, stream: CUstream)
        in_context(|d| d.record(event.addr() as u64, stream.addr() as u64));
    fn cuEventSynchronize(event: CUevent) in_context(|d| d.finish_event(event.addr() as u64));
    fn cuEventElapsedTime_v2(milliseconds: *mut f32, from: CUevent, to: CUevent)
        in_context(|d| give(milliseconds, d.elapsed(from.addr() as u64, to.addr() as u64)?));

    /// Also of a broken context.
    fn cuGetErrorName(error: CUresult, text: *mut *const c_char) {
        text.write(words(error)[0].as_ptr());
        CUresult::CUDA_SUCCESS
    };
    fn cuGetErrorString(error: CUresult, text: *mut *const c_char) {
        text.write(words(error)[1].as_ptr());
        CUresult::CUDA_SUCCESS
    };
}
