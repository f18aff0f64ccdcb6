//! The service as a whole, over a scripted upstream.

mod background;
mod collapsing;
mod filling;
mod groups;
mod invalidation;
mod news;
mod races;
mod reuse;
mod search;
mod speed;
mod validation;
