//! The packet filter of a server, read-only: a `firewall` in a manifest is not supported yet.

mod parse;
mod rule;
#[cfg(test)]
mod tests;

pub use parse::parse;
pub use rule::{Family, Rule};

use std::sync::Arc;

use crate::{
    core::diagnostic::{Diagnostic, Kind},
    ssh::{Command, Connection},
};

/// Reads all rules of a server: IPv4 first, then IPv6. Needs sudo, unless the login user is root.
pub async fn rules(connection: &Arc<Connection>) -> Result<Vec<Rule>, Diagnostic> {
    let mut rules = Vec::new();
    for family in [Family::V4, Family::V6] {
        let command = Command::root(family.save_command());
        let output = connection.run(&command).await?;
        let host = &connection.target().name;
        let fail = |cause: String| {
            let message = format!("host `{host}`: `{}`: {cause}", command.line);
            Diagnostic::new(Kind::Failed, message).on(host)
        };
        if !output.ok() {
            return Err(fail(output.exit.to_string()).note(output.tail(5)));
        }
        rules.extend(parse(family, &output.text()).map_err(fail)?);
    }
    Ok(rules)
}
