//! Parses the output of `iptables-save`.

use super::{Family, Rule};

/// Parses the rules and policies, in their order. The error contains the invalid line.
pub fn parse(family: Family, text: &str) -> Result<Vec<Rule>, String> {
    let mut table = String::new();
    let mut rules = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let invalid = || format!("line {}: invalid rule `{line}`", index + 1);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || line == "COMMIT" {
            continue;
        }
        if let Some(name) = line.strip_prefix('*') {
            name.clone_into(&mut table);
        } else if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split_whitespace();
            let (Some(chain), Some(policy)) = (words.next(), words.next()) else {
                return Err(invalid());
            };
            // User-defined chains have no policy.
            if policy != "-" {
                rules.push(rule(family, &table, chain, "", policy));
            }
        } else {
            let (chain, body) = line
                .strip_prefix("-A ")
                .map(|rest| rest.split_once(' ').unwrap_or((rest, "")))
                .ok_or_else(invalid)?;
            let (matches, target) = split_target(body);
            rules.push(rule(family, &table, chain, matches, target));
        }
    }
    Ok(rules)
}

fn rule(family: Family, table: &str, chain: &str, matches: &str, target: &str) -> Rule {
    Rule {
        family,
        table: table.to_owned(),
        chain: chain.to_owned(),
        matches: matches.trim().to_owned(),
        target: target.to_owned(),
    }
}

/// Splits a rule into its matches and its target, at `-j` or `-g`. Skips quoted comments, which may
/// contain these.
fn split_target(body: &str) -> (&str, &str) {
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            '-' if !quoted
                && (at == 0 || body[..at].ends_with(' '))
                && ["-j ", "-g "]
                    .iter()
                    .any(|flag| body[at..].starts_with(flag)) =>
            {
                return (&body[..at], &body[at + 3..]);
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    (body, "")
}
