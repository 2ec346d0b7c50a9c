//! The library's one error type. Every variant says what failed, where, and what to do about it.

use std::path::{Path, PathBuf};

/// Shorthand used throughout the library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. The CLI prints these as they are: no variant needs a backtrace to be understood.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An op was given tensors or parameters it cannot take.
    #[error("{op}: {what}")]
    Op { op: &'static str, what: String },

    /// A graph was put together wrongly (unknown tensor, no path to the loss, …).
    #[error("graph: {0}")]
    Graph(String),

    /// A configuration key has a value that cannot be used.
    #[error("configuration: `{key}`: {what}")]
    Config { key: String, what: String },

    /// A file of images or labels is malformed.
    #[error("{}: {what}", path.display())]
    Data { path: PathBuf, what: String },

    /// A checkpoint or weight file does not fit.
    #[error("{}: {what}", path.display())]
    Checkpoint { path: PathBuf, what: String },

    /// The operating system said no.
    #[error("{}: {reason}", path.display())]
    Io {
        path: PathBuf,
        /// Part of the message; a `source` would be printed behind it once more.
        reason: std::io::Error,
    },

    /// Training produced NaN or infinity.
    #[error("step {step}: {what}")]
    NonFinite { step: u64, what: String },

    /// A CUDA kernel is not there, or cannot be used as asked.
    #[error("kernel `{entry}`: {what}")]
    Kernel { entry: String, what: String },

    /// The requested device cannot be used here.
    #[error("device `{device}`: {what}")]
    Device { device: String, what: String },
}

impl Error {
    /// An [`Error::Op`] from anything printable.
    pub fn op(op: &'static str, what: impl Into<String>) -> Self {
        Self::Op { op, what: what.into() }
    }

    /// An [`Error::Kernel`] naming the entry.
    pub fn kernel(entry: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Kernel { entry: entry.into(), what: what.into() }
    }

    /// An [`Error::Config`] naming the key at fault.
    pub fn config(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Config { key: key.into(), what: what.into() }
    }

    /// An [`Error::Data`] naming the file at fault.
    pub fn data(path: impl AsRef<Path>, what: impl Into<String>) -> Self {
        Self::Data { path: path.as_ref().to_path_buf(), what: what.into() }
    }

    /// An [`Error::Checkpoint`] naming the file at fault.
    pub fn checkpoint(path: impl AsRef<Path>, what: impl Into<String>) -> Self {
        Self::Checkpoint { path: path.as_ref().to_path_buf(), what: what.into() }
    }

    /// Attaches the path to an I/O error: `fs::read(p).map_err(|e| Error::io(p, e))`.
    pub fn io(path: impl AsRef<Path>, reason: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), reason }
    }
}
