//! What every provider promises, in the same words.

use std::io::{BufRead, BufReader, Read};

use serde_json::{Value as Json, json};

use crate::support::{
    Run,
    cloud::Cloud,
    live::{Live, docker},
};

/// A provider with real servers behind it.
struct Place {
    name: &'static str,
    /// Two of its sizes, the first one in its price list.
    sizes: [&'static str; 2],
    live: Live,
    cloud: Option<Cloud>,
}

impl Place {
    /// With everything that it says; what proves who we are is never part of it.
    fn run(&self, words: &[&str]) -> Run {
        let run = self.live.run(&[&["-y", "-v"], words].concat());
        let said = format!("{run}");
        assert!(!said.contains("test-token"), "{run}");
        run
    }

    fn create(&self, options: &[&str]) -> Run {
        let provider = format!("provider={}", self.name);
        self.run(&[&["run", "create", &provider], options].concat())
    }

    /// Name, size and state of its servers.
    fn nodes(&self) -> Vec<(String, String, String)> {
        let nodes = self.live.run(&["nodes", "-o", "json"]).ok().json_rows();
        let own = |node: &&Json| node["provider"] == self.name && node["name"] != "behind";
        let text = |node: &Json, key: &str| node[key].as_str().unwrap().to_owned();
        nodes
            .iter()
            .filter(own)
            .map(|node| (text(node, "name"), text(node, "size"), text(node, "state")))
            .collect()
    }

    fn state(&self, name: &str) -> String {
        let nodes = self.nodes();
        let node = nodes.iter().find(|node| node.0 == name);
        node.unwrap_or_else(|| panic!("no {name} in {nodes:?}"))
            .2
            .clone()
    }

    /// Stops a server as somebody else would.
    fn stop(&self, name: &str) {
        let full = self.live.container(name);
        match (&self.cloud, self.name) {
            (None, _) => drop(docker(&["stop", "-t", "2", &full])),
            (Some(cloud), "ec2") => drop(cloud.boto(&format!(
                "r = ec2.describe_instances(Filters=[{{'Name': 'tag:Name', 'Values': ['{full}']}}])\n\
                 ec2.stop_instances(InstanceIds=[r['Reservations'][0]['Instances'][0]['InstanceId']])"
            ))),
            (Some(cloud), _) => drop(cloud.post("/_stop", &json!(full))),
        }
    }

    /// Reboots a server that runs.
    fn reboot(&self, name: &str) {
        let mut hitc = self.live.spawn(&["-y", "run", "-H", name, "reboot"]);
        let mut said = BufReader::new(hitc.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("waiting for the reboot") {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0);
        }
        if self.name == "ec2" {
            // What moto does not do. A container that restarts could lose its address to another one.
            let script = "echo another >/run/boot_id &&
                mount --bind /run/boot_id /proc/sys/kernel/random/boot_id";
            docker(&["exec", &self.live.container("behind"), "sh", "-c", script]);
        }
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        assert!(hitc.wait().unwrap().success(), "{rest}");
    }

    fn conforms(&self) {
        self.creates();
        self.changes();
        self.is_brought_about();
        self.ends();
    }

    /// Nothing of what is wrong, and of the rest as many as were asked for, each once.
    fn creates(&self) {
        let [small, _] = self.sizes;
        let size = format!("size={small}");
        let provider = format!("provider={}", self.name);
        // Nothing is made in a dry run, nor of what is wrong.
        let dry = ["-n", "run", "create", &provider, "name=web", &size];
        assert!(
            self.live
                .run(&dry)
                .ok()
                .stderr
                .contains("would create 1 server: web")
        );
        let wrong = self.create(&["name=web", "szie=x"]);
        assert!(
            wrong.status == 2 && wrong.stderr.contains("did you mean `size`?"),
            "{wrong}"
        );
        let wrong = self.create(&["name=web", "size=nonsense"]);
        assert_eq!(wrong.status, 2, "{wrong}");
        assert!(self.nodes().is_empty());

        // As many as were asked for, each once, with what was asked for.
        self.create(&["name=web", "count=2", &size]).ok();
        assert_eq!(
            self.nodes(),
            [running("web", small), running("web-1", small)]
        );
        let again = self.create(&["name=web", &size]);
        assert!(
            again.status == 2 && again.stderr.contains("`web` already"),
            "{again}"
        );
        // More of the same: those that are there stay.
        let more = [
            "-n", "run", "create", &provider, "name=web", "count=3", &size,
        ];
        let more = self.live.run(&more).ok();
        assert!(
            more.stderr.contains("would create 1 server: web-2"),
            "{more}"
        );
        self.create(&["name=web", "count=3", &size]).ok();
        assert_eq!(self.nodes().len(), 3);
        let exec = self.run(&["exec", "-R", "web", "--", "echo in"]).ok();
        // By the system's ssh, which believes the key that we have seen.
        let ssh = self
            .live
            .run_with_input(&["run", "-H", "web", "ssh"], "echo by hand\n");
        assert!(ssh.stdout.ends_with("by hand\n"), "{ssh}");
        assert_eq!(exec.stdout.matches("] in\n").count(), 3, "{exec}");
    }

    /// Name, size, and whether it runs.
    fn changes(&self) {
        let [small, large] = self.sizes;
        let size = format!("size={small}");
        if self.name == "gcp" {
            // Google does not rename a server that runs.
            self.stop("web-1");
            self.run(&["run", "uncache"]).ok();
        }
        self.run(&["run", "-H", "web-1", "rename", "db"]).ok();
        if self.name == "gcp" {
            self.run(&["run", "-H", "db", "reboot"]).ok();
        }
        let taken = self.run(&["run", "-H", "db", "rename", "web"]);
        assert!(
            taken.status == 2 && taken.stderr.contains("`web` already"),
            "{taken}"
        );
        let wrong = self.run(&["run", "-H", "db", "resize"]);
        assert!(
            wrong.status == 2 && wrong.stderr.contains("`size` is missing"),
            "{wrong}"
        );
        let same = self.run(&["run", "-H", "db", "resize", &size]).ok();
        assert!(same.stderr.contains("db: already has this size"), "{same}");
        self.run(&["run", "-H", "db", "resize", &format!("size={large}")])
            .ok();
        assert!(self.nodes().contains(&running("db", large)));
        self.reboot("db");
        assert_eq!(
            self.run(&["exec", "-H", "db", "--", "echo in"]).ok().stdout,
            "in\n"
        );

        // Stopped, and started again.
        self.stop("db");
        assert_eq!(self.state("db"), "stopped");
        let exec = self.run(&["exec", "-H", "db", "--", "true"]);
        assert!(
            exec.status == 4 && exec.stderr.contains("hitc run -H db reboot"),
            "{exec}"
        );
        self.run(&["run", "-H", "db", "reboot"]).ok();
        assert_eq!(self.state("db"), "running");
    }

    /// What a manifest says.
    fn is_brought_about(&self) {
        let [small, large] = self.sizes;
        // What is the same in a manifest is no change, and another size is one.
        let manifest = |size: &str| format!("one:\n  provider: {}\n  size: {size}\n", self.name);
        self.live.write("it.yml", &manifest(small));
        self.run(&["run", "ensemble.up", "it"]).ok();
        assert_eq!(
            self.run(&["run", "ensemble.plan", "it"]).ok().stdout,
            "no changes\n"
        );
        self.live.write("it.yml", &manifest(large));
        let plan = self.run(&["run", "ensemble.plan", "it"]);
        assert!(
            plan.stdout.contains(&format!("size: {small} → {large}")),
            "{plan}"
        );
        self.run(&["run", "ensemble.up", "it"]).ok();
        assert!(self.nodes().contains(&running("one", large)));
    }

    /// Those that are not protected.
    fn ends(&self) {
        let [small, _] = self.sizes;
        let provider = format!("provider={}", self.name);
        self.create(&["name=safe", "protect=true"]).ok();
        let refused = self.run(&["run", "-H", "safe", "-H", "web", "terminate"]);
        assert!(refused.status == 2, "{refused}");
        assert!(
            refused
                .stderr
                .contains("protected: safe; nothing was terminated"),
            "{refused}"
        );
        assert_eq!(self.nodes().len(), 5);

        let prices = self.run(&["run", "pricing", &provider, &format!("filter={small}")]);
        if self.name == "local" {
            assert_eq!(prices.status, 2, "{prices}");
        } else {
            assert_eq!(prices.ok().rows()[0][0], small);
        }
        let all = ["web", "web-2", "db", "one"]
            .map(|name| ["-H", name])
            .concat();
        self.run(&[&["run"], &all[..], &["terminate"]].concat())
            .ok();
        assert_eq!(self.nodes().len(), 1);
        if let Some(cloud) = self.cloud.as_ref().filter(|_| self.name == "digitalocean") {
            assert_eq!(cloud.violations(), json!([]));
        }
    }
}

fn running(name: &str, size: &str) -> (String, String, String) {
    (name.to_owned(), size.to_owned(), "running".to_owned())
}

#[test]
fn local() {
    Place {
        name: "local",
        sizes: ["1x512m", "2x1g"],
        live: Live::new(),
        cloud: None,
    }
    .conforms();
}

#[test]
fn ec2() {
    let (cloud, live) = Cloud::reachable_ec2();
    Place {
        name: "ec2",
        sizes: ["t3.micro", "t3.small"],
        live,
        cloud: Some(cloud),
    }
    .conforms();
}

#[test]
fn digitalocean() {
    let (cloud, live) = Cloud::digitalocean(Live::new(), true);
    Place {
        name: "digitalocean",
        sizes: ["s-1vcpu-1gb", "s-2vcpu-4gb"],
        live,
        cloud: Some(cloud),
    }
    .conforms();
}

#[test]
fn hetzner() {
    let (cloud, live) = Cloud::hetzner(Live::new(), true);
    Place {
        name: "hetzner",
        sizes: ["cx23", "cx33"],
        live,
        cloud: Some(cloud),
    }
    .conforms();
}

#[test]
fn gcp() {
    let (cloud, live) = Cloud::gcp(Live::new(), true);
    Place {
        name: "gcp",
        sizes: ["e2-small", "e2-medium"],
        live,
        cloud: Some(cloud),
    }
    .conforms();
}

/// A server is ready when its cloud-init is done; one on which that fails is left to be looked at.
#[test]
fn cloud_init() {
    let fails = [("HITC_TEST_CLOUD_INIT", "1")];
    let places = [
        ("hetzner", Cloud::hetzner_with(Live::new(), true, &fails)),
        (
            "digitalocean",
            Cloud::digitalocean_with(Live::new(), true, &fails),
        ),
    ];
    for (name, (cloud, live)) in places {
        let place = Place {
            name,
            sizes: ["", ""],
            live,
            cloud: Some(cloud),
        };
        let run = place.create(&["name=web"]);
        assert_eq!(run.status, 1, "{run}");
        for line in [
            "error: host `web`: server `web`: cloud-init failed",
            "status: as the test says",
            "is kept for inspection: `hitc run create name=web`",
        ] {
            assert!(run.stderr.contains(line), "{run}");
        }
        assert_eq!(place.state("web"), "failed");
        // It fails again, and is not taken for good.
        assert_eq!(place.create(&["name=web"]).status, 1);
        assert_eq!(place.state("web"), "failed");
        // Somebody looks, and mends it; with complaints it is good enough.
        let mend = ["exec", "-H", "web", "--", "echo 2 >/etc/init-status"];
        place.run(&mend).ok();
        let run = place.create(&["name=web"]).ok();
        let warning = "warning: web: cloud-init finished with warnings: status: as the test says";
        assert!(run.stderr.contains(warning), "{run}");
        assert_eq!(place.state("web"), "running");
    }
}
