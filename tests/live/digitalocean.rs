//! DigitalOcean, played by a server of our own whose every exchange fits DigitalOcean's contract.

use serde_json::json;

use crate::support::{cloud::Cloud, live::Live};

/// From the order to the end, with real servers behind the droplets.
#[test]
fn the_whole_way() {
    let (cloud, live) = Cloud::digitalocean(Live::new(), true);
    let create = [
        "run",
        "create",
        "provider=digitalocean",
        "name=web",
        "count=2",
    ];
    // Nobody is there to say yes.
    let run = live.run(&create);
    assert_eq!(run.status, 2, "{run}");
    assert!(
        run.stderr
            .contains("2 servers at digitalocean: 0.0179 USD an hour, 12.00 USD a month"),
        "{run}"
    );
    assert!(!cloud.log().iter().any(|line| line == "POST /v2/droplets"));
    let dry = live.run(&[&["-n"], &create[..]].concat()).ok();
    assert!(
        dry.stderr
            .contains("would create 2 servers: web, web-1 (0.0179 USD"),
        "{dry}"
    );

    let run = live.run(&[&["-y"], &create[..]].concat()).ok();
    let rows = run.rows();
    let states: Vec<(&str, &str)> = rows
        .iter()
        .map(|r| (r[1].as_str(), r[5].as_str()))
        .collect();
    assert_eq!(states, [("web", "running"), ("web-1", "running")], "{run}");
    assert!(
        run.stderr.contains("to log in: hitc run -H web ssh"),
        "{run}"
    );
    let exec = live.run(&["exec", "-R", "web", "--", "echo in"]).ok();
    assert_eq!(exec.stdout.matches("] in\n").count(), 2, "{exec}");

    // The same order again creates no second server.
    let again = live.run(&["-y", "run", "create", "provider=digitalocean", "name=web"]);
    assert_eq!(again.status, 2, "{again}");
    assert!(
        again.stderr.contains("server `web` already exists"),
        "{again}"
    );

    live.run(&["run", "-H", "web-1", "docker.setup"]).ok();
    let run = ["run", "-H", "web-1", "docker.push", "hitc/debian:13"];
    live.run(&run).ok();
    live.run(&[
        "run",
        "-H",
        "web-1",
        "docker.run",
        "hitc/debian:13",
        "name=sleeper",
        "command=sleep 600",
        "pull=never",
    ])
    .ok();
    let ps = live.run(&["run", "-H", "web-1", "docker.ps"]).ok();
    assert!(ps.stdout.contains("sleeper"), "{ps}");

    live.run(&["-y", "run", "-R", "web", "terminate"]).ok();
    assert!(live.run(&["nodes"]).ok().rows().is_empty());
    assert_eq!(cloud.violations(), json!([]));
}

#[test]
fn prices() {
    let (cloud, live) = Cloud::digitalocean(Live::new(), false);
    let run = live
        .run(&[
            "run",
            "pricing",
            "provider=digitalocean",
            "filter=s-1",
            "region=ams3",
        ])
        .ok();
    assert_eq!(
        run.stdout,
        "size                memory  cores  disk  transfer  cost\n\
         s-1vcpu-512mb-10gb  0.5     1      10    0.5       0.00595\n\
         s-1vcpu-1gb         1       1      25    1         0.00893\n\
         s-1vcpu-2gb         2       1      50    2         0.01786\n"
    );
    assert_eq!(run.stderr, "digitalocean: USD an hour\n");
    // Less than its hours.
    let month = [
        "run",
        "pricing",
        "--month",
        "sort=memory",
        "filter=c-",
        "provider=digitalocean",
        "region=ams3",
    ];
    let run = live.run(&month).ok();
    assert_eq!(
        run.stdout,
        "size  memory  cores  disk  transfer  cost\nc-2   4       2      25    4         42\n"
    );
    // Of all providers that have prices.
    let run = live.run(&["run", "pricing", "filter=s-2"]).ok();
    assert!(run.stdout.contains("s-2vcpu-4gb"), "{run}");
    assert_eq!(cloud.violations(), json!([]));
}

/// By doctl's configuration, and with a private network.
#[test]
fn by_doctl() {
    let (cloud, live) = Cloud::digitalocean(Live::new(), true);
    let folder = live.home().join(".config/doctl");
    std::fs::create_dir_all(&folder).unwrap();
    let config = "access-token: wrong\ncontext: work\nauth-contexts:\n  work: test-token\n";
    std::fs::write(folder.join("config.yaml"), config).unwrap();
    let live = live.env("DIGITALOCEAN_TOKEN", "");
    let vpc = "760e09ef-dc84-11e8-981e-3cfdfeaae000";
    live.run(&[
        "-y",
        "run",
        "create",
        "provider=digitalocean",
        "name=web",
        "monitoring=false",
        "tags=team:web",
        &format!("vpc={vpc}"),
    ])
    .ok();
    let order = cloud.get("/_orders")[0].clone();
    assert_eq!(
        (&order["vpc_uuid"], &order["monitoring"]),
        (&json!(vpc), &json!(false))
    );
    assert!(
        order["tags"]
            .as_array()
            .unwrap()
            .contains(&json!("team:web"))
    );
    let live = live.env("DIGITALOCEAN_CONTEXT", "wrok");
    let run = live.run(&["-y", "run", "create", "provider=digitalocean", "name=x"]);
    assert!(
        run.status == 2 && run.stderr.contains("context `wrok` not found"),
        "{run}"
    );
    assert_eq!(cloud.violations(), json!([]));
}

/// Before anything is created.
#[test]
fn what_cannot_be_is_said() {
    let (cloud, live) = Cloud::digitalocean(Live::new(), false);
    let create = |options: &[&str]| {
        let words = ["-y", "run", "create", "provider=digitalocean"];
        live.run(&[&words[..], options].concat())
    };
    for (options, error) in [
        (
            vec!["name=x", "count=0"],
            "error: count must be from 1 to 1000, not 0\n",
        ),
        (
            vec!["name=x", "regoin=ams3"],
            "error: provider `digitalocean`: unknown option `regoin`\nhelp: did you mean `region`?\n",
        ),
        (
            vec!["name=x", "size=s-1vcpu-1bg"],
            "error: size `s-1vcpu-1bg` not found\nhelp: did you mean `s-1vcpu-1gb`?\n",
        ),
        (
            vec!["name=x", "region=ams4"],
            "error: region `ams4` not found\nhelp: did you mean `ams3`?\n",
        ),
        (
            vec!["name=x", "size=c-2"],
            "error: size `c-2` is not available in region `nyc3`\nhelp: it is available in ams3\n",
        ),
        (
            vec!["name=x", "image=ubuntu 24.05"],
            "error: image `ubuntu-24-05-x64` not found\nhelp: did you mean `ubuntu-24-04-x64`?\n",
        ),
        (
            vec!["name=a_b"],
            "error: invalid server name `a_b`\nhelp: use letters, digits and dashes, 50 at most\n",
        ),
    ] {
        let run = create(&options);
        assert_eq!(run.status, 2, "{run}");
        let said = run
            .stderr
            .lines()
            .filter(|line| line.starts_with("error") || line.starts_with("help"));
        let said: String = said.flat_map(|line| [line, "\n"]).collect();
        assert_eq!(said, error, "{options:?}: {run}");
    }
    assert!(!cloud.log().iter().any(|line| line.starts_with("POST")));
    let live = live.env("DIGITALOCEAN_TOKEN", "");
    let run = live.run(&["-y", "run", "create", "provider=digitalocean", "name=x"]);
    assert_eq!(run.status, 2, "{run}");
    assert!(run.stderr.contains("not configured") && run.stderr.contains("DIGITALOCEAN_TOKEN"));
}

/// Of another prefix, without our tag, protected; and more than a page has.
#[test]
fn what_is_ours() {
    let (cloud, live) = Cloud::digitalocean(Live::new(), false);
    let prefix = live.container("");
    let name = |name: &str| format!("{prefix}{name}");
    let mut droplets = vec![
        json!([name("mine"), ["hitc"]]),
        json!(["OTHER-web", ["hitc"]]),
        json!([name("untagged"), []]),
        json!([name("safe"), ["hitc", "hitc:protect"]]),
    ];
    for n in 0..450 {
        droplets.push(json!([name(&format!("n-{n}")), ["hitc"]]));
    }
    cloud.post("/_droplets", &json!(droplets));
    // They carry no project, as those of versions without project ids.
    assert_eq!(live.run(&["nodes"]).ok().rows().len(), 0);
    let rows = live.run(&["nodes", "--any-owner"]).ok().rows();
    assert_eq!(rows.len(), 452);
    assert_eq!(rows.iter().filter(|row| row[1] == "mine").count(), 1);
    assert!(
        !rows
            .iter()
            .any(|row| row[1].contains("web") || row[1] == "untagged")
    );
    let run = live.run(&[
        "-y",
        "run",
        "-H",
        "safe",
        "-H",
        "mine",
        "--any-owner",
        "terminate",
    ]);
    assert_eq!(run.status, 2, "{run}");
    assert!(
        run.stderr
            .contains("protected: safe; nothing was terminated"),
        "{run}"
    );
    assert!(!cloud.log().iter().any(|line| line.starts_with("DELETE")));
}

/// A droplet that lost the tags by which hitc recognizes it exists, and still costs money.
#[test]
fn a_droplet_without_tags_is_not_gone() {
    let (cloud, live) = Cloud::digitalocean(Live::new(), false);
    let (name, project) = (live.container("web"), live.project_id());
    let owner = format!("hitc:project:{project}");
    let tags = json!([[name, ["hitc", owner]]]);
    cloud.post("/_droplets", &tags);
    let terminate = ["-y", "run", "-H", "web", "terminate"];
    for (left, cause) in [
        (json!([owner]), "exists, but its tag `hitc` is missing"),
        (json!(["hitc"]), "the tag that names its owner is missing"),
        (
            json!(["hitc", owner, "hitc:prefix:x"]),
            "exists, but its tag for the prefix says `x`",
        ),
    ] {
        cloud.post("/_tags", &tags);
        // Keeps the list.
        assert_eq!(live.run(&["nodes"]).ok().rows().len(), 1);
        cloud.post("/_tags", &json!([[name, left]]));
        let run = live.run(&terminate);
        assert!(
            run.status == 1
                && run.stderr.contains(cause)
                && run.stderr.contains("nothing was done to it"),
            "{run}"
        );
    }
    assert!(!cloud.log().iter().any(|line| line.starts_with("DELETE")));
    // One that is gone is.
    cloud.post("/_tags", &tags);
    live.write(
        "hitcfile.rhai",
        "/// T.\nfn twice(host) { provider::terminate([host]); provider::terminate([host]); }\n",
    );
    live.run(&["-y", "run", "-H", "web", "twice"]).ok();
    assert!(live.run(&["nodes"]).ok().rows().is_empty());
    assert_eq!(cloud.violations(), json!([]));
}

/// A droplet cannot get a size that does not exist: the plan says so, before anything is touched.
#[test]
fn an_unknown_size_is_refused_while_planning() {
    let (cloud, live) = Cloud::digitalocean(Live::new(), true);
    live.write("it.yml", "web: {provider: digitalocean}\n");
    live.run(&["-y", "run", "ensemble.up", "it"]).ok();
    live.write(
        "it.yml",
        "web: {provider: digitalocean, size: s-99vcpu-1gb}\nnew: {provider: digitalocean}\n",
    );
    let changes = || {
        let log = cloud.log();
        log.iter().filter(|line| !line.starts_with("GET")).count()
    };
    let before = changes();
    let run = live.run(&["-y", "run", "ensemble.up", "it"]);
    assert!(
        run.status != 0
            && run
                .stderr
                .contains("server `web` cannot be resized: size `s-99vcpu-1gb` not found"),
        "{run}"
    );
    assert_eq!(changes(), before);
    assert_eq!(cloud.violations(), json!([]));
}

/// A firewall of the account is not changed.
#[test]
fn rules_that_a_firewall_lacks() {
    let (cloud, live) = Cloud::digitalocean(Live::new(), true);
    live.run(&["-y", "run", "create", "provider=digitalocean", "name=web"])
        .ok();
    let image = super::docker_commands::image(&live);
    live.run(&["run", "-H", "web", "docker.push", image]).ok();
    let run = |name: &str, ports: &str| {
        let (name, ports) = (format!("name={name}"), format!("ports={ports}"));
        let run = ["run", "-H", "web", "docker.run", image, &name, &ports];
        live.run(&run).ok().stderr
    };
    // Without a firewall everything gets through.
    let first = run("first", "80");
    assert!(!first.contains("does not admit"), "{first}");
    let rule = |ports: &str, sources: &serde_json::Value| json!({ "protocol": "tcp", "ports": ports, "sources": sources });
    let everywhere = json!({ "addresses": ["0.0.0.0/0", "::/0"] });
    let rules = [
        rule("22", &everywhere),
        rule("8000-8100", &everywhere),
        rule("0", &json!({ "tags": ["web"] })),
    ];
    let firewall = json!({ "id": "1", "name": "edge", "inbound_rules": rules });
    cloud.post("/_firewall", &firewall);
    let second = run("second", "8080,443");
    let lacking = |port: &str| {
        format!(
            "warning: server `web`: firewall `edge` at digitalocean does not admit {port} from *: add the \
             rule there\n"
        )
    };
    assert!(second.contains(&lacking("80/tcp")), "{second}");
    assert!(second.contains(&lacking("443/tcp")), "{second}");
    assert_eq!(second.matches("does not admit").count(), 2, "{second}");
    // An `up` that changes nothing says so too.
    live.write("shop.yml", "web:\n  provider: digitalocean\n");
    let up = live.run(&["-y", "run", "ensemble.up", "shop", "adopt=web"]);
    let again = live.run(&["-y", "run", "ensemble.up", "shop"]).ok();
    assert!(again.stderr.contains(&lacking("443/tcp")), "{up}{again}");
    assert!(again.stderr.contains("is up to date"), "{again}");
}
