//! Images of servers, and consoles, at every cloud.

use std::{thread::sleep, time::Duration};

use serde_json::{Value as Json, json};

use crate::support::{
    Run,
    cloud::Cloud,
    live::{Live, docker},
};

/// A cloud, its project, and what an image's creation is there.
struct Place {
    name: &'static str,
    cloud: Cloud,
    live: Live,
    /// The request that begins an image, in the cloud's log.
    order: &'static str,
    /// The action that a cloud can be told to fail.
    action: &'static str,
}

impl Place {
    fn ec2() -> Self {
        let (cloud, live) = Cloud::reachable_ec2();
        Place {
            name: "ec2",
            cloud,
            live,
            order: "POST CreateImage",
            action: "",
        }
    }

    fn digitalocean() -> Self {
        let (cloud, live) = Cloud::digitalocean(Live::new(), true);
        Place {
            name: "digitalocean",
            cloud,
            live,
            order: "/actions",
            action: "snapshot",
        }
    }

    fn hetzner() -> Self {
        let (cloud, live) = Cloud::hetzner(Live::new(), true);
        Place {
            name: "hetzner",
            cloud,
            live,
            order: "/actions/create_image",
            action: "create_image",
        }
    }

    fn gcp() -> Self {
        let (cloud, live) = Cloud::gcp(Live::new(), true);
        Place {
            name: "gcp",
            cloud,
            live,
            order: "POST /global/images",
            action: "insert_image",
        }
    }

    fn run(&self, words: &[&str]) -> Run {
        let run = self.live.run(&[&["-y"], words].concat());
        let said = format!("{run}");
        assert!(!said.contains("test-token"), "{run}");
        run
    }

    fn create(&self, options: &[&str]) -> Run {
        let provider = format!("provider={}", self.name);
        self.run(&[&["run", "create", &provider], options].concat())
    }

    /// The names of its servers.
    fn servers(&self) -> Vec<String> {
        let rows = self.live.run(&["nodes"]).ok().rows();
        let own = rows.into_iter().filter(|row| row[0] == self.name);
        own.map(|row| row[1].clone()).collect()
    }

    /// Name, server and state of its images.
    fn images(&self) -> Vec<(String, String, String)> {
        let images = self
            .live
            .run(&["image.list", "-o", "json"])
            .ok()
            .json_rows();
        let text = |image: &Json, key: &str| image[key].as_str().unwrap().to_owned();
        images
            .iter()
            .map(|image| {
                assert_eq!(image["provider"], self.name);
                (
                    text(image, "name"),
                    text(image, "server"),
                    text(image, "state"),
                )
            })
            .collect()
    }

    /// How many images were ordered.
    fn orders(&self) -> usize {
        let log = self.cloud.log();
        let is_order = |line: &&String| line.starts_with("POST") && line.ends_with(self.order);
        match self.name {
            "gcp" => log
                .iter()
                .filter(|line| line.starts_with(self.order))
                .count(),
            _ => log.iter().filter(is_order).count(),
        }
    }

    /// Create, list, a server from it, terminate with an image, delete.
    fn goes_the_whole_way(&self) {
        self.create(&["name=web"]).ok();
        let mark = [
            "exec",
            "-H",
            "web",
            "--",
            "sudo -n sh -c 'echo kept >/srv/mark'",
        ];
        if self.name != "ec2" {
            self.run(&mark).ok();
        }

        // Nothing is made in a dry run, nor of what is wrong, nor without a confirmation.
        let dry = self.run(&["-n", "run", "-H", "web", "image.create", "base"]);
        assert!(dry.stderr.contains("would make image base of web"), "{dry}");
        let wrong = self.run(&["run", "-H", "web", "image.create", "debian-13"]);
        assert!(
            wrong.status == 2 && wrong.stderr.contains("invalid image name `debian-13`"),
            "{wrong}"
        );
        let asked = self.live.run(&["run", "-H", "web", "image.create", "base"]);
        let question = format!("Make image base of web at {}?", self.name);
        assert!(
            asked.status == 2 && asked.stderr.contains(&question),
            "{asked}"
        );
        assert_eq!(
            asked.stderr.contains("reboots"),
            self.name == "ec2",
            "{asked}"
        );
        assert!(self.images().is_empty());
        assert_eq!(self.orders(), 0);

        let made = self.run(&["run", "-H", "web", "image.create", "base"]).ok();
        assert!(made.stderr.contains("is usable"), "{made}");
        assert_eq!(self.images(), [usable("base", "web")]);
        let again = self.run(&["run", "-H", "web", "image.create", "base"]);
        assert!(
            again.status == 2
                && again
                    .stderr
                    .contains("already exists: it is of server `web`"),
            "{again}"
        );
        assert!(
            again.stderr.contains("hitc run image.delete base"),
            "{again}"
        );

        // A new server has what the old one had, and a user that may log in.
        self.create(&["name=copy", "image=base"]).ok();
        let read = ["exec", "-H", "copy", "--", "cat /srv/mark"];
        if self.name != "ec2" {
            assert_eq!(self.run(&read).ok().stdout, "kept\n");
        }
        let nodes = self.live.run(&["nodes", "-o", "json"]).ok().json_rows();
        let copy = nodes.iter().find(|node| node["name"] == "copy").unwrap();
        assert_eq!(copy["image"], "base");
        let none = self.create(&["name=other", "image=bsae"]);
        assert!(
            none.status == 2 && none.stderr.contains("image `bsae` not found"),
            "{none}"
        );

        self.terminates_with_an_image();
        self.deletes();
        if self.name == "digitalocean" {
            assert_eq!(self.cloud.violations(), json!([]));
        }
    }

    fn terminates_with_an_image(&self) {
        let words = ["run", "-H", "copy", "terminate", "image=last"];
        let asked = self.live.run(&words);
        let question = "Make image last of copy, and then terminate copy, with all data on it?";
        assert!(
            asked.status == 2 && asked.stderr.contains(question),
            "{asked}"
        );
        let dry = self.run(&[&["-n"], &words[..]].concat());
        assert!(
            dry.stderr
                .contains("would make image last of copy, then terminate copy"),
            "{dry}"
        );
        let two = self.run(&["run", "-H", "copy", "-H", "web", "terminate", "image=last"]);
        assert!(
            two.stderr
                .contains("an image is made of one server, and 2 are selected"),
            "{two}"
        );
        // The name is taken.
        let taken = self.run(&["run", "-H", "copy", "terminate", "image=base"]);
        assert!(taken.status == 2, "{taken}");
        assert_eq!(self.servers(), ["copy", "web"]);
        self.run(&words).ok();
        assert_eq!(self.servers(), ["web"]);
        assert_eq!(
            self.images(),
            [usable("base", "web"), usable("last", "copy")]
        );
    }

    fn deletes(&self) {
        let asked = self.live.run(&["run", "image.delete", "base"]);
        assert!(
            asked.status == 2
                && asked.stderr.contains("Delete image base (")
                && asked.stderr.contains("of server web"),
            "{asked}"
        );
        let dry = self.run(&["-n", "run", "image.delete", "base"]).ok();
        assert!(dry.stderr.contains("would delete image"), "{dry}");
        for name in ["base", "last"] {
            self.run(&["run", "image.delete", name]).ok();
        }
        assert!(self.images().is_empty());
        let gone = self.run(&["run", "image.delete", "base"]);
        assert!(
            gone.status != 0 && gone.stderr.contains("image `base` not found"),
            "{gone}"
        );
        assert_eq!(self.servers(), ["web"]);
    }

    /// The server of an image that fails is kept.
    fn keeps_the_server(&self) {
        self.create(&["name=web"]).ok();
        self.cloud.set(&json!({"fails": [self.action]}));
        let run = self.run(&["run", "-H", "web", "terminate", "image=last"]);
        assert_eq!(run.status, 1, "{run}");
        assert_eq!(self.servers(), ["web"]);
        // What is left of it can be deleted.
        for (name, _, state) in self.images() {
            assert_eq!((&*name, &*state), ("last", "failed"));
            let used = self.create(&["name=copy", "image=last"]);
            assert!(
                used.status == 2 && used.stderr.contains("cannot be used: it is failed"),
                "{used}"
            );
            self.run(&["run", "image.delete", "last"]).ok();
        }
        self.cloud.set(&json!({"fails": []}));
        self.run(&["run", "-H", "web", "terminate", "image=last"])
            .ok();
        assert!(self.servers().is_empty());
    }

    /// What a run that was killed began is finished by the next, and no second image is made.
    fn finishes(&self) {
        self.create(&["name=web"]).ok();
        self.cloud.set(&json!({self.action: 4}));
        let words = ["-y", "run", "-H", "web", "image.create", "base"];
        let mut hitc = self.live.spawn(&words);
        while self.orders() == 0 {
            sleep(Duration::from_millis(50));
        }
        sleep(Duration::from_millis(500));
        hitc.kill().unwrap();
        hitc.wait().unwrap();
        let run = self.run(&words[1..]).ok();
        assert!(run.stderr.contains("is usable"), "{run}");
        assert_eq!(self.orders(), 1);
        assert_eq!(self.images(), [usable("base", "web")]);
    }

    /// An order whose response is lost makes one image.
    fn orders_once(&self) {
        self.create(&["name=web"]).ok();
        let path = format!(".*{}.*", self.order.trim_start_matches("POST "));
        let fault = json!([{"method": "POST", "path": path, "kind": "cut", "after": true}]);
        self.cloud.faults(&fault);
        self.run(&["run", "-H", "web", "image.create", "base"]).ok();
        assert_eq!(self.images(), [usable("base", "web")]);
        if self.name != "ec2" {
            let images = self.cloud.get("/_images");
            assert_eq!(images.as_array().unwrap().len(), 1, "{images}");
        }
    }

    /// Another project's image is not listed, used or deleted.
    fn leaves_others_alone(&self) {
        self.create(&["name=web"]).ok();
        self.run(&["run", "-H", "web", "image.create", "base"]).ok();
        let own = self.live.project_id();
        self.live.write("hitc.id", &format!("{:032x}\n", 7));
        assert!(self.images().is_empty());
        let refused = format!("belongs to project {own}");
        for words in [
            &["run", "image.delete", "base"][..],
            &["run", "-H", "web", "--any-owner", "image.create", "base"],
            &["run", "-H", "web", "--any-owner", "terminate", "image=base"],
        ] {
            let run = self.run(words);
            assert!(run.status == 2 && run.stderr.contains(&refused), "{run}");
        }
        let run = self.create(&["name=copy", "image=base"]);
        assert!(run.status == 2 && run.stderr.contains(&refused), "{run}");
        self.live.write("hitc.id", &format!("{own}\n"));
        assert_eq!(self.images(), [usable("base", "web")]);
        assert_eq!(self.servers(), ["web"]);
    }
}

fn usable(name: &str, server: &str) -> (String, String, String) {
    (name.to_owned(), server.to_owned(), "usable".to_owned())
}

#[test]
fn the_whole_way_at_ec2() {
    let place = Place::ec2();
    place.goes_the_whole_way();
    // Nothing is left that costs money.
    let left = "print([s for s in ec2.describe_snapshots(OwnerIds=['self'])['Snapshots'] if 'CreateImage' in s['Description']])";
    assert_eq!(place.cloud.boto(left), "[]");
}

#[test]
fn the_whole_way_at_digitalocean() {
    Place::digitalocean().goes_the_whole_way();
}

#[test]
fn the_whole_way_at_hetzner() {
    Place::hetzner().goes_the_whole_way();
}

#[test]
fn the_whole_way_at_google() {
    Place::gcp().goes_the_whole_way();
}

#[test]
fn a_failed_image_keeps_the_server() {
    for place in [Place::digitalocean(), Place::hetzner(), Place::gcp()] {
        place.keeps_the_server();
    }
}

#[test]
fn a_failed_image_keeps_the_server_at_ec2() {
    let place = Place::ec2();
    place.create(&["name=web", "tags=fails=1"]).ok();
    let run = place.run(&["run", "-H", "web", "terminate", "image=last"]);
    assert!(
        run.status == 1 && run.stderr.contains("the provider could not make it"),
        "{run}"
    );
    assert_eq!(place.servers(), ["web"]);
    let [(name, server, state)] = place.images().try_into().unwrap();
    assert_eq!((&*name, &*server, &*state), ("last", "web", "failed"));
    place.run(&["run", "image.delete", "last"]).ok();
    assert!(place.images().is_empty());
}

/// A name that the account has is not taken for an image of hitc.
#[test]
fn an_ami_that_hitc_did_not_make_is_left_alone() {
    let place = Place::ec2();
    place.create(&["name=web"]).ok();
    let full = place.live.container("base");
    let make = format!(
        "i = ec2.describe_instances()['Reservations'][0]['Instances'][0]['InstanceId']\n\
         print(ec2.create_image(InstanceId=i, Name='{full}')['ImageId'])"
    );
    let ami = place.cloud.boto(&make);
    let run = place.run(&["run", "-H", "web", "image.create", "base"]);
    let text = format!("EC2 has an AMI named `{full}` that hitc did not make");
    assert!(run.status == 2 && run.stderr.contains(&text), "{run}");
    let delete = place.run(&["run", "image.delete", &ami]);
    assert!(
        delete.status != 0 && delete.stderr.contains("not found"),
        "{delete}"
    );
}

#[test]
fn an_interrupted_image_is_finished() {
    for place in [Place::digitalocean(), Place::hetzner(), Place::gcp()] {
        place.finishes();
    }
}

#[test]
fn a_lost_response_makes_one_image() {
    for place in [
        Place::ec2(),
        Place::digitalocean(),
        Place::hetzner(),
        Place::gcp(),
    ] {
        place.orders_once();
    }
}

#[test]
fn images_of_other_projects_are_left_alone() {
    for place in [
        Place::ec2(),
        Place::digitalocean(),
        Place::hetzner(),
        Place::gcp(),
    ] {
        place.leaves_others_alone();
    }
}

/// The tags, the snapshots and the user of an image at EC2.
#[test]
fn an_ami_carries_its_owner_and_user() {
    let place = Place::ec2();
    place.create(&["name=web"]).ok();
    place
        .run(&["run", "-H", "web", "image.create", "base"])
        .ok();
    let said = place.cloud.boto(
        "i = ec2.describe_images(Filters=[{'Name': 'tag:hitc:kind', 'Values': ['image']}])['Images'][0]\n\
         of = lambda tags: {t['Key']: t['Value'] for t in tags}\n\
         d = i['BlockDeviceMappings'][0]['Ebs']['SnapshotId']\n\
         a, s = of(i['Tags']), of(ec2.describe_snapshots(SnapshotIds=[d])['Snapshots'][0]['Tags'])\n\
         print(i['Name'] == a['Name'], a == s, a['hitc:project'], a['hitc:server'], a['hitc:user'])",
    );
    let project = place.live.project_id();
    assert_eq!(said, format!("True True {project} web admin"));
    place.create(&["name=copy", "image=base"]).ok();
    // The user of Debian's image, which the AMI's name does not tell.
    let exec = place.run(&["exec", "-H", "copy", "--", "id -un"]).ok();
    assert_eq!(exec.stdout, "admin\n");
    // Its protection is seen before an image is made.
    place.create(&["name=safe", "protect=true"]).ok();
    let orders = place.orders();
    let safe = place.run(&["run", "-H", "safe", "terminate", "image=last"]);
    assert!(
        safe.status == 2 && safe.stderr.contains("protected: safe"),
        "{safe}"
    );
    assert_eq!(place.orders(), orders);
}

/// A size whose disk or processor does not fit is refused before the order.
#[test]
fn what_does_not_fit_an_image_is_refused() {
    let place = Place::hetzner();
    place.create(&["name=web", "size=cx33"]).ok();
    place
        .run(&["run", "-H", "web", "image.create", "base"])
        .ok();
    let refused = |place: &Place, options: &[&str], text: &str| {
        let run = place.create(&[&["name=copy"], options].concat());
        assert!(run.status == 2 && run.stderr.contains(text), "{run}");
        assert_eq!(place.servers(), ["web"]);
    };
    refused(
        &place,
        &["image=base"],
        "image `base` needs a disk of 80 GB, and size `cx23` has 40 GB",
    );
    refused(
        &place,
        &["image=base", "size=cax11"],
        "image `base` is for x86, and size `cax11` is arm",
    );
    let place = Place::digitalocean();
    place.create(&["name=web", "size=s-2vcpu-4gb"]).ok();
    place
        .run(&["run", "-H", "web", "image.create", "base"])
        .ok();
    refused(
        &place,
        &["image=base"],
        "image `base` needs a disk of 80 GB, and size `s-1vcpu-1gb` has 25 GB",
    );
    refused(
        &place,
        &["image=base", "size=s-2vcpu-4gb", "region=ams3"],
        "image `base` is not available in region `ams3`",
    );
    let place = Place::gcp();
    place.create(&["name=web"]).ok();
    place.run(&["run", "-H", "web", "image.create", "web"]).ok();
    refused(
        &place,
        &["image=web"],
        "image `web` is ambiguous: it is an image of this project",
    );
    place
        .run(&["run", "-H", "web", "image.create", "base"])
        .ok();
    refused(
        &place,
        &["image=base", "size=t2a-standard-1"],
        "image `base` is for X86_64, and the size for ARM64",
    );
    refused(&place, &["image=base", "disk=5"], "disk: 5 GB is too small");
}

/// Control characters cannot reach the terminal, and the output is bounded.
#[test]
fn the_console_is_escaped_and_bounded() {
    let place = Place::gcp();
    place.create(&["name=web"]).ok();
    let text = "a".repeat(300_000) + "\r\nlogin:\u{1b}[2J\u{7}\r\n\tend\r\n";
    let name = place.live.container("web");
    place.cloud.post("/_console", &json!([name, text]));
    let console = place.live.run(&["run", "-H", "web", "console"]).ok();
    assert!(
        console
            .stdout
            .ends_with("a\nlogin:\\x1b[2J\\x07\n\tend\n\n"),
        "{:?}",
        &console.stdout[console.stdout.len() - 60..]
    );
    assert!(console.stdout.len() < 263_000, "{}", console.stdout.len());

    let place = Place::ec2();
    place.create(&["name=web"]).ok();
    let console = place.live.run(&["run", "-H", "web", "console"]).ok();
    assert!(
        console.stdout.contains("Linux version 2.6") && !console.stdout.contains("\\r"),
        "{console}"
    );
}

/// Where there is no console, it is said what to do instead.
#[test]
fn clouds_without_a_console_say_what_to_do() {
    for (place, text) in [
        (
            Place::digitalocean(),
            "open the recovery console: https://cloud.digitalocean.com/droplets/",
        ),
        (Place::hetzner(), "hcloud server request-console"),
    ] {
        place.create(&["name=web"]).ok();
        let run = place.run(&["run", "-H", "web", "console"]);
        assert!(run.status == 2 && run.stderr.contains(text), "{run}");
    }
}

/// A local server's files become a Docker image, without its labels and host keys.
#[test]
fn a_local_server_becomes_an_image() {
    let live = Live::new();
    let run = |words: &[&str]| live.run(&[&["-y"], words].concat());
    run(&["run", "create", "name=web", "protect=true"]).ok();
    let write =
        "echo kept >/srv/mark; su admin -c 'echo x >/home/admin/own'; echo booted >/proc/1/fd/1";
    run(&["exec", "-H", "web", "--", write]).ok();
    let console = run(&["run", "-H", "web", "console"]).ok();
    assert!(console.stdout.contains("booted\n"), "{console}");
    let none = run(&["run", "create", "name=copy", "image=base"]);
    assert!(
        none.status == 2 && none.stderr.contains("image `base` not found"),
        "{none}"
    );
    run(&["run", "-H", "web", "image.create", "base"]).ok();
    let rows = run(&["run", "image.list"]).ok().rows();
    let of = |row: &Vec<String>| [0, 1, 2].map(|at| row[at].clone());
    assert_eq!(
        rows.iter().map(of).collect::<Vec<_>>(),
        [["local", "base", "web"].map(str::to_owned)]
    );
    run(&["run", "create", "name=copy", "image=base"]).ok();
    let read = "cat /srv/mark; stat -c %U /home/admin/own; sudo -u admin sudo id -un; cat /etc/ssh/*.pub | sha256sum";
    let key = |name: &str| run(&["exec", "-H", name, "--", read]).ok().stdout;
    let (web, copy) = (key("web"), key("copy"));
    assert!(copy.starts_with("kept\nadmin\nroot\n"), "{copy}");
    assert_ne!(web, copy);
    // It can be terminated: the first one's protection is not its own.
    run(&["run", "-H", "copy", "terminate", "image=last"]).ok();
    // The image of a server that runs can be deleted, too.
    run(&["run", "create", "name=again", "image=last"]).ok();
    for name in ["base", "last"] {
        run(&["run", "image.delete", name]).ok();
    }
    assert!(run(&["run", "image.list"]).ok().rows().is_empty());
    let read = ["exec", "-H", "again", "--", "cat /srv/mark"];
    assert_eq!(run(&read).ok().stdout, "kept\n");
    // Nothing is left of it then: neither the image nor the commit, with or without a name.
    run(&["run", "-H", "again", "terminate"]).ok();
    for label in ["hitc.server.prefix", "hitc.image.prefix"] {
        let prefix = match label {
            "hitc.server.prefix" => live.container(""),
            _ => live.container("").replace('-', "_2d"),
        };
        let label = format!("label={label}={prefix}");
        assert_eq!(docker(&["images", "-aq", "--filter", &label]), "");
    }
}

/// Servers that hitc does not make have neither.
#[test]
fn unmanaged_servers_have_no_images() {
    let live = Live::new();
    for words in [
        &["run", "-H", "127.0.0.1", "image.create", "base"][..],
        &["run", "-H", "127.0.0.1", "console"],
    ] {
        let run = live.run(&[&["-y"], words].concat());
        assert!(
            run.status == 2 && run.stderr.contains("provider `unmanaged` cannot"),
            "{run}"
        );
    }
}

/// Names of images are not unique at Hetzner.
#[test]
fn two_of_one_name_at_the_same_time() {
    let place = Place::hetzner();
    place
        .run(&["run", "create", "provider=hetzner", "name=web"])
        .ok();
    place.cloud.set(&json!({"create_image": 3}));
    let save = || place.run(&["run", "-H", "web", "image.create", "base"]);
    let runs = std::thread::scope(|scope| {
        let runs = [scope.spawn(save), scope.spawn(save)];
        runs.map(|run| run.join().unwrap())
    });
    for run in runs {
        run.ok();
    }
    let images = place.cloud.get("/_images");
    assert_eq!(images.as_array().unwrap().len(), 1, "{images}");
}
