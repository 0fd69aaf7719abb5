//! The token for DigitalOcean's API.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::options::NAME;
use crate::provider::Error;

/// The environment variables of the token: hitc's and doctl's.
const VARIABLES: [&str; 2] = ["DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN"];

/// The configuration of doctl (`doctl auth init`).
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Doctl {
    access_token: Option<String>,
    context: Option<String>,
    #[serde(default)]
    auth_contexts: BTreeMap<String, String>,
}

/// The token from the environment, or from doctl's configuration below this home folder.
pub(super) fn find(home: &Path) -> Result<String, Error> {
    let set = |name: &&str| env::var(name).ok().filter(|token| !token.is_empty());
    if let Some(token) = VARIABLES.iter().find_map(set) {
        return Ok(token);
    }
    let path = doctl_file(home, env::var_os("XDG_CONFIG_HOME").map(PathBuf::from));
    let Ok(text) = fs::read_to_string(&path) else {
        return Err(not_configured("no token".to_owned()));
    };
    let doctl =
        parse(&text).map_err(|cause| not_configured(format!("{}: {cause}", path.display())))?;
    of_doctl(doctl, env::var("DIGITALOCEAN_CONTEXT").ok())
        .map_err(|cause| not_configured(format!("{}: {cause}", path.display())))
}

/// The path of doctl's configuration: below the folder that Go's `os.UserConfigDir` returns, as in doctl.
fn doctl_file(home: &Path, xdg: Option<PathBuf>) -> PathBuf {
    let folder = if cfg!(target_os = "macos") {
        home.join("Library/Application Support")
    } else {
        // A relative one is not valid.
        let xdg = xdg.filter(|folder| folder.is_absolute());
        xdg.unwrap_or_else(|| home.join(".config"))
    };
    folder.join("doctl/config.yaml")
}

/// Parses doctl's configuration. The message of the parser is not shown: it may quote the token.
fn parse(text: &str) -> Result<Doctl, String> {
    serde_saphyr::from_str(text).map_err(|error| match error.location() {
        Some(place) => format!(
            "invalid YAML at line {}, column {}",
            place.line(),
            place.column()
        ),
        None => "invalid YAML".to_owned(),
    })
}

/// The token of the context that the user chose; that of the default context is separate. An unknown
/// context is an error: the token of another one would order in another account.
fn of_doctl(doctl: Doctl, context: Option<String>) -> Result<String, String> {
    let chosen = context.or(doctl.context).unwrap_or_default();
    let token = match doctl.auth_contexts.get(&chosen) {
        Some(token) => Some(token.clone()),
        None if ["", "default"].contains(&chosen.as_str()) => doctl.access_token,
        None => return Err(format!("context `{chosen}` not found")),
    };
    token
        .filter(|token| !token.is_empty())
        .ok_or_else(|| "no token".to_owned())
}

fn not_configured(cause: String) -> Error {
    Error::NotConfigured {
        provider: NAME.to_owned(),
        cause,
        help: format!(
            "set {} to a token with write access, or run `doctl auth init`",
            VARIABLES[0]
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_do_not_quote_the_file() {
        for text in [
            "access-token: \"hunter2\nx",
            "access-token: [hunter2]\n",
            "access-token: hunter2: x\n",
            "auth-contexts: hunter2\n",
            "access-token: &a hunter2\ncontext: *b\n",
        ] {
            let Err(error) = parse(text) else {
                panic!("{text}");
            };
            assert!(error.starts_with("invalid YAML at line "), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn place_of_doctl() {
        let of = |xdg: Option<&str>| doctl_file(Path::new("/home/me"), xdg.map(PathBuf::from));
        if cfg!(target_os = "macos") {
            let path = "/home/me/Library/Application Support/doctl/config.yaml";
            assert_eq!(of(None), Path::new(path));
            return;
        }
        assert_eq!(of(None), Path::new("/home/me/.config/doctl/config.yaml"));
        assert_eq!(
            of(Some("/etc/xdg")),
            Path::new("/etc/xdg/doctl/config.yaml")
        );
        assert_eq!(of(Some("x")), of(None));
    }

    #[test]
    fn contexts_of_doctl() {
        let text = "access-token: one\ncontext: work\nauth-contexts:\n  work: two\noutput: text\n";
        let find = |text: &str, context: Option<&str>| {
            of_doctl(
                serde_saphyr::from_str(text).unwrap(),
                context.map(str::to_owned),
            )
        };
        assert_eq!(find(text, None).as_deref(), Ok("two"));
        assert_eq!(find(text, Some("default")).as_deref(), Ok("one"));
        assert_eq!(
            find(text, Some("wrok")),
            Err("context `wrok` not found".to_owned())
        );
        assert!(find("access-token: \"\"\n", None).is_err());
    }
}
