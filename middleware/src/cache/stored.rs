//! A stored response: the identity representation and its coded copies.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::content_coding::Coding;

/// One stored response. Immutable but for the coded copies, which are added once each.
#[derive(Debug)]
pub struct StoredResponse {
    /// Final status.
    pub status: StatusCode,
    /// Fields to replay; none of a connection's own, and `Age` without what we add.
    pub fields: HeaderMap,
    /// Identity content, in memory of its own (never a slice of a read buffer).
    pub body: Arc<[Bytes]>,
    /// One slot for each coding, filled when first needed.
    pub coded: [OnceLock<Bytes>; 3],
}

impl StoredResponse {
    /// The copy in `coding`, if it was made.
    pub fn coded(&self, coding: Coding) -> Option<&Bytes> {
        self.coded[coding as usize].get()
    }

    /// Length of the identity content in bytes.
    pub fn length(&self) -> u64 {
        self.body.iter().map(|segment| segment.len() as u64).sum()
    }
}
