//! What hurts users of comparable software, as tests: one module a pain, over real sockets.

mod caching;
mod operating;
mod transport;
