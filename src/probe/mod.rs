//! The probe: does a preview's page answer?
//!
//! - `api`: the trait; `http`: over HTTP; `memory`: answers that a test decides on
//! - `next_tools`: what Next.js tells agents of all routes

mod api;
mod http;
pub mod memory;
pub mod next_sessions;
pub mod next_tools;

pub use api::{Answer, ProbeTarget, Prober};
pub use http::HttpProber;
pub use next_tools::{NextTool, NoToolAnswer};
