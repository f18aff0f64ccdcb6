//! `explain`: what it names is what decided, and the change that it names flips the decision.

mod again;
mod flips;
mod scene;
