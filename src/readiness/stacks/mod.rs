//! One file for each dev server, with all that is known of it.
//!
//! # Add a dev server
//! 1. Capture its output: run it in a container, save what it prints as `tests/data/dev-servers/<name>.log`. Take one
//!    capture of a healthy start, one with a broken page (`<name>-error.log`), and one that was broken and then fixed
//!    (`<name>-hot.log`). Keep the escape sequences.
//! 2. Add the captures to the tables in `tests/readiness.rs`: which errors they tell, where, and whether one still
//!    stands at the end. Run `cargo test --no-default-features --test readiness`. What passes already needs no rule:
//!    many servers print what Vite, webpack or Node print.
//! 3. For the rest, write `stacks/<name>.rs` with a `STACK`. `sveltekit.rs` is the shortest one to start from.
//!    - `words`: a line without any of these words is not read, so each rule needs one. Choose words that are rare in
//!      other output. All stacks together have room for 96 different words, with 64 different first four letters.
//!    - `marked`, `errors`, `progress`, `ready`, `updates`: rules that read one line. [`Stack`] says in which order they run.
//!    - `report`: the words of its error reports. A [`Format`] of its own is needed only when its reports end, or are
//!      cleared, unlike those of the other servers.
//! 4. Name it here: a `mod` line, and its place in [`STACKS`]. Where two stacks read the same line, the first wins.
//! 5. Run `cargo bench --no-default-features --bench classifier` before and after.
//!
//! What several dev servers print is in `shared/`. React Router prints only what Vite and Node print, so it has no file.
//!
//! [`Format`]: super::format::Format

use super::stack::Stack;

mod astro;
mod bun;
mod cra;
mod farm;
mod next;
mod nuxt;
mod parcel;
mod rsbuild;
pub(super) mod shared;
mod storybook;
mod sveltekit;
mod tsc;
mod vike;
mod vite;
mod webpack;

/// All stacks, and what several of them print. Where two read the same line, the first wins.
pub(super) const STACKS: &[Stack] = &[
    cra::STACK,
    next::STACK,
    vike::STACK,
    storybook::STACK,
    farm::STACK,
    vite::STACK,
    webpack::STACK,
    astro::STACK,
    sveltekit::STACK,
    nuxt::STACK,
    parcel::STACK,
    rsbuild::STACK,
    shared::builds::STACK,
    shared::compilers::STACK,
    tsc::STACK,
    shared::problems::STACK,
    shared::environment::STACK,
    bun::STACK,
    shared::node::STACK,
    shared::listening::STACK,
];
