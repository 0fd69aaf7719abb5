//! Two runs that create a server of the same name at the same time, on two machines.

use std::process::Child;

use serde_json::json;

use crate::support::{Run, cloud::Cloud, foreign_server::new_key, live::Live};

/// Runs `create name=web` twice. The second has a home folder of its own, as on another machine.
fn twice(live: Live, provider: &str) -> ([Run; 2], Live) {
    let provider = format!("provider={provider}");
    let create = ["-y", "run", "create", "name=web", &provider];
    let home = live.home();
    let other = live.root().join("other");
    // With the same key, and the same way to the servers.
    let data = home.join(".local/share/hitc");
    std::fs::create_dir_all(&data).unwrap();
    let key = data.join("id_ed25519");
    if !key.exists() {
        new_key(&key);
    }
    let copy = std::process::Command::new("cp")
        .arg("-a")
        .args([&home, &other])
        .status();
    assert!(copy.unwrap().success());
    let first = live.spawn(&create);
    let live = live.env("HOME", other.to_str().unwrap());
    let second = live.spawn(&create);
    let live = live.env("HOME", home.to_str().unwrap());
    let end = |child: Child| Run::from(child.wait_with_output().unwrap());
    ([first, second].map(end), live)
}

fn servers(live: &Live) -> Vec<Vec<String>> {
    live.run(&["nodes"]).ok().rows()
}

/// Where names are not unique, the younger server is terminated, and its run says so.
fn one_gives_way(cloud: &Cloud, live: Live, provider: &str, order: &str) {
    let folder = live.root().join("met");
    std::fs::create_dir(&folder).unwrap();
    // Neither run is answered before both have ordered.
    cloud.faults(&json!([{
        "method": "POST", "path": order, "times": 2, "kind": "meet", "folder": folder, "count": 2
    }]));
    let (runs, live) = twice(live, provider);
    let mut failed = runs.iter().filter(|run| run.status != 0);
    let lost = failed
        .next()
        .unwrap_or_else(|| panic!("{}{}", runs[0], runs[1]));
    assert!(failed.next().is_none(), "{}{}", runs[0], runs[1]);
    assert!(
        lost.status == 1
            && lost
                .stderr
                .contains("error: host `web`: another run created server `web` (")
            && lost.stderr.contains("note: the one of this run (")
            && lost.stderr.contains(") was terminated"),
        "{lost}"
    );
    let mut rows = servers(&live);
    rows.retain(|row| row[0] == provider);
    assert!(rows.len() == 1 && rows[0][1] == "web", "{rows:?}");
}

#[test]
fn at_digitalocean() {
    let (cloud, live) = Cloud::digitalocean(Live::new(), true);
    one_gives_way(&cloud, live, "digitalocean", "/v2/droplets");
}

#[test]
fn at_ec2() {
    let (cloud, live) = Cloud::reachable_ec2();
    one_gives_way(&cloud, live, "ec2", "RunInstances");
}

/// Where names are unique, both runs wait for one server, or one finds that it exists.
fn one_is_made(live: Live, provider: &str) {
    let (runs, live) = twice(live, provider);
    let done = runs.iter().filter(|run| run.status == 0);
    assert!(done.count() > 0, "{}{}", runs[0], runs[1]);
    for run in runs.iter().filter(|run| run.status != 0) {
        assert!(run.stderr.contains("`web`"), "{run}");
    }
    let rows = servers(&live);
    assert!(rows.len() == 1 && rows[0][1] == "web", "{rows:?}");
}

#[test]
fn at_hetzner() {
    let (_cloud, live) = Cloud::hetzner(Live::new(), true);
    one_is_made(live, "hetzner");
}

#[test]
fn at_gcp() {
    let (_cloud, live) = Cloud::gcp(Live::new(), true);
    one_is_made(live, "gcp");
}

#[test]
fn at_the_local_provider() {
    one_is_made(Live::new(), "local");
}
