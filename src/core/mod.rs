//! Types that every layer uses: errors, values, events, tables, units, cancellation, processes.

pub mod cancel;
pub mod change;
pub mod diagnostic;
mod encoding;
pub mod environment;
pub mod event;
mod finder;
pub mod lines;
pub mod log;
pub mod memo;
pub mod owner;
pub mod process;
pub mod secrets;
pub mod sync;
pub mod table;
pub mod terminal;
pub mod text;
pub mod text_file;
pub mod units;
pub mod value;
