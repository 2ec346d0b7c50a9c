//! Sidecars written, read back, and refused.
