//! What scripts may use: memory, time, depth of nesting.
//!
//! A mistake in a script, such as a loop that never ends, becomes an error with a name. Without limits,
//! the system would end hitc, and with it the work on other hosts.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rhai::{Dynamic, Engine, EvalAltResult, ParseErrorType};
use rustix::param::page_size;

use crate::{
    api::Api,
    core::{
        cancel::Cancel,
        diagnostic::{Diagnostic, Kind},
    },
    fleet::{MAX_THREADS, threads_are_exhausted},
};

/// How deep calls and expressions may nest; the stack of a script's thread has room for that. The
/// engine's own defaults differ between debug and release builds.
const DEPTH: usize = 64;
/// The longest text, and the most text in a list or map, in bytes.
const TEXT: usize = 256 * 1024 * 1024;
/// The most items in a list, including those of the lists in it.
const ITEMS: usize = 1_000_000;
/// The most keys in a map, including those of the maps in it.
const KEYS: usize = 1_000_000;
/// The most operations of one call of a task. The engine executes some ten million a second, so this
/// takes minutes of pure computing; waiting for servers takes none.
const OPERATIONS: u64 = 1_000_000_000;
/// The most operations while scripts are loaded, which also happens for the completion of a command line.
const LOADING: u64 = 1_000_000;
/// The most memory of hitc while scripts run, in bytes. It also keeps values from nesting deeper than the
/// stack of a script's thread (`fleet/threads.rs`) has room for: freeing a closure frees the closures
/// that it captured first. Each takes some 400 bytes of memory, and up to 600 of the stack.
const MEMORY: u64 = 512 * 1024 * 1024;
/// After how many operations the memory is measured; and if it is more than half of the limit.
const MEASURED_AFTER: u64 = 256;
const MEASURED_OFTEN: u64 = 32;

/// Why a script was ended. It is the token of an error that scripts cannot catch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exceeded {
    Operations,
    Loading,
    Memory,
    Threads,
}

/// Sets the limits of an engine, and ends its scripts when the run is cancelled.
pub(super) fn set(engine: &mut Engine, api: &Arc<Api>, cancel: &Cancel) {
    set_with(engine, api, cancel, OPERATIONS);
}

fn set_with(engine: &mut Engine, api: &Arc<Api>, cancel: &Cancel, limit: u64) {
    engine
        .set_max_call_levels(DEPTH)
        .set_max_expr_depths(DEPTH, DEPTH)
        .set_max_string_size(TEXT)
        .set_max_array_size(ITEMS)
        .set_max_map_size(KEYS)
        // Copies what it binds: a closure that is bound to itself would double with each call.
        .disable_symbol("curry");
    let (api, cancel) = (Arc::downgrade(api), cancel.clone());
    let measured = AtomicU64::new(0);
    let is_loading = AtomicBool::new(true);
    engine.on_progress(move |operations| {
        if cancel.is_killed() {
            return Some(Dynamic::UNIT);
        }
        if threads_are_exhausted() {
            return Some(Dynamic::from(Exceeded::Threads));
        }
        if is_loading.load(Ordering::Relaxed) {
            let has_started = api.upgrade().is_none_or(|api| api.has_started());
            is_loading.store(!has_started, Ordering::Relaxed);
            if !has_started && operations > LOADING {
                return Some(Dynamic::from(Exceeded::Loading));
            }
        }
        if operations > limit {
            return Some(Dynamic::from(Exceeded::Operations));
        }
        let is_near = measured.load(Ordering::Relaxed) > MEMORY / 2;
        let after = if is_near {
            MEASURED_OFTEN
        } else {
            MEASURED_AFTER
        };
        if operations % after == 0
            && let Some(bytes) = memory()
        {
            measured.store(bytes, Ordering::Relaxed);
            if bytes > MEMORY {
                return Some(Dynamic::from(Exceeded::Memory));
            }
        }
        None
    });
}

/// The memory of this process that is not backed by a file, in bytes. None on systems without `/proc`.
fn memory() -> Option<u64> {
    let page = u64::try_from(page_size()).ok()?;
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let mut numbers = text.split(' ').map(str::parse::<u64>);
    let (resident, shared) = (numbers.nth(1)?.ok()?, numbers.next()?.ok()?);
    Some(resident.saturating_sub(shared) * page)
}

/// Describes an error of the engine that tells of a limit.
pub(super) fn explain(error: &EvalAltResult) -> Option<Diagnostic> {
    let parts = "handle it in parts, or in a command on the server";
    let (message, help) = match error {
        EvalAltResult::ErrorStackOverflow(_) => (
            format!("calls are nested more than {DEPTH} deep"),
            "check for a function that calls itself without end",
        ),
        EvalAltResult::ErrorDataTooLarge(what, _) => {
            let limit = if what.contains("string") {
                format!("text of more than {} MiB", TEXT / 1024 / 1024)
            } else if what.contains("map") {
                format!("a map with more than {KEYS} keys")
            } else {
                format!("a list with more than {ITEMS} items")
            };
            (format!("the script makes {limit}"), parts)
        }
        EvalAltResult::ErrorTerminated(token, _) => match token.clone().try_cast()? {
            Exceeded::Operations => (
                format!("the script executed more than {OPERATIONS} operations"),
                "check for a loop that never ends; a loop that waits should call `time::sleep`",
            ),
            Exceeded::Loading => (
                format!("the script executed more than {LOADING} operations while it was loaded"),
                "move what it does at the top level into a task",
            ),
            Exceeded::Memory => (
                format!(
                    "hitc uses more than {} MiB of memory while the script runs",
                    MEMORY / 1024 / 1024
                ),
                parts,
            ),
            Exceeded::Threads => (
                format!("more than {MAX_THREADS} threads run scripts"),
                "check for a task or a closure that runs itself on hosts",
            ),
        },
        _ => return None,
    };
    Some(Diagnostic::new(Kind::Failed, message).help(help.to_owned()))
}

/// Describes an error of the parser that tells of a limit.
pub(super) fn explain_parse(error: &ParseErrorType) -> Option<(String, String)> {
    match error {
        ParseErrorType::ExprTooDeep => Some((
            format!("expressions and blocks are nested more than {DEPTH} deep"),
            "move a part into a variable or a function".to_owned(),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_this_process() {
        let before = memory().unwrap();
        let large = vec![1_u8; 64 * 1024 * 1024];
        let after = memory().unwrap();
        let grown = after.saturating_sub(before);
        assert!(grown > 60 * 1024 * 1024, "{before} {after}");
        drop(large);
    }

    /// The limit of a running task takes minutes to reach.
    #[test]
    fn operations_are_counted() {
        let mut engine = Engine::new();
        let (api, cancel) = (Arc::new(Api::default()), Cancel::default());
        set_with(&mut engine, &api, &cancel, 100_000);
        // Without an API, the engine counts as running.
        drop(api);
        let error = engine.run("loop {}").unwrap_err();
        let EvalAltResult::ErrorTerminated(token, _) = *error else {
            panic!("{error}");
        };
        assert_eq!(token.try_cast(), Some(Exceeded::Operations));
    }
}
