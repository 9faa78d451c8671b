//! The probe: does a preview's page answer?
//!
//! - `api`: the trait; `http`: over HTTP; `memory`: answers that a test decides on

mod api;
mod http;
pub mod memory;

pub use api::{Answer, ProbeTarget, Prober};
pub use http::HttpProber;
