//! Connections over real sockets, with an echo in the pipeline's place.

mod bytes;
mod deadlines;
mod framing;
mod harness;
mod http2;
mod interim;
mod listeners;
mod stop;
