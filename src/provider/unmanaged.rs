//! Unmanaged servers: a file that lists addresses of existing servers.
//!
//! Each line of `unmanaged_servers.txt` is `[USER@]ADDRESS[:PORT] [NAME]`. A `#` starts a comment.

use std::{
    io,
    path::{Path, PathBuf},
};

use async_trait::async_trait;

use super::{
    Address as NodeAddress, Create, Error, Node, NodeState, Provider, ServerChange, UNMANAGED,
};
use crate::{
    core::{
        diagnostic::plain,
        event::Activity,
        owner::Ownership,
        text_file::{USUAL_LIMIT, read_text},
        value::{Fields, Invalid, Value},
    },
    ssh::{Address, Login},
};

/// The unmanaged servers of a project.
pub struct Unmanaged {
    file: PathBuf,
}

impl Unmanaged {
    /// The servers listed in `file`. The file need not exist.
    pub fn new(file: PathBuf) -> Self {
        Unmanaged { file }
    }

    fn cannot(&self, what: &'static str) -> Error {
        Error::Unsupported {
            provider: self.name().to_owned(),
            what,
            help: format!("its servers are the lines of `{}`", self.file.display()),
        }
    }
}

/// Whether a server can have this name: without one, it is named by its address. The name is a part of
/// paths, and `SERVER/CONTAINER` names a container.
fn is_unmanaged_name(name: &str) -> bool {
    let is_inner = |c: char| c.is_alphanumeric() || "-_.@:%".contains(c);
    name.starts_with(|c: char| c.is_alphanumeric() || c == ':' || c == '_')
        && name.len() <= 255
        && name.chars().all(is_inner)
}

/// Reads a list of servers; none if the file does not exist. A mistake in a line hides no other line.
pub fn read(path: &Path) -> (Vec<Node>, Vec<Error>) {
    let text = match read_text(path, USUAL_LIMIT) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            let error = Error::File {
                path: path.display().to_string(),
                line: 0,
                cause: plain(error),
            };
            return (Vec::new(), vec![error]);
        }
    };
    let (mut nodes, mut causes) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let content = line.split('#').next().unwrap_or_default();
        match read_line(content, &nodes) {
            Ok(node) => nodes.extend(node),
            Err(cause) => causes.push(Error::File {
                path: path.display().to_string(),
                line: index + 1,
                cause,
            }),
        }
    }
    (nodes, causes)
}

/// Reads a line without its comment; `before` are the servers of the lines before it.
fn read_line(line: &str, before: &[Node]) -> Result<Option<Node>, String> {
    let mut words = line.split_whitespace();
    let Some(id) = words.next() else {
        return Ok(None);
    };
    let address: Address = id.parse()?;
    let name = words.next().unwrap_or(&address.host);
    if !is_unmanaged_name(name) {
        let rule = "use letters, digits, dots, dashes, underscores, `@` and colons, and begin \
                    with a letter or a digit";
        return Err(format!("invalid name `{name}`: {rule}"));
    }
    if let Some(extra) = words.next() {
        return Err(format!("unexpected `{extra}`"));
    }
    if before.iter().any(|node| node.name == name) {
        return Err(format!("duplicate name `{name}`"));
    }
    Ok(Some(node(id, &address.host, name)))
}

/// A server. Its id is the line's `[USER@]ADDRESS[:PORT]`.
fn node(id: &str, address: &str, name: &str) -> Node {
    let address = NodeAddress::of_host(address);
    Node {
        provider: UNMANAGED.to_owned(),
        name: name.to_owned(),
        id: id.to_owned(),
        size: String::new(),
        image: String::new(),
        ip: Some(address.clone()),
        internal_ip: Some(address),
        state: NodeState::Running,
        created: None,
        owner: Ownership::Foreign,
        user: None,
        region: String::new(),
        is_protected: false,
        container: None,
    }
}

#[async_trait]
impl Provider for Unmanaged {
    fn name(&self) -> &'static str {
        UNMANAGED
    }

    fn validate(&self, options: &Value) -> Result<(), Invalid> {
        Fields::new(options, "provider `unmanaged`")?.finish()
    }

    async fn list(&self) -> Result<Vec<Node>, Error> {
        let (nodes, errors) = read(&self.file);
        errors.into_iter().next().map_or(Ok(nodes), Err)
    }

    async fn list_partially(&self) -> (Vec<Node>, Vec<Error>) {
        read(&self.file)
    }

    fn by_address(&self, name: &str) -> Option<Node> {
        let address: Address = name.parse().ok()?;
        // Without a dot or a colon it is more likely a misspelt name than an address.
        address
            .host
            .contains(['.', ':'])
            .then(|| node(name, &address.host, name))
    }

    fn can_create(&self) -> Result<(), Error> {
        Err(self.cannot("create servers"))
    }

    async fn create(&self, _: &Create, _: &Activity) -> Result<Node, Error> {
        Err(self.cannot("create servers"))
    }

    async fn terminate(&self, _: &Node) -> Result<(), Error> {
        Err(self.cannot("terminate servers"))
    }

    async fn reboot(&self, _: &Node) -> Result<(), Error> {
        Err(self.cannot("reboot servers"))
    }

    async fn start(&self, _: &Node) -> Result<(), Error> {
        Err(self.cannot("start servers"))
    }

    async fn rename(&self, _: &Node, _: &str) -> Result<(), Error> {
        Err(self.cannot("rename servers"))
    }

    fn changes(&self, _: &Node, _: &Value) -> Result<Vec<ServerChange>, Invalid> {
        Ok(Vec::new())
    }

    async fn resize(&self, _: &Node, _: &Value) -> Result<(), Error> {
        Err(self.cannot("resize servers"))
    }

    async fn login(&self, node: &Node) -> Result<Login, Error> {
        let address: Address = node.id.parse().map_err(|cause| Error::File {
            path: self.file.display().to_string(),
            line: 0,
            cause,
        })?;
        Ok(Login {
            name: node.name.clone(),
            address: address.host,
            port: address.port,
            user: address.user,
            ..Login::default()
        })
    }

    async fn set_up(&self, _: &Activity) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn list(text: &str) -> Result<Vec<(String, String)>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unmanaged_servers.txt");
        fs::write(&path, text).unwrap();
        let (nodes, errors) = read(&path);
        let nodes = nodes.into_iter().map(|node| {
            let ip = node.ip_text();
            (node.name, ip)
        });
        let texts = errors.iter().map(|error| {
            let text = error.to_string();
            text.rsplit_once("txt`, ").unwrap().1.to_owned()
        });
        let texts: Vec<String> = texts.collect();
        if texts.is_empty() {
            Ok(nodes.collect())
        } else {
            Err(texts.join("; "))
        }
    }

    #[test]
    fn lines() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            list("10.0.0.1\n\n# no\nme@10.0.0.2:2222 web # yes\n[::1]:22 six\nfe80::1\n").unwrap(),
            [
                pair("10.0.0.1", "10.0.0.1"),
                pair("web", "10.0.0.2"),
                pair("six", "::1"),
                pair("fe80::1", "fe80::1"),
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |text: &str| list(text).unwrap_err();
        assert_eq!(error("a\nb:x\n"), "line 2: invalid port `x`");
        assert_eq!(
            error("a b c\n\na:x\n"),
            "line 1: unexpected `c`; line 3: invalid port `x`"
        );
        assert_eq!(error("a web too\n"), "line 1: unexpected `too`");
        assert_eq!(error("a web\nb web\n"), "line 2: duplicate name `web`");
        for name in [
            "../../evil",
            "..",
            ".ssh",
            "-x",
            "a/b",
            "a\u{1b}[2J",
            "a\u{202e}b",
        ] {
            let said = error(&format!("10.0.0.1 {name}\n"));
            assert!(
                said.starts_with(&format!("line 1: invalid name `{name}`: use ")),
                "{said}"
            );
        }
        assert_eq!(error("../x\n"), "line 1: invalid address `../x`");
        assert_eq!(error("$(id)\n"), "line 1: invalid address `$(id)`");
        assert_eq!(
            error("-oProxyCommand=x\n"),
            "line 1: invalid address `-oProxyCommand=x`"
        );
    }
}
