//! The PTX machine from outside: bugs it must find, kernels it must pass, random programs it must compute rightly.

#[path = "vm/differential.rs"]
mod differential;
#[path = "vm/idioms.rs"]
mod idioms;
#[path = "vm/kernels.rs"]
mod kernels;
#[path = "vm/planted.rs"]
mod planted;
#[path = "vm/wmma.rs"]
mod wmma;
