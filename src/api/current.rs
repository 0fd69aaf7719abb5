//! Which host the script on this thread runs for, so that what it prints can be told apart.

use std::cell::RefCell;

thread_local! {
    static HOST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs a script's work for a host; for none, if there is only one.
pub fn on_host<T>(host: Option<&str>, work: impl FnOnce() -> T) -> T {
    let outer = HOST.replace(host.map(str::to_owned));
    let result = work();
    HOST.set(outer);
    result
}

/// The host that this thread runs a script for, among others.
pub fn current_host() -> Option<String> {
    HOST.with_borrow(Clone::clone)
}
