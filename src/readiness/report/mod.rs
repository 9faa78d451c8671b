//! A report of an error: its lines from the first to the last, and the errors that they tell.

mod errors;
mod frame;
mod framed;
mod kind;
mod message;
mod open;
mod parser;
mod sections;

pub(super) use errors::errors;
pub(super) use frame::is_frame;
pub use framed::framed_line;
pub(super) use open::OpenReport;
pub(super) use sections::prepare;
