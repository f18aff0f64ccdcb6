//! The optimisations: what stands in a request's way.
//!
//! No listener and no upstream socket lives here; the parts below are composed, outside first, by
//! `proxy/src/pipeline.rs`. Every part is a [`tower::Layer`] over an [`Inner`] service and speaks in
//! the same four types: [`Request`], [`Response`], [`Body`], [`Error`].
//!
//! In pipeline order: [`request_log`], [`respond`], [`limits`], [`forwarding`], then for each route
//! [`conditional`], [`content_coding`], [`cache`], [`etag`].

pub mod body;
pub mod cache;
pub mod clock;
pub mod conditional;
pub mod content_coding;
pub mod error;
pub mod etag;
pub mod explanation;
pub mod facts;
pub mod fields;
pub mod forwarding;
pub mod future;
pub mod limits;
pub mod metrics;
pub mod pattern;
pub mod repeat;
pub mod request_log;
pub mod respond;

pub use body::Body;
pub use error::{Error, ErrorKind, Side};
pub use future::{Answering, ResponseFuture};

/// A request on its way through the pipeline.
pub type Request = http::Request<Body>;
/// A response on its way back.
pub type Response = http::Response<Body>;
/// What every fallible step of the pipeline returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a layer may wrap: shorthand for the one service shape of this house.
///
/// Such a service is *always ready*: admission is decided inside `call`, so `poll_ready` returns
/// `Ready(Ok(()))` at once and a stack may be called without waiting for it.
pub trait Inner:
    tower::Service<Request, Response = Response, Error = Error, Future = ResponseFuture>
    + Send
    + 'static
{
}

impl<S> Inner for S where
    S: tower::Service<Request, Response = Response, Error = Error, Future = ResponseFuture>
        + Send
        + 'static
{
}

/// What a layer of the front may wrap: as [`Inner`], whose answers may be of another type of future.
pub trait Outer:
    tower::Service<Request, Response = Response, Error = Error, Future: Answering> + Send + 'static
{
}

impl<S> Outer for S where
    S: tower::Service<Request, Response = Response, Error = Error, Future: Answering>
        + Send
        + 'static
{
}
