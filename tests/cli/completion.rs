//! Shell completion: what is offered, and the shells themselves, on a terminal.

use std::time::{Duration, Instant};

use crate::support::Project;

const HITCFILE: &str = "import \"tasks/db\" as db;\n\
    /// Twice.\n/// @param n = 1  a number\n/// @param loud = false\nfn twice(n, loud) { n * 2 }\n\
    /// Ship it.\n/// @param from  a file\n/// @param tag = \"\"\n/// @confirm \"Ship?\"\n\
    fn ship(host, from, tag) { print(from) }\n\
    /// Show.\n/// @param manifest  it\nfn show(manifest) { print(`manifest ${manifest}`) }\n\
    /// Out.\n/// @param output = \"\"\nfn out(output) { print(output) }\n";

fn project() -> Project {
    Project::new()
        .file("hitcfile.rhai", HITCFILE)
        .file("tasks/db.rhai", "/// B.\nfn backup() { \"saved\" }\n")
        .file("shop.yml", "web:\n  provider: local\n")
        .file("staging/shop.yml", "web:\n  provider: local\n")
        .file("compose.yml", "services: {}\n")
        .file("my notes.txt", "")
        .file(
            "unmanaged_servers.txt",
            "10.0.0.1 web\n10.0.0.2 web-1\n10.0.0.3 db\n",
        )
}

/// Returns what fish would offer for the last word.
fn complete(project: &mut Project, words: &[&str]) -> Vec<String> {
    project.set("COMPLETE", "fish");
    let run = project.run(&[&["--", "hitc"], words].concat()).ok();
    assert_eq!(run.stderr, "");
    let values = run
        .stdout
        .lines()
        .map(|line| line.split('\t').next().unwrap());
    values.map(str::to_owned).collect()
}

#[test]
fn tasks_and_their_parameters() {
    let mut project = project();
    let mut is = |words: &[&str], expected: &[&str]| {
        assert_eq!(complete(&mut project, words), expected, "{words:?}");
    };
    is(&["tw"], &["twice"]);
    is(&["run", "db"], &["db.backup"]);
    is(&["twice", ""], &["n=", "loud=true", "loud=false"]);
    is(&["run", "twice", "n=2", "l"], &["loud=true", "loud=false"]);
    is(&["twice", "loud="], &["loud=true", "loud=false"]);
    is(&["twice", "--loud=t"], &["--loud=true"]);
    is(&["twice", "--lo"], &["--loud"]);
    is(&["twice", ":::", "db"], &["db.backup"]);
    is(&["create", "prov"], &["provider="]);
    is(&["create", "provider=l"], &["provider=local"]);
    is(&["ship", "--from", "sh"], &["shop.yml"]);
    is(&["ship", "my"], &["my notes.txt"]);
    is(&["ship", "x", "my"], &[]);
    is(&["ship", "from=st"], &["from=staging/"]);
    is(&["ship", "x", "./ta"], &["./tasks/"]);
    is(&["ship", "x", "tag=./ta"], &["tag=./tasks/"]);
}

/// A flag is offered where it is understood, and only there.
#[test]
fn flags_and_their_values() {
    let mut project = project();
    let mut is = |words: &[&str], expected: &[&str]| {
        assert_eq!(complete(&mut project, words), expected, "{words:?}");
    };
    is(&["--y"], &["--yes"]);
    is(&["ship", "--y"], &["--yes"]);
    is(&["ship", "-H", "web", "x", "--dr"], &["--dry-run"]);
    is(&["ship", "-o", "f"], &["fold"]);
    is(&["-o", "j"], &["json"]);
    is(&["--output=g"], &["--output=group"]);
    // A parameter of this name: its values are free.
    is(&["out", "--output", "j"], &[]);
    is(&["out", "--ou"], &["--output"]);
    // They come before the task, or belong to the command.
    is(&["ship", "--dir"], &[]);
    is(&["--dir"], &["--directory"]);
    is(&["tasks", "--dir"], &["--directory"]);
    is(&["exec", "-H", "web", "ls", "--y"], &[]);
    is(&["exec", "--y"], &["--yes"]);
    is(&["ship", "--", "--y"], &[]);
    // An option of the server that is created is as likely.
    is(&["create", "--us"], &[]);
    is(&["tasks", "--so"], &["--sort"]);
    is(&["-C", "st"], &["staging/"]);
    is(&["-f", "hi"], &["hitcfile.rhai"]);
    is(&["-C", "tasks", "twi"], &["twice"]);
    is(&["-f", "tasks/db.rhai", "back"], &["backup"]);
}

#[test]
fn what_subcommands_take() {
    let mut project = project();
    let mut is = |words: &[&str], expected: &[&str]| {
        assert_eq!(complete(&mut project, words), expected, "{words:?}");
    };
    is(
        &["source", "docker.p"],
        &["docker.ps", "docker.prune", "docker.pull", "docker.push"],
    );
    is(&["help", "twi"], &["twice"]);
    is(&["help", "comp"], &["completions"]);
    is(&["help", "iptables:"], &["iptables::"]);
    is(&["help", "std/d"], &["std/deploy"]);
    is(&["eject", "d"], &["docker"]);
    is(&["eject", "docker", ""], &[]);
    is(&["completions", "b"], &["bash"]);
}

#[test]
fn tests_and_their_names() {
    let mut project = project()
        .file("tests/shop.rhai", "fn sells() {}\nfn stores() {}\n")
        .file("tests/more/cart.rhai", "fn fills() {}\n");
    let mut is = |words: &[&str], expected: &[&str]| {
        assert_eq!(complete(&mut project, words), expected, "{words:?}");
    };
    is(&["test", ""], &["tests/more/cart.rhai", "tests/shop.rhai"]);
    is(&["test", "tests/s"], &["tests/shop.rhai"]);
    is(&["test", "tests/shop.rhai", "t"], &["tests/more/cart.rhai"]);
    is(&["test", "-k", "shop"], &["shop.sells", "shop.stores"]);
    is(
        &["test", "tests/shop.rhai", "-k", "shop.st"],
        &["shop.stores"],
    );
    is(
        &["test", "-k", "shop.sells", "tests/s"],
        &["tests/shop.rhai"],
    );
    is(&["test", "--q"], &["--quiet"]);
    assert!(complete(&mut project, &["test", "-"]).contains(&"-k".to_owned()));
    // What is offered is accepted.
    project.set("COMPLETE", "");
    let run = project.run(&["test", "tests/shop.rhai", "-k", "shop.stores"]);
    assert_eq!(run.status, 0, "{run}");
}

/// The names in the manifest that is given before.
#[test]
fn names_in_manifests() {
    let mut project = project().file(
        "shop.yml",
        "web:\n  template: web\n  containers:\n    shop: {image: shop}\n\
         db: {provider: local, count: 2, containers: {redis: {image: redis, count: 2}}}\n\
         templates:\n  web: {provider: local, containers: {template: small, cart: {image: cart}}}\n  \
         small: {cpus: 1}\n",
    );
    let mut is = |words: &[&str], expected: &[&str]| {
        assert_eq!(complete(&mut project, words), expected, "{words:?}");
    };
    let web = ["only=web", "only=web.cart", "only=web.shop"];
    is(&["ensemble.up", "shop", "only=w"], &web);
    is(&["ensemble.up", "manifest=shop", "only=w"], &web);
    is(&["ensemble.plan", "--manifest", "shop.yml", "only=w"], &web);
    is(
        &["ensemble.up", "shop", "only=web.shop,d"],
        &["only=web.shop,db", "only=web.shop,db.redis"],
    );
    is(&["ensemble.up", "shop", "--only", "db."], &["db.redis"]);
    is(&["ensemble.up", "shop", "replace=w"], &["replace=web"]);
    is(&["ensemble.up", "shop", "adopt=a"], &["adopt=all"]);
    is(&["ensemble.up", "staging/shop", "only=w"], &["only=web"]);
    // Without a manifest, of the only one: here are two.
    is(&["ensemble.up", "only=w"], &[]);
}

#[test]
fn manifests() {
    let mut project = project();
    let offered = complete(&mut project, &["ensemble.up", "s"]);
    assert_eq!(offered, ["shop", "staging/"]);
    assert_eq!(
        complete(&mut project, &["ensemble.up", "staging/"]),
        ["staging/shop"]
    );
    assert_eq!(
        complete(&mut project, &["ensemble.up", "manifest=sh"]),
        ["manifest=shop"]
    );
    // That of another program.
    assert_eq!(
        complete(&mut project, &["ensemble.up", "com"]),
        [] as [&str; 0]
    );
}

/// Names come from the last listing: no provider is contacted.
#[test]
fn hosts_and_roles() {
    let mut project = project();
    project.run(&["nodes"]).ok();
    project.write("unmanaged_servers.txt", "this is wrong\n");
    let mut is = |words: &[&str], expected: &[&str]| {
        assert_eq!(complete(&mut project, words), expected, "{words:?}");
    };
    is(&["exec", "-H", "db,w"], &["db,web", "db,web-1"]);
    is(&["ship", "-H", "web,w"], &["web,web-1"]);
    is(&["-R", "w"], &["web"]);
    is(&["--hosts=d"], &["--hosts=db"]);
    is(&["ship", "--limit", "w"], &["web", "web-1"]);
}

/// With an invalid hitcfile, only subcommands are completed, and no error is shown. One that never ends
/// does not hang the shell.
#[test]
fn a_broken_project_offers_its_subcommands() {
    let mut broken = Project::new().file("hitcfile.rhai", "fn (");
    assert_eq!(complete(&mut broken, &["exe"]), ["exec"]);
    let mut endless = Project::new().file("hitcfile.rhai", "loop {}\n/// X.\nfn x() {}\n");
    let started = Instant::now();
    assert_eq!(complete(&mut endless, &["exe"]), ["exec"]);
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn scripts_for_shells() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = Project::new().run(&["completions", shell]).ok();
        assert!(run.stdout.contains("COMPLETE"), "{shell}: {run}");
    }
    let run = Project::new().run(&["completions", "tcsh"]);
    assert_eq!(run.status, 2, "{run}");
}

/// Installs a shell on this machine if it is missing.
fn install(shell: &str) {
    let line = format!(
        "command -v {shell} || $(test \"$(id -u)\" = 0 || echo sudo -n) sh -c 'apt-get update -qq && \
         DEBIAN_FRONTEND=noninteractive apt-get install -qqy {shell}' >/dev/null"
    );
    let installed = std::process::Command::new("sh")
        .args(["-c", &line])
        .output()
        .unwrap();
    assert!(installed.status.success(), "{installed:?}");
}

/// Types lines with tabs into a shell, and presses enter: the completed command runs.
fn in_shell(start: &str, ready: &str) {
    let project = project();
    project.run(&["nodes"]).ok();
    let line = format!("mkdir bin; ln -s $HITC bin/hitc; PATH=$PWD/bin:$PATH; {start}");
    let mut terminal = project.terminal(&line);
    terminal.wait_for(ready);
    for (typed, shown) in [
        // A task, its parameter, and its value.
        ("hitc twi\tlou\tf\t && echo do''ne\n", "done"),
        // A flag after the task, and a host.
        ("hitc ship x --dr\t-H d\t && echo do''ne\n", "done"),
        // A path with a space.
        ("hitc ship my\t-y -H db\n", "my notes.txt"),
        ("hitc ship from=my\t-y -H db\n", "my notes.txt"),
        // A manifest.
        ("hitc sho\tsh\t\n", "manifest shop"),
    ] {
        terminal.type_keys(typed);
        terminal.wait_for(shown);
    }
    terminal.type_keys("exit\n");
    terminal.end();
}

#[test]
fn bash_completes() {
    in_shell(
        "printf 'source <(hitc completions bash)\\nPS1=\"ready> \"\\n' >rc; bash --rcfile rc -i",
        "ready> ",
    );
}

#[test]
fn zsh_completes() {
    install("zsh");
    in_shell(
        "printf 'autoload -Uz compinit; compinit -u -D\\nsource <(hitc completions zsh)\\nPS1=\"ready> \"\\n' >.zshrc; ZDOTDIR=$PWD zsh -i",
        "ready> ",
    );
}

#[test]
fn fish_completes() {
    install("fish");
    in_shell(
        "fish --no-config -i -C 'hitc completions fish | source; function fish_prompt; echo \"ready> \"; end'",
        "ready> ",
    );
}
