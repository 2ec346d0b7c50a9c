//! NVIDIA's driver, played by the PTX machine: `libcuda` for machines without a GPU.
//!
//! The CUDA device of rusa talks to a driver library that it loads by name. A link to this one, named `libcuda.so`, on
//! `LD_LIBRARY_PATH` makes every line of it run here: contexts, modules, streams, events, pinned memory, graph capture.
//! Kernels run on the PTX machine with its checks on. What the device does not use is not here.
//!
//! A GPU does things when it likes; this driver does what is allowed and unkind. Work waits in its stream until somebody
//! waits for it, and a seeded generator runs some of it earlier ([`Device::play`](device::Device::play)), so a missing
//! wait between streams, or pinned memory written again too early, gives wrong numbers. What a driver leaves undefined is
//! an error: a context that is not current, a graph launched on freed memory, allocation and module loading in a capture.
//!
//! | variable | meaning |
//! |:--|:--|
//! | `RUSA_DRIVER_SEED` | 0 (default): work runs as late as it may; 1: at once; else at random by that seed |
//! | `RUSA_DRIVER_SM` | the chip's compute capability, `90` by default; one without machine code in the binary gets PTX |
//! | `RUSA_DRIVER_MIB` | memory, 2048 MiB by default |
//! | `RUSA_DRIVER_FAULT` | an entry that faults when it runs |
//! | `RUSA_DRIVER_LOG` | a file that gets a line for each call that queues or waits |

mod api;
mod device;
mod work;
