//! Behaviour, one file a feature; one binary, so that it links once.

mod admin;
mod browser;
mod cache;
mod cache_model;
mod cache_rules;
mod conditional;
mod content_coding;
mod etag;
mod forwarding;
mod framing;
mod hostile;
mod house;
mod interim;
mod limits;
mod listen;
mod observe;
mod pains;
mod purge;
mod request_log;
mod respond;
mod routing;
mod run;
mod savings;
mod shutdown;
mod tunnel;
mod upstream;
