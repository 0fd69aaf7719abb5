//! A list of hosts, as scripts pass it.

use rhai::Dynamic;

use crate::{
    api::{
        Host,
        call::{Answer, Call},
    },
    core::diagnostic::{Diagnostic, Kind},
};

/// Decodes a list of hosts.
pub(super) fn decode(call: &Call, hosts: &[Dynamic]) -> Answer<Vec<Host>> {
    let found: Option<Vec<Host>> = hosts.iter().map(|host| host.clone().try_cast()).collect();
    found.ok_or_else(|| call.fail(Diagnostic::new(Kind::Usage, "not all of these are hosts")))
}
