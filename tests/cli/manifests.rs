//! Manifests that are wrong, and how that is said. Nothing is contacted: there is no provider that
//! could be.

use crate::support::{Project, Run};

/// Checks a manifest, which contacts nothing.
fn check(manifest: &str) -> Run {
    Project::new().file("it.yml", manifest).run(&["check"])
}

fn plan(manifest: &str) -> Run {
    Project::new()
        .file("it.yml", manifest)
        .run(&["run", "ensemble.plan", "it"])
}

#[test]
fn not_yaml() {
    plan("web: [1\n").fails(
        2,
        "\
error: unclosed bracket '['
 --> it.yml:1:6
  |
1 | web: [1
  |      ^
",
    );
    plan("- a\n").fails(
        2,
        "\
error: a manifest must be a map, not a list
 --> it.yml:1:1
  |
1 | - a
  | ^
",
    );
}

#[test]
fn an_unknown_key() {
    plan("web:\n  provider: local\n  contaners: {}\n").fails(
        2,
        "\
error: server `web`: unknown option `contaners`
 --> it.yml:3:3
  |
3 |   contaners: {}
  |   ^^^^^^^^^
  |
  = help: did you mean `containers`?
",
    );
    plan("web:\n  provider: local\n  containers:\n    app: {image: x, prots: [80]}\n").fails(
        2,
        "\
error: container `app`: unknown option `prots`
 --> it.yml:4:21
  |
4 |     app: {image: x, prots: [80]}
  |                     ^^^^^
  |
  = help: did you mean `ports`?
",
    );
    // A key of containers in manifests only.
    let container = |text: &str| {
        plan(&format!(
            "web:\n  provider: local\n  containers:\n    app: {text}\n"
        ))
    };
    let run = container("{image: x, dependson: [db]}");
    assert!(run.stderr.contains("did you mean `depends_on`?"), "{run}");
    // A value of that name is no key.
    let run = container("{image: x, restart: counts}");
    assert!(!run.stderr.contains("unknown option"), "{run}");
    assert!(run.stderr.contains("restart"), "{run}");
    // What this version does not support is not suggested.
    let run = container("{image: x, filess: {}}");
    assert!(run.stderr.contains("help: the options are "), "{run}");
    assert!(!run.stderr.contains(", files,"), "{run}");
    plan("web:\n  provider: local\n  containers:\n    app:\n      imgae: x\n").fails(
        2,
        "\
error: container `app`: `image` is missing
 --> it.yml:5:7
  |
5 |       imgae: x
  |       ^^^^^
  |
  = help: is `imgae` meant to be `image`?
",
    );
}

#[test]
fn a_reference_to_what_is_not_there() {
    let manifest = |reference: &str| {
        format!(
            "web:\n  provider: local\n  containers:\n    app:\n      image: x\n      \
             environment: {{A: \"{reference}\"}}\n"
        )
    };
    plan(&manifest("x ${wbe.ip}")).fails(
        2,
        "\
error: `${wbe.ip}`: server `wbe` not found
 --> it.yml:6:27
  |
6 |       environment: {A: \"x ${wbe.ip}\"}
  |                           ^^^^^^^^^
  |
  = help: did you mean `web`?
",
    );
    plan(&manifest("${web.containers.ap.ip}")).fails(
        2,
        "\
error: `${web.containers.ap.ip}`: container `ap` not found
 --> it.yml:6:25
  |
6 |       environment: {A: \"${web.containers.ap.ip}\"}
  |                         ^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: did you mean `app`?
",
    );
    plan(&manifest("${web.address}")).fails(
        2,
        "\
error: `${web.address}`: unknown field `address`
 --> it.yml:6:25
  |
6 |       environment: {A: \"${web.address}\"}
  |                         ^^^^^^^^^^^^^^
  |
  = help: the fields are name, ip, internal_ip, id, size, image
",
    );
    plan(&manifest("${env.HITC_TEST_NOT_SET}")).fails(
        2,
        "\
error: environment variable `HITC_TEST_NOT_SET` is not set
 --> it.yml:6:25
  |
6 |       environment: {A: \"${env.HITC_TEST_NOT_SET}\"}
  |                         ^^^^^^^^^^^^^^^^^^^^^^^^
",
    );
}

#[test]
fn a_cycle_is_printed_whole() {
    let manifest = "\
aa:
  provider: local
  containers:
    one: {image: x, environment: {B: \"${bb.containers.two.ip}\"}}
bb:
  provider: local
  containers:
    two:
      image: x
      environment:
        A: ${aa.containers.one.ip}
";
    plan(manifest).fails(
        2,
        "\
error: servers and containers need each other: bb.two → aa.one → bb.two
  --> it.yml:11:12
   |
11 |         A: ${aa.containers.one.ip}
   |            ^^^^^^^^^^^^^^^^^^^^^^^ `bb.two` needs `aa.one`
   |
  ::: it.yml:4:39
   |
 4 |     one: {image: x, environment: {B: \"${bb.containers.two.ip}\"}}
   |                                       ^^^^^^^^^^^^^^^^^^^^^^^ `aa.one` needs `bb.two`
   |
   = help: remove one of these references
",
    );
}

#[test]
fn a_template_that_is_missing() {
    plan("web:\n  template: bsae\ntemplates:\n  base: {provider: local}\n").fails(
        2,
        "\
error: template `bsae` not found
 --> it.yml:2:13
  |
2 |   template: bsae
  |             ^^^^
  |
  = help: did you mean `base`?
",
    );
    plan("web:\n  template: t1\ntemplates:\n  t1: {template: t2}\n  t2: {template: t1}\n").fails(
        2,
        "\
error: templates form a cycle: t1 → t2 → t1
 --> it.yml:5:18
  |
5 |   t2: {template: t1}
  |                  ^^
",
    );
}

#[test]
fn every_error_not_just_the_first() {
    let run = plan(
        "web:\n  provider: locla\ndb:\n  provider: local\n  size: huge\n  containers:\n    \
         app: {image: x, ports: [99999]}\n",
    );
    assert_eq!(run.status, 2);
    assert_eq!(
        run.errors(),
        [
            "error: provider `locla` not found",
            "error: invalid size `huge`",
            "error: ports: invalid port number `99999`",
        ]
    );
}

#[test]
fn a_name_that_variables_use() {
    plan("host: {provider: local}\n").fails(
        2,
        "\
error: invalid name `host` for a server
 --> it.yml:1:1
  |
1 | host: {provider: local}
  | ^^^^
  |
  = help: `${host.…}` has another meaning in variables
",
    );
}

#[test]
fn a_port_that_is_published_twice() {
    let run = plan(
        "web:\n  provider: local\n  containers:\n    one: {image: x, ports: [80]}\n    \
         two: {image: x, ports: [\"8080:80\"]}\n",
    );
    assert_eq!(run.status, 2, "{run}");
    assert_eq!(
        run.errors(),
        ["error: container `two`: container `one` already publishes port 80"]
    );
    let copies = plan(
        "web:\n  provider: local\n  containers:\n    app: {image: x, count: 2, ports: [80]}\n",
    );
    assert_eq!(copies.errors().len(), 1, "{copies}");
}

#[test]
fn a_manifest_that_is_not_there() {
    let project = Project::new().file("production.yml", "");
    project.run(&["run", "ensemble.plan", "prodution"]).fails(
        3,
        "error: manifest `prodution` not found\nhelp: did you mean `production`?\n",
    );
    project.run(&["run", "ensemble.plan", "staging"]).fails(
        3,
        "error: manifest `staging` not found\nhelp: this folder has: production\n",
    );
    project
        .run(&["run", "ensemble.plan", "other/staging"])
        .fails(3, "error: manifest `other/staging` not found\n");
}

#[test]
fn a_value_with_a_variable_is_checked_by_its_kind() {
    let options = |size: &str| {
        check(&format!(
            "db: {{provider: local, size: 1x512m}}\nweb: {{provider: local, size: {size}}}\n"
        ))
    };
    options("\"${db.size}\"").ok();
    options("\"2x${db.size}\"").ok();
    let app = |fields: &str| {
        check(&format!(
            "web:\n  provider: local\n  containers:\n    app: {{image: x, {fields}}}\n"
        ))
    };
    app("max_memory: \"${web.size}\", cpus: \"${web.size}\", ports: [\"80:${web.size}\"]").ok();
    app("environment: {ALL: $internal_ips, JSON: {all: $servers}}").ok();
    check("web: {provider: local, containers: {app: {image: \"${web.ip}:5000/x\"}}}\n").ok();
    // Errors in other values are found all the same.
    let run = app("max_memory: \"${web.size}\", environment: \"${web.ip}\"");
    assert_eq!(
        run.errors(),
        ["error: environment must be a map, not `${web.ip}`"]
    );
    let run = app("max_memory: \"${web.size}\", prots: [80]");
    assert_eq!(
        run.errors(),
        ["error: container `app`: unknown option `prots`"]
    );
}

#[test]
fn keys_that_take_no_variables() {
    check("web: {provider: local, count: \"${env.N}\"}\n").fails(
        2,
        "\
error: count cannot contain variables
 --> it.yml:1:31
  |
1 | web: {provider: local, count: \"${env.N}\"}
  |                               ^^^^^^^^^^
  |
  = help: it is needed before any variable is known: write the value
",
    );
    for line in [
        "web: {provider: \"${env.N}\", containers: {}}",
        "web: {provider: local, template: \"${env.N}\"}",
        "web: {provider: local, containers: {app: {image: x, count: $servers}}}",
    ] {
        let run = check(line);
        assert!(
            run.errors()[0].ends_with(" cannot contain variables"),
            "{run}"
        );
    }
}

#[test]
fn an_item_of_a_list() {
    let manifest = |reference: &str| {
        check(&format!(
            "web:\n  provider: local\n  containers:\n    app: {{image: x, ports: [80]}}\n    \
             bb: {{image: x, environment: {{P: \"{reference}\"}}}}\n"
        ))
    };
    manifest("${host.containers.app.ports[0]}").ok();
    manifest("${web.containers.app.ports[1]}").fails(
        2,
        "\
error: `${web.containers.app.ports[1]}`: index 1 is out of range: container `app` has 1 port
 --> it.yml:5:38
  |
5 |     bb: {image: x, environment: {P: \"${web.containers.app.ports[1]}\"}}
  |                                      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: the first one has the index 0
",
    );
    let run = manifest("${web.containers.app.ip[0]}");
    assert_eq!(
        run.errors(),
        ["error: invalid variable `${web.containers.app.ip[0]}`"]
    );
}

/// Each error once, in the words of the manifest, with an excerpt that fits the terminal.
#[test]
fn values_of_another_kind() {
    let errors = |option: &str| {
        let run = plan(&format!(
            "web:\n  provider: local\n  containers:\n    app:\n      image: x\n      {option}\n"
        ));
        assert_eq!(run.status, 2, "{run}");
        run.stderr
    };
    for (option, message, marked, help) in [
        (
            "command: null",
            "command must be text, not nothing",
            "null",
            "",
        ),
        (
            "command: sh -c \"a",
            "command: unclosed quote",
            "sh -c \"a",
            "",
        ),
        (
            "command: &a [*a]",
            "alias refers to the value that contains it",
            "*",
            "",
        ),
        (
            "cpus: .inf",
            "cpus: invalid number of processors `.inf`",
            ".inf",
            "  |\n  = help: write 2 or 0.5\n",
        ),
    ] {
        let before = option.find(marked).unwrap();
        let (column, space) = (7 + before, " ".repeat(before));
        let carets = "^".repeat(marked.len());
        let expected = format!(
            "error: {message}\n --> it.yml:6:{column}\n  |\n6 |       {option}\n  |       {space}{carets}\n{help}"
        );
        assert_eq!(errors(option), expected);
    }
    let long = errors(&format!("cpus: {}", "9".repeat(5_000_000)));
    assert!(long.len() < 5000, "{} bytes", long.len());
    let message = "error: cpus: invalid number of processors `99999";
    assert!(long.starts_with(message), "{long}");
}

/// The names that the task `create` refuses, too.
#[test]
fn invalid_names() {
    let run = check(
        "\"../x\": {provider: local}\n\"::1\": {provider: local}\nhost:22:33: {containers: {}}\n\
         a.b: {provider: local}\n10.0.0.256: {containers: {}}\n\"a\\n- b\": {provider: local}\n",
    );
    assert_eq!(
        run.errors(),
        [
            "error: invalid name `../x` for a server",
            "error: invalid name `::1` for a server of `local`",
            "error: invalid name `host:22:33` for a server",
            "error: invalid name `a.b` for a server of `local`",
            "error: invalid name `10.0.0.256` for a server",
            "error: invalid name `a\\n- b` for a server",
        ]
    );
    check("10.0.0.1: {containers: {}}\n\"root@web.example.com:22\": {containers: {}}\n").ok();
}

#[test]
fn labels_of_hitc() {
    for label in [
        "hitc.project",
        "hitc.manifest",
        "hitc.spec",
        "hitc.keys",
        "hitc.name",
    ] {
        let run = check(&format!(
            "web: {{provider: local, containers: {{app: {{image: x, labels: {{{label}: a}}}}}}}}\n"
        ));
        let expected = format!("error: labels: `{label}` is reserved");
        assert_eq!(run.errors(), [expected]);
    }
}

#[test]
fn a_template_for_all_containers() {
    check(
        "web:\n  provider: local\n  containers:\n    template: app\n    one:\n    \
         two: {ports: [80]}\ntemplates:\n  app: {image: x}\n",
    )
    .ok();
}

#[test]
fn protect_is_an_option_of_the_provider() {
    check("web: {provider: local, protect: true}\n").ok();
    let run = check("web: {provider: local, protect: 5}\n");
    assert_eq!(
        run.errors(),
        ["error: protect must be true or false, not `5`"]
    );
}

#[test]
fn files_that_are_not_manifests() {
    let project = Project::new().file("folder/x.txt", "");
    std::os::unix::fs::symlink("nowhere", project.root().join("link.yml")).unwrap();
    let plan = |name: &str| project.run(&["run", "ensemble.plan", name]);
    plan("folder").fails(2, "error: manifest `folder`: is a directory\n");
    plan("link").fails(2, "error: manifest `link.yml`: broken symbolic link\n");
}

#[test]
fn a_key_that_would_forge_a_line_of_a_plan() {
    let run = check(
        "web: {provider: local, containers: {app: {image: x, environment: {\"A\\n- b\": y}}}}\n",
    );
    assert_eq!(run.errors(), ["error: invalid key `A\\n- b`"]);
}

#[test]
fn files_are_known_before_servers_are() {
    let run = check(
        "web: {provider: local, containers: {app: {image: x, env_file: [\"${web.ip}.env\"]}}}\n",
    );
    assert_eq!(run.errors(), ["error: env_file cannot contain `${web.ip}`"]);
}

#[test]
fn a_byte_order_mark_is_ignored() {
    check("\u{feff}web: {provider: local}\n").ok();
}

#[test]
fn no_docker_here() {
    let project = Project::new()
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .file("it.yml", "web: {provider: local}\n");
    let cause = "provider `local`: asking the Docker Engine of this machine: socket \
                 /nowhere/docker.sock not found\n";
    project
        .run(&["run", "ensemble.plan", "it"])
        .fails(1, &format!("it: observing\nerror: {cause}"));
    // What is not known is not nothing.
    project
        .run(&["exec", "--all", "--", "true"])
        .fails(1, &format!("error: {cause}"));
    let nodes = project.run(&["nodes"]);
    assert_eq!(nodes.stderr, format!("warning: {cause}"));
}

#[test]
fn firewalls_that_are_probably_not_meant() {
    let project = Project::new().file(
        "it.yml",
        "\
web:
  provider: local
  firewall:
    80: \"*\"
    443: \"*\"
    6379: \"*\"
    22: 10.0.0.0/8
    \"*/udp\": 10.0.0.1
  containers:
    app: {image: \"app:1\", ports: [80, 8080, 53/udp, \"9000:localhost:9000\"], environment: {DB: \"${db.ip}\"}}
    cache: {image: \"example.com/library/redis:7\", ports: [6379]}
db:
  provider: ec2
  size: t3.micro
  firewall:
    5432: $internal_ips
  containers:
    db: {image: postgres, ports: [5432], environment: {OWN: \"${host.ip}\"}}
",
    );
    let checked = project.run(&["check"]).ok();
    let expected = "\
warning: it.yml: container `web.app` publishes port 8080/tcp, and no rule of the firewall opens it
warning: it.yml: container `web.cache` (redis) is open to everyone on port 6379/tcp: name who may connect, such as $internal_ips
warning: it.yml: the firewall of `web` opens 443/tcp, and no container publishes it: only a program of the server can answer
warning: it.yml: container `web.app` uses `${db.ip}`, and the firewall of `db` admits $internal_ips: with the public address, packets come from a public one; write `${db.internal_ip}`
";
    assert!(checked.stderr.starts_with(expected), "{checked}");
}

#[test]
fn addresses_of_containers_elsewhere() {
    let project = Project::new().file(
        "it.yml",
        "\
web:
  provider: local
  containers:
    app: {image: \"app:1\", environment: {DB: \"${db.containers.db.ip}\", N: \"${db.containers.db.name}\"}}
    near: {image: \"app:1\", environment: {APP: \"${web.containers.app.ip} ${host.containers.app.ip}\"}}
    spans: {image: \"app:1\", environment: {WIDE: \"${db.containers.wide.ip}\"}}
db:
  provider: local
  containers:
    db: {image: mine}
    wide: {image: mine, networks: [overlay]}
",
    );
    let warning = "warning: it.yml: container `web.app` uses `${db.containers.db.ip}`, which only `db` can \
                   reach: publish a port of `db.db` and write `${db.internal_ip}`, or to only wait for it \
                   `depends_on: [db.db]`\n";
    let checked = project.run(&["check"]).ok();
    assert_eq!(
        checked.stderr,
        format!("{warning}0 scripts, 1 manifest: no errors found\n")
    );
}

/// Docker writes the public port first. A port that `ready` asks tells which one is meant.
#[test]
fn ports_in_dockers_order() {
    let project = Project::new().file(
        "it.yml",
        "\
web:
  provider: local
  containers:
    app: {image: \"app:1\", ports: [\"80:8000\"], ready: {http: /, port: 8000}}
    admin: {image: \"app:1\", ports: [8080, 53/udp], ready: {tcp: 81}}
    fine: {image: \"app:1\", ports: [\"8000:81\", 9000], ready: {tcp: 8000}}
    inner: {image: \"app:1\", ready: {tcp: 8000}}
    later: {image: \"app:1\", ports: [\"8000:${web.ip}:82\"], ready: {tcp: 8000}}
",
    );
    let checked = project.run(&["check"]).ok();
    let expected = "\
warning: it.yml: container `web.app`: `ready` asks port 8000, and `ports` publishes the container's port 80 as 8000: the container's port comes first, `8000:80`
warning: it.yml: container `web.admin`: `ready` asks port 81, and `ports` publishes 8080
0 scripts, 1 manifest: no errors found
";
    assert_eq!(checked.stderr, expected, "{checked}");
}

#[test]
fn errors_in_firewalls() {
    let project = Project::new().file(
        "it.yml",
        "web:\n  provider: local\n  firewall:\n    http: \"*\"\n    80: example.com\n    81: ${env.NOBODY_SET_THIS}\n",
    );
    let checked = project.run(&["check"]);
    for expected in [
        "firewall of `web`: invalid port `http`: ports are from 1 to 65535",
        "environment variable `NOBODY_SET_THIS` is not set",
        "it.yml:4:5",
    ] {
        assert!(checked.stderr.contains(expected), "{expected}: {checked}");
    }
}
