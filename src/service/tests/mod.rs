//! The use cases on an engine in memory: what they do, and how many calls it costs.

mod check;
mod contain;
mod start;
mod stop_restart;
mod support;
mod tell;
mod verify;
