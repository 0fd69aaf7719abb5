//! All integration tests, in one program: it links the heavy crates once.
//!
//! - `cli/`: the program's exact output.
//! - `scripts/`: a `.rhai` file and what it prints.
//! - `cases/`: data files for pure code, whose tests are in `src`.
//! - `live/`: against real servers: containers of this machine's Docker Engine.
//! - `house.rs`: rules about the sources.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails should say where"
)]

mod cli;
mod fuzz;
mod house;
mod live;
mod scripts;
mod support;
