//! The host for which the current thread runs a script, to tell the output of several hosts apart.

use std::cell::RefCell;

thread_local! {
    static HOST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a script's work for a host; `host` is none if the script runs for one host only.
pub fn on_host<T>(host: Option<&str>, work: impl FnOnce() -> T) -> T {
    let outer = HOST.replace(host.map(str::to_owned));
    let result = work();
    HOST.set(outer);
    result
}

/// The host for which this thread runs a script, if the script runs for several hosts.
pub fn current_host() -> Option<String> {
    HOST.with_borrow(Clone::clone)
}
