//! Two projects with the same manifest, name prefix, provider and account leave each other's servers
//! alone.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::support::{
    Run,
    cloud::Cloud,
    live::{Live, docker},
};

/// Two projects of one user.
struct Pair {
    provider: &'static str,
    live: Live,
    /// The cloud, unless the servers are local.
    _cloud: Option<Cloud>,
}

impl Pair {
    fn new(provider: &'static str, live: Live, cloud: Option<Cloud>) -> Self {
        let manifest = format!("web:\n  provider: {provider}\n");
        for project in ["a", "b"] {
            live.write(&format!("{project}/hitcfile.rhai"), "");
            live.write(&format!("{project}/servers.yml"), &manifest);
        }
        Pair {
            provider,
            live,
            _cloud: cloud,
        }
    }

    fn folder(&self, project: &str) -> PathBuf {
        self.live.root().join(project)
    }

    fn run(&mut self, project: &str, words: &[&str]) -> Run {
        let folder = self.folder(project);
        self.live.move_to(&folder);
        self.live.run(&[&["-y"], words].concat())
    }

    /// The names of the servers of a project.
    fn nodes(&mut self, project: &str) -> Vec<String> {
        self.listed(project, &["nodes", "-o", "json"])
    }

    fn listed(&mut self, project: &str, words: &[&str]) -> Vec<String> {
        let nodes = self.run(project, words).ok().json_rows();
        let of_provider = nodes
            .iter()
            .filter(|node| node["provider"] == self.provider && node["name"] != "behind");
        of_provider
            .map(|node| node["name"].as_str().unwrap().to_owned())
            .collect()
    }

    fn leave_each_other_alone(&mut self) {
        let provider = format!("provider={}", self.provider);
        let up = self.run("a", &["run", "ensemble.up", "servers"]).ok();
        assert!(up.stderr.contains("wrote `hitc.id`"), "{up}");
        assert!(self.folder("a").join("hitc.id").is_file());
        self.run("a", &["run", "create", &provider, "name=task"])
            .ok();
        assert_eq!(self.nodes("a"), ["task", "web"]);

        // The other project does not see them, and a dry run writes no id.
        let listed = self.run("b", &["run", "nodes"]).ok();
        let note = "servers of other owners; list them with \"hitc nodes --any-owner\"";
        assert!(listed.stderr.contains(note), "{listed}");
        self.run("b", &["-n", "run", "create", &provider, "name=other"])
            .ok();
        assert!(!self.folder("b").join("hitc.id").exists());
        let all = self.listed("b", &["nodes", "-o", "json", "--any-owner"]);
        assert_eq!(all, ["task", "web"]);

        // Nothing that it does touches them.
        let create = self.run("b", &["run", "create", &provider, "name=web"]);
        let owned = "belongs to manifest `servers` of project ";
        assert!(
            create.status == 2 && create.stderr.contains(owned),
            "{create}"
        );
        self.run("b", &["run", "create", &provider, "name=own"])
            .ok();
        let up = self.run("b", &["run", "ensemble.up", "servers"]);
        assert!(up.status == 2 && up.stderr.contains(owned), "{up}");
        self.run("b", &["run", "ensemble.down", "servers"]).ok();
        let exact = self.run("b", &["exec", "-H", "web", "--", "true"]);
        assert!(
            exact.status == 3 && exact.stderr.contains("-H web --any-owner"),
            "{exact}"
        );
        let glob = self.run("b", &["exec", "-H", "we*", "--", "true"]);
        assert_eq!(glob.status, 3, "{glob}");
        self.run("b", &["run", "--all", "terminate"]).ok();
        assert!(self.nodes("b").is_empty());
        assert_eq!(self.nodes("a"), ["task", "web"]);

        // A manifest of that name without servers ends nothing of the other project.
        self.live.write("b/servers.yml", "{}\n");
        let up = ["run", "ensemble.up", "servers", "prune=true"];
        self.run("b", &up).ok();
        assert_eq!(self.nodes("a"), ["task", "web"]);

        // A prefix that begins like ours is another one.
        let prefix = self.live.container("");
        let staging = ["--name-prefix", &format!("{prefix}staging-")].map(str::to_owned);
        let [flag, staging] = &staging;
        let create = ["run", flag, staging, "create", &provider, "name=web"];
        self.run("a", &create).ok();
        let all = self.listed("a", &["nodes", "-o", "json", "--any-owner"]);
        assert_eq!(all, ["task", "web"]);
        self.run("a", &["run", flag, staging, "--all", "terminate"])
            .ok();
        assert_eq!(self.nodes("a"), ["task", "web"]);

        // Taking a server over needs its full name and the flag.
        self.run("b", &["run", "-H", "web", "--any-owner", "adopt"])
            .ok();
        assert_eq!(self.nodes("a"), ["task"]);
        assert_eq!(self.nodes("b"), ["web"]);
        let refused = self.run("a", &["run", "-H", "web", "terminate"]);
        assert_eq!(refused.status, 3, "{refused}");
        self.run("a", &["run", "ensemble.down", "servers"]).ok();
        assert_eq!(self.nodes("b"), ["web"]);
        self.run("b", &["run", "--all", "terminate"]).ok();
        self.run("a", &["run", "--all", "terminate"]).ok();
        let all = self.listed("a", &["nodes", "-o", "json", "--any-owner"]);
        assert!(all.is_empty());
    }
}

#[test]
fn local() {
    Pair::new("local", Live::new(), None).leave_each_other_alone();
    // The record of an adoption goes with the server.
    let orphans = || -> BTreeSet<String> {
        let volumes = docker(&["volume", "ls", "-q", "--filter", "name=hitc-owner-"]);
        let servers = docker(&["ps", "-aq", "--no-trunc"]);
        let ids = volumes.split_whitespace();
        let ids = ids.map(|volume| volume.trim_start_matches("hitc-owner-"));
        let orphans = ids.filter(|id| !servers.contains(id));
        orphans.map(str::to_owned).collect()
    };
    // A server of another test may be going at this moment.
    let mut left = orphans();
    let started = Instant::now();
    while !left.is_empty() {
        assert!(started.elapsed() < Duration::from_secs(30), "{left:?}");
        std::thread::sleep(Duration::from_millis(200));
        let now = orphans();
        left.retain(|id| now.contains(id));
    }
}

#[test]
fn ec2() {
    let (cloud, live) = Cloud::reachable_ec2();
    // It stands behind all instances, and belongs to another project than the two.
    Pair::new("ec2", live, Some(cloud)).leave_each_other_alone();
}

#[test]
fn digitalocean() {
    let (cloud, live) = Cloud::digitalocean(Live::new(), true);
    Pair::new("digitalocean", live, Some(cloud)).leave_each_other_alone();
}

#[test]
fn hetzner() {
    let (cloud, live) = Cloud::hetzner(Live::new(), true);
    Pair::new("hetzner", live, Some(cloud)).leave_each_other_alone();
}

#[test]
fn gcp() {
    let (cloud, live) = Cloud::gcp(Live::new(), true);
    Pair::new("gcp", live, Some(cloud)).leave_each_other_alone();
}

/// Only its owner finishes a server whose creation was interrupted: within a project, too.
#[test]
fn unfinished_servers_have_owners() {
    let live = Live::new()
        .file("servers.yml", "web:\n  provider: local\n")
        .file("others.yml", "web:\n  provider: local\n");
    live.run(&["-y", "run", "create", "name=web"]).ok();
    let id = || {
        docker(&[
            "inspect",
            "-f",
            "{{.Id}} {{.State.Status}}",
            &live.container("web"),
        ])
    };
    live.half_make("web", Some("others"));
    let before = id();
    let create = live.run(&["-y", "run", "create", "name=web"]);
    assert!(
        create.status == 2
            && create
                .stderr
                .contains("server `web` at local belongs to manifest `others` of project ")
            && create.stderr.contains("adopt"),
        "{create}"
    );
    let up = live.run(&["-y", "run", "ensemble.up", "servers"]);
    assert!(
        up.status == 2 && up.stderr.contains("belongs to manifest `others`"),
        "{up}"
    );
    assert_eq!(id(), before);

    // A manifest does not finish a server of a task either, unless it is told to adopt it.
    live.run(&["-y", "run", "ensemble.up", "others"]).ok();
    live.half_make("web", None);
    let before = id();
    let up = live.run(&["-y", "run", "ensemble.up", "servers"]);
    assert!(
        up.status == 2
            && up.stderr.contains("belongs to project ")
            && up.stderr.contains("adopt=web"),
        "{up}"
    );
    assert_eq!(id(), before);
    live.run(&["-y", "run", "ensemble.up", "servers", "adopt=web"])
        .ok();
    let owned = live.run(&["-y", "run", "create", "name=web"]);
    assert!(
        owned.status == 2 && owned.stderr.contains("belongs to manifest `servers`"),
        "{owned}"
    );
    // With the record of its adoption.
    live.run(&["-y", "run", "ensemble.down", "servers"]).ok();
}

/// A server that lost what hitc recognizes it by is not taken for one that is gone.
#[test]
fn a_server_that_lost_its_tags_is_not_gone() {
    // Its name.
    let live = Live::new();
    let name = live.container("web");
    live.write(
        "hitcfile.rhai",
        &format!(
            "/// T.\nfn end(host) {{ local::run(\"docker rename {name} x{name}\"); provider::terminate([host]); }}\n\
             /// T.\nfn twice(host) {{ provider::terminate([host]); provider::terminate([host]); }}\n"
        ),
    );
    live.run(&["run", "create", "name=web"]).ok();
    let run = live.run(&["-y", "run", "-H", "web", "end"]);
    let is_there = docker(&["ps", "-q", "--filter", &format!("name=x{name}")]);
    docker(&["rename", &format!("x{name}"), &name]);
    let cause = format!("exists, but its name `x{name}` does not begin with the prefix ");
    assert!(
        run.status == 1
            && run.stderr.contains(&cause)
            && run.stderr.contains("nothing was done to it"),
        "{run}"
    );
    assert!(!is_there.is_empty());
    // One that is gone is.
    live.run(&["-y", "run", "-H", "web", "twice"]).ok();
    assert!(live.run(&["nodes"]).ok().rows().is_empty());
}
