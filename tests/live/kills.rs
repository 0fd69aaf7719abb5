//! hitc is killed after each request of a command: the next command tells the truth, and finishes.

use std::{thread, time::Duration};

use serde_json::json;

use crate::support::{Run, cloud::Cloud, live::Live};

/// A cloud whose servers are all one real machine.
struct Place {
    provider: &'static str,
    cloud: Cloud,
    live: Live,
    /// The default size, and another one.
    default_size: &'static str,
    size: &'static str,
}

impl Place {
    fn new(provider: &'static str, default_size: &'static str, size: &'static str) -> Self {
        let (cloud, live) = Cloud::reachable(provider);
        if provider != "ec2" {
            // The limits of a minute are those of six seconds; lists and deletions take as long as ever.
            cloud.set(&json!({"speed": 10, "lag": 3, "deletion": 5}));
        }
        let live = live.file(
            "it.yml",
            &format!("web:\n  provider: {provider}\n  size: {size}\n"),
        );
        Place {
            provider,
            cloud,
            live,
            default_size,
            size,
        }
    }

    fn create(&self) -> Run {
        let provider = format!("provider={}", self.provider);
        self.live
            .run(&["-y", "run", "create", "name=web", &provider])
    }

    /// The servers as hitc lists them: names, sizes and states.
    fn listed(&self) -> Vec<[String; 3]> {
        let rows = self.live.run(&["nodes", "--any-owner"]).ok().rows();
        rows.into_iter()
            .filter(|row| row[0] == self.provider)
            .map(|row| [row[1].clone(), row[2].clone(), row[row.len() - 3].clone()])
            .collect()
    }

    /// Runs a command that is killed after its n-th request was done, before it is answered. Whether there
    /// were so many. Then compares the list with what costs money.
    fn killed_after(&self, n: usize, words: &[&str]) -> bool {
        let before = self.cloud.get("/_hanging");
        self.cloud
            .faults(&json!([{"path": ".*", "skip": n - 1, "kind": "hang", "after": true}]));
        let mut hitc = self.live.spawn(words);
        let was_killed = loop {
            if self.cloud.get("/_hanging") != before {
                hitc.kill().unwrap();
                hitc.wait().unwrap();
                break true;
            }
            if let Some(status) = hitc.try_wait().unwrap() {
                assert!(status.success(), "{words:?}");
                break false;
            }
            thread::sleep(Duration::from_millis(10));
        };
        self.cloud.faults(&json!([]));
        // DigitalOcean does not say that a droplet is being deleted: until it is gone, it looks alive.
        while self.provider == "digitalocean" && self.cloud.get("/_ending") != json!(0) {
            thread::sleep(Duration::from_millis(50));
        }
        // What was just ordered or ended is listed after a moment.
        let mut rows = self.listed();
        for _ in 0..50 {
            if self.cloud.get("/_count") == json!(rows.len()) {
                return was_killed;
            }
            thread::sleep(Duration::from_millis(100));
            rows = self.listed();
        }
        panic!(
            "{n}: {rows:?}, but {} cost money",
            self.cloud.get("/_count")
        );
    }

    /// One server that runs, of this size if there is one.
    fn one_runs(&self, n: usize, size: Option<&str>) {
        let rows = self.listed();
        let [[name, its_size, state]] = &rows[..] else {
            panic!("{n}: {rows:?}");
        };
        assert!(name == "web" && state == "running", "{n}: {rows:?}");
        assert!(size.is_none_or(|size| size == its_size), "{n}: {rows:?}");
    }

    fn terminate(&self) {
        self.live.run(&["-y", "run", "-H", "web", "terminate"]).ok();
    }

    /// Kills hitc after each request of four commands.
    fn all(&self) {
        let provider = format!("provider={}", self.provider);
        let create = ["-y", "run", "create", "name=web", &provider];
        self.each(&create, |n| {
            // The server exists if it became ready before.
            let again = self.create();
            assert!(
                again.status == 0 || again.stderr.contains("`web` already exists"),
                "{n}: {again}"
            );
            self.one_runs(n, None);
            self.terminate();
        });

        self.create().ok();
        let sizes = [self.size, self.default_size].map(|size| format!("size={size}"));
        let [resize, back] = [0, 1].map(|n| ["-y", "run", "-H", "web", "resize", &sizes[n]]);
        self.each(&resize, |n| {
            self.live.run(&resize).ok();
            self.one_runs(n, Some(self.size));
            self.live.run(&back).ok();
        });

        let terminate = ["-y", "run", "-H", "web", "terminate"];
        self.each(&terminate, |n| {
            if !self.listed().is_empty() {
                self.terminate();
            }
            assert_eq!(self.cloud.get("/_count"), json!(0), "{n}");
            self.create().ok();
        });
        self.terminate();

        let up = ["-y", "run", "ensemble.up", "it"];
        let replace = ["-y", "run", "ensemble.up", "it", "replace=web"];
        self.live.run(&up).ok();
        self.each(&replace, |n| {
            self.live.run(&up).ok();
            self.one_runs(n, Some(self.size));
        });
    }

    /// Kills a command after each of its requests, until it has no more, and calls `then` each time.
    fn each(&self, words: &[&str], then: impl Fn(usize)) {
        let mut n = 1;
        loop {
            let was_killed = self.killed_after(n, words);
            then(n);
            if !was_killed {
                break;
            }
            n += 1;
        }
        assert!(n > 2, "{words:?} asked for nothing");
    }
}

#[test]
fn at_digitalocean() {
    Place::new("digitalocean", "s-1vcpu-1gb", "s-1vcpu-2gb").all();
}

#[test]
fn at_hetzner() {
    Place::new("hetzner", "cx23", "cx33").all();
}

#[test]
fn at_ec2() {
    Place::new("ec2", "t3.micro", "t3.small").all();
}

#[test]
fn at_gcp() {
    Place::new("gcp", "e2-small", "e2-medium").all();
}
