//! Selects containers as hosts: `SERVER/CONTAINER`, where both may be globs.
//!
//! A name selects a container that must run; a glob selects those that run. Only engines of the
//! selected servers are asked, each with one request.

use futures_util::future::join_all;
use globset::GlobMatcher;

use super::{
    Inventory,
    selection::{glob, is_glob, is_host, is_pattern, matching, servers_only},
};
use crate::{
    core::diagnostic::{Diagnostic, Failure, Kind, did_you_mean},
    docker::{self, Containers, Listed},
    fleet::Selection,
    provider::{Address, Node, role},
};

/// A part of a selection that means containers.
struct Pattern<'a> {
    text: &'a str,
    server: &'a str,
    container: &'a str,
    container_glob: GlobMatcher,
}

impl<'a> Pattern<'a> {
    fn parse(text: &'a str) -> Result<Self, Diagnostic> {
        let (server, container) = text.split_once('/').unwrap_or((text, ""));
        if server.is_empty() || container.is_empty() || container.contains('/') {
            let message = format!("invalid container `{text}`");
            return Err(Diagnostic::new(Kind::Usage, message)
                .help("write SERVER/CONTAINER, for example `web/shop` or `web*/*`".to_owned()));
        }
        Ok(Pattern {
            text,
            server,
            container,
            container_glob: glob(container)?,
        })
    }

    /// Whether it means a container, for `--limit` and `--exclude`: by names, addresses and roles.
    fn is_of(&self, node: &Node) -> Result<bool, Diagnostic> {
        let Some(container) = &node.container else {
            return Ok(false);
        };
        let (server, server_glob) = (&container.server, glob(self.server)?);
        let is_server = is_host(server, &server_glob) || server_glob.is_match(role(&server.name));
        let glob = &self.container_glob;
        Ok(is_server && (glob.is_match(&container.name) || glob.is_match(role(&container.name))))
    }
}

impl Inventory {
    /// The containers that `selection` means, on these servers.
    pub(super) async fn select_containers(
        &self,
        selection: &Selection,
        nodes: &[Node],
        project: Option<&str>,
    ) -> Result<Vec<Node>, Failure> {
        let hosts = selection.hosts.iter().filter(|host| is_pattern(host));
        let mut patterns = Vec::new();
        for host in hosts {
            let pattern = Pattern::parse(host)?;
            let servers = Selection {
                hosts: vec![pattern.server.to_owned()],
                exclude: servers_only(&selection.exclude),
                any_owner: selection.any_owner,
                ..Selection::default()
            };
            let servers = servers.choose(nodes, project, &self.providers)?;
            patterns.push((pattern, servers));
        }
        let mut servers: Vec<&Node> = Vec::new();
        for server in patterns.iter().flat_map(|(_, servers)| servers) {
            if !servers.iter().any(|known| known.key() == server.key()) {
                servers.push(server);
            }
        }
        let listed = self.list_containers(&servers).await?;
        let mut selected: Vec<Node> = Vec::new();
        for (pattern, servers) in &patterns {
            let mut is_found = servers.is_empty();
            for (server, containers) in &listed {
                if !servers.iter().any(|known| known.key() == server.key()) {
                    continue;
                }
                let glob = &pattern.container_glob;
                for found in containers.iter().filter(|found| glob.is_match(&found.name)) {
                    is_found = true;
                    let node = as_host(server, found);
                    if !selected.iter().any(|known| known.key() == node.key()) {
                        selected.push(node);
                    }
                }
            }
            if !is_found {
                return Err(self.not_selected(pattern, servers, &listed).await);
            }
        }
        filter(selection, nodes, project, selected).map_err(Failure::from)
    }

    /// A running container of a server, as a host.
    pub async fn container(&self, server: &Node, name: &str) -> Result<Node, Diagnostic> {
        let engine = self.engine(server).await?;
        let running = engine.list(false).await?;
        if let Some(found) = running.iter().find(|found| found.name == name) {
            return Ok(as_host(server, found));
        }
        Err(match engine.find(name).await? {
            Some(_) => docker::Error::NotRunning {
                host: server.name.clone(),
                name: name.to_owned(),
            }
            .into(),
            None => {
                let names = running.iter().map(|found| found.name.as_str());
                let error = Diagnostic::from(engine.not_found(name));
                match did_you_mean(name, names) {
                    Some(help) => error.help(help),
                    None => error,
                }
            }
        })
    }

    /// The running containers of servers. A server without Docker has none.
    async fn list_containers<'a>(
        &self,
        servers: &[&'a Node],
    ) -> Result<Vec<(&'a Node, Vec<Listed>)>, Failure> {
        let list = async |server: &'a Node| match self.find_engine(server).await? {
            Some(engine) => Ok::<_, Diagnostic>((server, engine.list(false).await?)),
            None => Ok((server, Vec::new())),
        };
        let answers = join_all(servers.iter().map(|server| list(server))).await;
        let (mut listed, mut errors) = (Vec::new(), Vec::new());
        for answer in answers {
            match answer {
                Ok(found) => listed.push(found),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            Ok(listed)
        } else {
            Err(Failure(errors))
        }
    }

    /// The error of a pattern that matches no running container.
    async fn not_selected(
        &self,
        pattern: &Pattern<'_>,
        servers: &[Node],
        listed: &[(&Node, Vec<Listed>)],
    ) -> Failure {
        let container = pattern.container;
        if !is_glob(container) {
            for server in servers {
                let found = async {
                    let Some(engine) = self.find_engine(server).await? else {
                        return Ok(None);
                    };
                    Ok::<_, Diagnostic>(engine.find(container).await?)
                };
                match found.await {
                    Ok(None) => {}
                    Ok(Some(found)) => {
                        let error = docker::Error::NotRunning {
                            host: server.name.clone(),
                            name: found.name,
                        };
                        return Diagnostic::from(error).into();
                    }
                    Err(error) => return error.into(),
                }
            }
        }
        let names: Vec<&str> = listed
            .iter()
            .flat_map(|(_, containers)| containers)
            .map(|container| container.name.as_str())
            .collect();
        let message = match servers {
            _ if is_glob(container) => format!("`{}` matches no running container", pattern.text),
            [server] => format!(
                "container `{container}` not found on server `{}`",
                server.name
            ),
            _ => format!("container `{container}` not found on `{}`", pattern.server),
        };
        let help = did_you_mean(container, names.iter().copied());
        let help = help.unwrap_or_else(|| {
            format!(
                "list the running containers with `hitc run -H '{}' docker.ps`",
                pattern.server
            )
        });
        Diagnostic::new(Kind::NotFound, message).help(help).into()
    }
}

/// Applies `--limit` and `--exclude` to containers.
fn filter(
    selection: &Selection,
    nodes: &[Node],
    project: Option<&str>,
    mut selected: Vec<Node>,
) -> Result<Vec<Node>, Diagnostic> {
    let keep = |texts: &[String], node: &Node| -> Result<bool, Diagnostic> {
        for text in texts {
            let is_meant = if is_pattern(text) {
                Pattern::parse(text)?.is_of(node)?
            } else {
                let server = node.container.as_ref().map(|container| &container.server);
                let glob = glob(text)?;
                server.is_some_and(|server| {
                    is_host(server, &glob) || glob.is_match(role(&server.name))
                })
            };
            if is_meant {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let own: Vec<bool> = nodes.iter().map(|n| n.is_of_project(project)).collect();
    for (texts, keeps) in [(&selection.limit, true), (&selection.exclude, false)] {
        // A text that matches nothing is probably misspelt.
        matching(nodes, &own, &servers_only(texts))?;
        for text in texts.iter().filter(|text| is_pattern(text)) {
            let pattern = Pattern::parse(text)?;
            let mut is_found = false;
            for node in &selected {
                is_found |= pattern.is_of(node)?;
            }
            if !is_found {
                let names = selected.iter().map(|node| node.name.as_str());
                let message = format!("`{text}` matches none of the selected containers");
                return Err(
                    Diagnostic::new(Kind::NotFound, message).help(did_you_mean(text, names))
                );
            }
        }
        if texts.is_empty() {
            continue;
        }
        let mut kept = Vec::new();
        for node in selected {
            if keep(texts, &node)? == keeps {
                kept.push(node);
            }
        }
        selected = kept;
    }
    Ok(selected)
}

/// A running container as a host.
fn as_host(server: &Node, found: &Listed) -> Node {
    let ip = found.ip.map(Address::Ip);
    server
        .clone()
        .inside(&found.name, &found.id, &found.image, ip)
}
