//! Manifests that are wrong, and how that is said. Nothing is contacted: there is no provider that
//! could be.

use crate::support::{Project, Run};

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
error: server `web`: there is no `contaners`
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
error: container `app`: there is no `prots`
 --> it.yml:4:21
  |
4 |     app: {image: x, prots: [80]}
  |                     ^^^^^
  |
  = help: did you mean `ports`?
",
    );
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
fn a_key_that_does_not_work_yet() {
    plan("web:\n  provider: local\n  firewall: {22: \"*\"}\n").fails(
        2,
        "\
error: server `web`: `firewall` does not work yet
 --> it.yml:3:13
  |
3 |   firewall: {22: \"*\"}
  |             ^
  |
  = help: leave it out; this version of hitc cannot do it
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
error: `${wbe.ip}`: there is no server `wbe`
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
error: `${web.containers.ap.ip}`: there is no container `ap`
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
error: `${web.address}`: there is no field `address`
 --> it.yml:6:25
  |
6 |       environment: {A: \"${web.address}\"}
  |                         ^^^^^^^^^^^^^^
  |
  = help: there is name, ip, internal_ip, id, size, image
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
   = help: one of them must do without the other
",
    );
}

#[test]
fn a_template_that_is_missing() {
    plan("web:\n  template: bsae\ntemplates:\n  base: {provider: local}\n").fails(
        2,
        "\
error: there is no template `bsae`
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
error: templates use each other: t1 → t2 → t1
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
            "error: there is no provider `locla`",
            "error: size: `huge` is no size",
            "error: ports: `99999` is no port number",
        ]
    );
}

#[test]
fn a_name_that_variables_use() {
    plan("host: {provider: local}\n").fails(
        2,
        "\
error: `host` is no name for a server
 --> it.yml:1:1
  |
1 | host: {provider: local}
  | ^^^^
  |
  = help: `${host.…}` is something else in variables
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
        ["error: container `two`: the public port 80 is that of `one` already"]
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
        "error: there is no manifest `prodution`\nhelp: did you mean `production`?\n",
    );
    project
        .run(&["run", "ensemble.plan", "staging"])
        .fails(3, "error: there is no manifest `staging`\n");
}

#[test]
fn no_docker_here() {
    let project = Project::new()
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .file("it.yml", "web: {provider: local}\n");
    let cause = "provider `local`: asking the Docker Engine of this machine: there is no socket \
                 /nowhere/docker.sock\n";
    project
        .run(&["run", "ensemble.plan", "it"])
        .fails(1, &format!("it: looking at what is there\nerror: {cause}"));
    // What is not known is not nothing.
    project
        .run(&["exec", "--all", "--", "true"])
        .fails(1, &format!("error: {cause}error: no server is selected\nhelp: `hitc run nodes` lists the servers there are\n"));
    let nodes = project.run(&["nodes"]);
    assert_eq!(nodes.stderr, format!("warning: {cause}"));
}
