//! Behaviour, one file a feature; one binary, so that it links once.

mod house;
