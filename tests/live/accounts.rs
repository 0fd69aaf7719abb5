//! Two prefixes in two accounts, regions or projects: nothing of another is listed, resized or terminated,
//! whatever was listed a moment ago.

use serde_json::json;

use crate::support::{cloud::Cloud, live::Live};

/// An account or a region, and a prefix.
#[derive(Clone, Copy)]
struct Place<'a> {
    account: &'a str,
    prefix: &'a str,
}

/// A project, whose servers are at one provider.
struct Project<'a> {
    live: Option<Live>,
    provider: &'a str,
    /// The environment variable that selects the account.
    variable: &'a str,
    prefix: String,
}

impl Project<'_> {
    /// The project at a place.
    fn at(&mut self, place: Place) -> &Live {
        let prefix = format!("{}{}", self.prefix, place.prefix);
        let live = self.live.take().unwrap();
        let live = live
            .env(self.variable, place.account)
            .env("HITC_NAME_PREFIX", &prefix);
        self.live.insert(live)
    }

    /// The ids of the servers.
    fn ids(&mut self, place: Place) -> Vec<String> {
        self.listed(place, "id")
    }

    /// A field of the servers, of any owner.
    fn listed(&mut self, place: Place, field: &str) -> Vec<String> {
        let provider = self.provider.to_owned();
        let words = ["nodes", "-o", "json", "--any-owner"];
        let nodes = self.at(place).run(&words).ok().json_rows();
        nodes
            .iter()
            .filter(|node| node["provider"] == provider.as_str())
            .map(|node| node[field].as_str().unwrap().to_owned())
            .collect()
    }

    /// Lists the servers of `last`, or forgets all lists.
    fn remember(&mut self, last: Option<Place>, place: Place) {
        match last {
            Some(last) => drop(self.ids(last)),
            None => drop(self.at(place).run(&["run", "uncache"]).ok()),
        }
    }
}

fn are_apart(provider: &str, variable: &str, accounts: [&str; 2], size: &str) {
    let (cloud, live) = Cloud::reachable(provider);
    if provider != "ec2" {
        // The limits of a minute are those of six seconds; lists and deletions take as long as ever.
        cloud.set(&json!({"speed": 10, "lag": 3, "deletion": 5}));
    }
    let mut project = Project {
        prefix: live.container(""),
        live: Some(live),
        provider,
        variable,
    };
    let places: Vec<Place> = accounts
        .into_iter()
        .flat_map(|account| ["A-", "B-"].map(|prefix| Place { account, prefix }))
        .collect();
    let provider = format!("provider={provider}");
    let mut own: Vec<String> = Vec::new();
    for place in &places {
        project
            .at(*place)
            .run(&["-y", "run", "create", "name=web", &provider])
            .ok();
        let ids = project.ids(*place);
        assert!(ids.len() == 1 && !own.contains(&ids[0]), "{ids:?} {own:?}");
        own.extend(ids);
    }
    for first in &places {
        for (second, id) in places.iter().zip(&own) {
            project.ids(*first);
            assert_eq!(project.ids(*second), std::slice::from_ref(id));
        }
    }
    let resize = ["-y", "run", "-R", "web", "resize", &format!("size={size}")];
    for (n, place) in places.iter().enumerate() {
        // What was remembered last is the list of another place, or nothing.
        let other = places[(n + 1) % places.len()];
        project.remember((n % 2 == 0).then_some(other), *place);
        project.at(*place).run(&resize).ok();
        for (m, place) in places.iter().enumerate() {
            let sizes = project.listed(*place, "size");
            assert_eq!(sizes == [size], m <= n, "{n} {m}: {sizes:?}");
            assert_eq!(sizes.len(), 1);
        }
    }
    for (n, place) in places.iter().enumerate() {
        let other = places[(n + 1) % places.len()];
        project.remember((n % 2 == 0).then_some(other), *place);
        project
            .at(*place)
            .run(&["-y", "run", "-R", "web", "terminate"])
            .ok();
        for (other, id) in places.iter().zip(&own).skip(n + 1) {
            assert_eq!(project.ids(*other), std::slice::from_ref(id));
        }
    }
}

#[test]
fn at_digitalocean() {
    let tokens = ["test-token", "other-token"];
    are_apart("digitalocean", "DIGITALOCEAN_TOKEN", tokens, "s-1vcpu-2gb");
}

#[test]
fn at_hetzner() {
    let tokens = ["test-token", "other-token"];
    are_apart("hetzner", "HCLOUD_TOKEN", tokens, "cx33");
}

#[test]
fn at_ec2() {
    are_apart("ec2", "AWS_REGION", ["us-east-1", "eu-west-1"], "t3.small");
}

/// The credentials are those of both projects.
#[test]
fn at_google() {
    let projects = ["test-project", "other-project"];
    are_apart("gcp", "GOOGLE_CLOUD_PROJECT", projects, "e2-medium");
}
