//! Pillion, the program: everything that owns a socket, a process or the lifetime of something.

pub mod pipeline;
pub mod routing;
pub mod shared;
pub mod tunnel;
pub mod upstream;
