//! Secrets are found nowhere but at their destination.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    sync::{Mutex, PoisonError},
};

use super::docker_commands::{exec, servers};
use crate::support::{
    Run,
    canary::{LINES, ODD, PLAIN, Watcher, assert_absent, assert_absent_below},
    live::{Live, docker},
    sources,
};

/// The functions that accept a secret, each with the parameter. All others must refuse one. What they do
/// with it is in [`a_canary_secret_is_found_nowhere`]: a function is added there, too.
const ACCEPTING: [&str; 15] = [
    "api.post body",
    "api.put body",
    "docker::login password",
    "fs::fill values",
    "fs::sha256_of text",
    "fs::template values",
    "fs::write text",
    "host.put content",
    "host.script text",
    "host.template values",
    "json::pretty value",
    "json::write value",
    "task::run values",
    "test::equal actual",
    "test::equal expected",
];

/// As [`ACCEPTING`], for functions of other types that only return it: `yaml::write`.
const RETURNING: [&str; 1] = ["yaml::write value"];

/// Held by each test here: the text of a secret, which one of them uses as a path, is in command lines.
static ALONE: Mutex<()> = Mutex::new(());

/// Output forms, as flags.
const FORMS: [&[&str]; 4] = [&[], &["-o", "json"], &["-v", "-o", "group"], &["-o", "raw"]];

fn checked(what: &str, run: Run) -> Run {
    assert_absent(&format!("{what}: stdout"), run.stdout.as_bytes());
    assert_absent(&format!("{what}: stderr"), run.stderr.as_bytes());
    run
}

/// A function of the reference: how it is called, and its parameters with their types.
struct Function {
    name: String,
    parameters: Vec<(String, String)>,
}

/// All functions that are written in Rust.
fn functions() -> Vec<Function> {
    let text = fs::read_to_string(sources().join("docs/reference.md")).unwrap();
    let text = text.split("\n## `std/").next().unwrap();
    let headings = text.lines().filter_map(|line| line.strip_prefix("### `"));
    let parse = |heading: &str| {
        let (name, rest) = heading.split_once('(')?;
        let (parameters, _) = rest.split_once(')')?;
        let parameters = parameters.split(", ").filter(|text| !text.is_empty());
        let parameter = |text: &str| {
            let (name, kind) = text.split_once(": ").unwrap_or((text, "value"));
            (name.to_owned(), kind.to_owned())
        };
        Some(Function {
            name: name.to_owned(),
            parameters: parameters.map(parameter).collect(),
        })
    };
    headings.filter_map(parse).collect()
}

/// An argument of a type, and the same with `canary` in it if that is possible.
fn argument(name: &str, kind: &str) -> (&'static str, Option<&'static str>) {
    match (name, kind) {
        ("hosts", "array") => ("[host]", None),
        (_, "Host") => ("host", None),
        (_, "array") => ("[\"x\"]", Some("[canary]")),
        (_, "map") => ("#{}", Some("#{ x: canary }")),
        (_, "string" | "any" | "value" | "Secret") => ("\"x\"", Some("canary")),
        (_, "int") => ("1", None),
        (_, "number") => ("0", None),
        (_, "float") => ("0.0", None),
        (_, "Table") => ("ui::table([], [])", None),
        (_, "bool") => ("true", None),
        (_, "closure") => ("|x| 1", None),
        other => panic!("no argument for {other:?}"),
    }
}

/// A call for each parameter of each function that could take a secret, as `NAME PARAMETER` and text.
fn calls() -> Vec<(String, String)> {
    let mut calls = Vec::new();
    for Function { name, parameters } in functions() {
        let called = match name.split_once('.') {
            Some(("host" | "hosts" | "api", _)) | None => name.clone(),
            Some(other) => panic!("no object for {other:?}"),
        };
        for (at, (parameter, kind)) in parameters.iter().enumerate() {
            if argument(parameter, kind).1.is_none() {
                continue;
            }
            let arguments =
                parameters.iter().enumerate().map(|(other, (name, kind))| {
                    match argument(name, kind) {
                        (_, Some(secret)) if other == at => secret,
                        (plain, _) => plain,
                    }
                });
            let arguments: Vec<&str> = arguments.collect();
            let call = format!("{called}({})", arguments.join(", "));
            calls.push((format!("{name} {parameter}"), call));
        }
    }
    calls
}

/// Calls every function with a secret in each of its parameters, and with its text. Those that are not
/// in the lists refuse the secret, and say what to do instead. Nothing shows it.
#[test]
fn every_function_refuses_a_secret_or_hides_it() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let calls = calls();
    let task = |name: &str, canary: &str, calls: &[(String, String)]| {
        let mut text = format!(
            "/// T.\nfn {name}(host) {{\n let hosts = [host];\n let canary = {canary};\n \
             let api = http::api(#{{ name: \"a\", url: \"http://127.0.0.1:9\", token: secret::env(\"TOKEN\") }});\n"
        );
        for (name, call) in calls {
            text.push_str(&format!(
                " try {{ let got = {call}; print(\"accepted {name}\"); print(got); }} \
                 catch (e) {{ print(`refused {name}: ${{e}}`); }}\n"
            ));
        }
        text + "}\n"
    };
    // The text of a secret is text. Some functions would run it.
    let runs = [
        "secret::command line",
        "ui::confirm question",
        "ui::confirm word",
    ];
    let revealed: Vec<(String, String)> = calls
        .iter()
        .filter(|(name, _)| !runs.contains(&name.as_str()))
        .cloned()
        .collect();
    let live = Live::new().env("TOKEN", PLAIN).file("x", "text {{ x }}\n");
    live.write("password", LINES);
    live.write(
        "hitcfile.rhai",
        &[
            task("plain", "secret::env(\"TOKEN\")", &calls),
            task("lines", "secret::file(\"password\")", &calls),
            task("revealed", "secret::file(\"password\").reveal()", &revealed),
            task(
                "revealed_plain",
                "secret::env(\"TOKEN\").reveal()",
                &revealed,
            ),
            "/// X.\nfn x() {}\n".to_owned(),
        ]
        .concat(),
    );
    live.run(&["run", "create", "name=web"]).ok();
    for name in ["plain", "lines", "revealed", "revealed_plain"] {
        for form in FORMS {
            let arguments = [form, &["--dry-run", "-H", "web", name]].concat();
            let run = checked(&format!("{arguments:?}"), live.run(&arguments).ok());
            if !form.is_empty() || name.starts_with("revealed") {
                continue;
            }
            let known = [&ACCEPTING[..], &RETURNING].concat();
            let mut unknown = Vec::new();
            for line in run.stdout.lines() {
                if let Some(name) = line.strip_prefix("accepted ")
                    && !known.contains(&name)
                {
                    unknown.push(line.to_owned());
                }
            }
            assert!(unknown.is_empty(), "{unknown:#?}\n{run}");
        }
    }
    // The error of a string parameter.
    live.write(
        "hitcfile.rhai",
        "/// T.\nfn t(host) { docker::pull(host, secret::env(\"TOKEN\")); }\n\
         /// U.\nfn u(host) { local::run([\"echo\", secret::env(\"TOKEN\")]); }\n",
    );
    for task in ["t", "u"] {
        let refused = checked(task, live.run(&["-H", "web", task]));
        assert_ne!(refused.status, 0);
        let help = "pass it in `environment` of a container";
        assert!(
            refused.stderr.replace("\n   ", "").contains(help),
            "{refused}"
        );
    }
    assert_absent_below(&live.home(), &[]);
}

/// Answers each request with the request itself, which has secrets in its headers and body.
fn mirror() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            while !request.ends_with(b"}") {
                match stream.read(&mut buffer).unwrap() {
                    0 => break,
                    count => request.extend_from_slice(&buffer[..count]),
                }
            }
            let body =
                serde_json::json!({"message": String::from_utf8_lossy(&request)}).to_string();
            let head = format!("HTTP/1.1 400 Bad\r\nContent-Length: {}\r\n\r\n", body.len());
            // The client may have ended.
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    url
}

const HITCFILE: &str = r##"
import "std/bootstrap" as bootstrap;

private fn secrets() { [secret::env("TOKEN"), secret::env("ODD"), secret::file("password")] }

/// Sends secrets to files, commands and scripts of a server.
fn send(host) {
    for (canary, i) in secrets() {
        host.put(canary, `/tmp/put-${i}`);
        host.put("old", `/tmp/open-${i}`, #{ mode: "644" });
        host.put(canary, `/tmp/open-${i}`);
        host.template("config.tpl", `/tmp/template-${i}`, #{ x: canary });
        host.template("config.tpl", `/tmp/mode-${i}`, #{ x: canary }, #{ mode: "640", owner: "root:adm" });
        host.put(fs::fill("a {{ x }}", #{ x: canary }), `/tmp/filled-${i}`, #{ sudo: true });
        host.put(fs::template("config.tpl", #{ x: canary }), `/tmp/filled-${i}`);
        print(fs::sha256_of(canary) == host.sha256(`/tmp/put-${i}`));
        let options = #{ env: #{ A: canary }, stdin: canary };
        host.run("printf '%s\n' \"$A\"; cat; printf '%s\n' \"$A\" >&2", options);
        host.run("printf '%s' \"$A\" | base64; printf 'u:%s' \"$A\" | base64 -w0; cat | base64 -w 20", options);
        host.run("printf '%s' \"$A\" | od -An -v -tx1 | tr -d ' \n'; seq 2000 | tr -d '\n'", options);
        host.run("head -c 65520 /dev/zero | tr '\\0' x; printf '%s' \"$A\"; head -c 65536 /dev/zero | tr '\\0' y", options);
        let got = host.try_run("printf '%s' \"$A\"; printf '%s' \"$A\" >&2", options);
        print(got);
        print(got.stdout.len() > 0);
        ui::note(got.stdout);
        ui::heading(got.stderr);
        print(ui::table(["x", "secret"], [#{ x: got.stdout, secret: canary }]));
        print(json::write(got)); print(json::pretty(#{ x: [canary] })); print(yaml::write(#{ x: canary }));
        print(json::write(#{ x: canary }).reveal());
        let p = ui::progress("web", got.stdout); p.update(got.stderr); p.done(got.stdout);
        host.script(fs::fill("#!/bin/sh\n# a comment\necho '{{ x }}' | tr -d \"'\" | head -c 10; sleep 0.3\n", #{ x: "visible" }));
        host.script(fs::fill("cat <<'END'\n{{ x }}\nEND\nsleep 0.3\n", #{ x: canary }));
        fs::write(`written-${i}`, canary);
        print(fs::mode(`written-${i}`));
        fs::write(`written-${i}`, got.stdout);
        print(fs::mode(`written-${i}`));
        fs::remove(`written-${i}`);
    }
    print(bootstrap::run(host, "base", #{ x: secret::env("ODD") }));
    print(bootstrap::run(host, "base", #{ x: secret::env("ODD") }));
}

/// Fails on the server.
fn fail(host) { host.run("printf '%s' \"$A\" >&2; exit 3", #{ env: #{ A: secret::file("password") } }); }
/// Throws.
fn throws() { throw "it is " + secret::file("password").reveal(); }
/// Throws a map.
fn throws_map() { throw #{ message: secret::env("ODD").reveal(), x: secret::env("ODD") }; }
/// Has a source in its error.
fn excerpt() { yaml::parse("a: b\nsecret: " + secret::env("TOKEN").reveal() + "\nx: [\n"); }
/// Refused as a value.
fn value() { http::request("GET", "http://127.0.0.1:9", #{ timeout: secret::env("TOKEN") }); }
/// Refused as the text of a value.
fn text_value() { http::request("GET", "http://127.0.0.1:9", #{ timeout: secret::env("TOKEN").reveal() }); }
/// In an address.
fn address() { http::get("http://127.0.0.1:9/?x=" + secret::env("TOKEN").reveal()); }
/// Refused by an API that repeats the request.
fn api() { http::api(#{ name: "a", url: env::get("MIRROR"), token: secret::env("TOKEN") }).post("/x", #{ x: secret::env("ODD") }); }
/// The same by a request.
fn request() {
    let got = http::request("POST", env::get("MIRROR"), #{ headers: #{ "X-Token": secret::env("TOKEN") }, body: #{ x: secret::file("password") } });
    print(got);
    print(json::parse(got.body).message.contains("X-Token") || json::parse(got.body).message.contains("x-token"));
}
/// An answer of a registry.
fn login() { docker::login(env::get("MIRROR").replace("http://", ""), "joe", secret::env("TOKEN")); }
/// Runs a container with secrets in its environment.
fn container(host) {
    docker::run(host, #{ name: "shop", image: "hitc/commands:1", replace: true, environment: #{ A: secret::env("TOKEN"), B: secret::env("ODD"), C: [secret::file("password")], PUBLIC: "shown" } });
}
/// Shows what a container says.
fn said(host) {
    docker::run(host, #{ name: "said", image: "hitc/commands:1", replace: true, environment: #{ A: secret::env("TOKEN"), B: secret::env("ODD") },
        command: ["sh", "-c", "echo \"$A\"; echo \"$B\" >&2; echo \"$B\" | base64; sleep 1; exit 4"], attach: true });
}
/// Shows its log, and what a container has in its environment. A run masks the secrets that it reads.
fn log(host) { secrets(); docker::logs([host], ["said"], #{}); docker::inside(host, "shop").run("env"); }
/// What the engine says. Needs no secret to know.
fn inspect(host) { print(docker::inspect(host, "shop")); print(json::pretty(docker::inspect(host, "shop"))); }
/// A label.
fn label(host) { docker::run(host, #{ image: "app:1", labels: #{ token: secret::env("TOKEN") } }); }
/// A label of a list.
fn labels(host) { docker::run(host, #{ image: "app:1", labels: #{ token: [secret::env("TOKEN")] } }); }
/// A command.
fn command(host) { docker::run(host, #{ image: "app:1", command: ["run", secret::env("TOKEN")] }); }
/// A command line.
fn command_line(host) { docker::run(host, #{ image: "app:1", command: secret::env("TOKEN") }); }
/// An entrypoint.
fn entrypoint(host) { docker::run(host, #{ image: "app:1", entrypoint: [secret::env("TOKEN")] }); }
/// An image.
fn image(host) { docker::run(host, #{ image: secret::env("TOKEN") }); }
/// A name.
fn name(host) { docker::run(host, #{ image: "app:1", name: secret::env("TOKEN") }); }
/// A host name.
fn hostname(host) { docker::run(host, #{ image: "app:1", hostname: secret::env("TOKEN") }); }
/// Options of a log.
fn log_option(host) { docker::run(host, #{ image: "app:1", log: #{ driver: "splunk", "splunk-token": secret::env("TOKEN") } }); }
/// A server's name.
fn server() { provider::create(#{ name: secret::env("TOKEN") }); }
/// Another option of a server.
fn server_option() { provider::create(#{ provider: "hetzner", name: "web", image: secret::env("TOKEN") }); }
/// A working directory.
fn folder(host) { host.run("pwd", #{ cd: secret::env("TOKEN") }); }
/// A build.
fn build() { print(docker::build("kit", #{ secrets: #{ token: secret::env("ODD") } })); }
/// A build that shows it.
fn failing_build() { docker::build("failing", #{ secrets: #{ token: secret::env("TOKEN") } }); }
"##;

/// The tasks of which each is refused, because the secret would be stored in the clear.
const REFUSED: [&str; 13] = [
    "value",
    "label",
    "labels",
    "command",
    "command-line",
    "entrypoint",
    "image",
    "name",
    "hostname",
    "log-option",
    "server",
    "server-option",
    "folder",
];

fn run(live: &Live, form: &[&str], words: &[&str]) -> Run {
    let arguments = [form, words].concat();
    checked(&format!("{arguments:?}"), live.run(&arguments))
}

/// A server, and the files of the tasks.
fn prepare() -> Live {
    let (live, _) = servers(1);
    let live = live
        .env("TOKEN", PLAIN)
        .env("ODD", ODD)
        .env("MIRROR", &mirror())
        .env("COMPOSED", &format!("postgres://shop:{PLAIN}@db/shop"));
    live.write("password", LINES);
    live.write(
        "app.env",
        &format!("TOKEN={PLAIN}\nODD={ODD}\nMODE=production\n"),
    );
    live.write("config.tpl", "secret = {{ x }}\n");
    live.write("base/files/etc/shop/secret.conf.tpl", "secret = {{ x }}\n");
    live.write("base/files/etc/shop/private.conf", "private\n");
    live.write("base/files/etc/shop/public.conf", "public\n");
    live.write("base/scripts/10-run.sh", "echo bootstrapped\n");
    let private = live.root().join("base/files/etc/shop/private.conf");
    fs::set_permissions(private, fs::Permissions::from_mode(0o600)).unwrap();
    let buildkit = "RUN --mount=type=secret,id=token,required=true";
    live.write(
        "kit/Dockerfile",
        &format!("FROM hitc/debian:13\n{buildkit} sha256sum /run/secrets/token >/sum\n"),
    );
    live.write(
        "failing/Dockerfile",
        &format!("FROM hitc/debian:13\n{buildkit} cat /run/secrets/token; exit 3\n"),
    );
    let manifest = "web:\n  provider: local\n  containers:\n    app:\n      image: hitc/commands:1\n      \
                    pull: never\n      env_file: app.env\n      environment: {URL: \"${env.COMPOSED}\"}\n";
    live.write("shop.yml", manifest);
    live.write("hitcfile.rhai", HITCFILE);
    live
}

fn files_commands_and_errors(live: &Live) {
    let sent = run(live, &[], &["-H", "web", "send"]).ok();
    assert!(
        sent.stdout.contains("***") && !sent.stdout.contains("false\n"),
        "{sent}"
    );
    assert_eq!(sent.stdout.matches("600\n600\n").count(), 3, "{sent}");
    let bootstrapped = "[\"/etc/shop/private.conf\", \"/etc/shop/public.conf\", \"/etc/shop/secret.conf\", \"10-run.sh\"]\n[]\n";
    assert!(sent.stdout.ends_with(bootstrapped), "{sent}");
    for form in FORMS {
        if !form.is_empty() {
            run(live, form, &["-H", "web", "send"]).ok();
        }
        let on_server = ["fail", "container", "said", "log", "inspect"];
        for task in on_server {
            let ran = run(live, form, &["-H", "web", task]);
            assert_eq!(ran.status != 0, ["fail", "said"].contains(&task), "{ran}");
            if task == "inspect" {
                assert!(ran.stdout.contains("PUBLIC=shown"), "{ran}");
            } else if task == "log" || task == "fail" {
                let shown = format!("{}{}", ran.stdout, ran.stderr);
                assert!(shown.contains("***"), "{ran}");
            }
        }
        for task in [
            "throws",
            "throws-map",
            "excerpt",
            "text-value",
            "address",
            "api",
            "login",
        ] {
            let failed = run(live, form, &[task]);
            assert_ne!(failed.status, 0, "{task} {failed}");
        }
        let got = run(live, form, &["request"]).ok();
        assert!(got.stdout.contains("true"), "{got}");
        for task in ["send", "container", "fail"] {
            run(live, form, &["--dry-run", "-H", "web", task]);
        }
    }
}

fn refusals(live: &Live) {
    for task in REFUSED {
        let refused = run(live, &[], &["-H", "web", task]);
        assert_eq!(refused.status, 2, "{task} {refused}");
        assert!(
            refused.stderr.contains("a secret cannot be used here"),
            "{task} {refused}"
        );
        assert!(
            refused
                .stderr
                .contains("it would be stored or shown in the clear"),
            "{task} {refused}"
        );
    }
}

/// Returns the name of the built image.
fn builds(live: &Live) -> String {
    let built = run(live, &[], &["build"]).ok();
    let kit = built.stdout.trim().to_owned();
    let failed = run(live, &[], &["failing-build"]);
    assert_eq!(failed.status, 1, "{failed}");
    assert!(failed.stderr.contains("***"), "{failed}");

    kit
}

fn manifests(live: &Live) {
    // The file of a manifest's environment, and a change of it.
    for form in FORMS {
        run(live, form, &["ensemble.plan", "shop"]).ok();
    }
    let up: &[&str] = &["--yes", "ensemble.up", "shop", "adopt=all"];
    run(live, &["-v"], up).ok();
    live.write(
        "app.env",
        &format!("TOKEN=new-{PLAIN}\nMODE=staging\nMORE={ODD}\n"),
    );
    for form in FORMS {
        let plan = run(live, form, &["ensemble.plan", "shop"]).ok();
        assert!(plan.stdout.contains("***"), "{plan}");
    }
    run(live, &["-o", "json"], up).ok();
    for form in FORMS {
        run(live, form, &["-H", "web", "docker.inspect", "app"]).ok();
        run(live, form, &["docker.logs", "app"]).ok();
        run(live, form, &["docker.stats"]).ok();
    }
}

fn command_lines(watcher: Watcher) {
    let (rounds, lines) = watcher.stop();
    assert!(rounds > 20, "{rounds}");
    assert!(
        lines.iter().any(|line| line.contains("sleep 0.3")),
        "{lines:#?}"
    );
    for line in &lines {
        assert_absent("a command line", line.as_bytes());
    }
}

fn images_and_labels(live: &Live, kit: &str) {
    // What is left: on this machine, in images and labels, and for other users of the server.
    assert_absent_below(&live.home(), &[]);
    assert_absent_below(&live.root(), &["password", "app.env"]);
    let history = docker(&["history", "--no-trunc", kit]);
    assert_absent("history", history.as_bytes());
    assert_absent("image", docker(&["inspect", kit]).as_bytes());
    docker(&["rmi", kit]);
    let server = docker(&["inspect", &live.container("web")]);
    assert_absent("server", server.as_bytes());
    for container in ["shop", "app", "said"] {
        let form = "{{json .Config.Labels}} {{json .Config.Cmd}} {{json .Config.Entrypoint}} {{json .Path}} {{json .Args}} {{json .HostConfig}}";
        let inspected = exec(live, &format!("docker inspect -f '{form}' {container}"));
        assert_absent(container, inspected.as_bytes());
    }
}

fn files_of_the_server(live: &Live) {
    let files = exec(
        live,
        "cd /tmp && stat -c '%n %a' open-* mode-* filled-* template-* put-* | sort",
    );
    let expected: String = [
        "filled 600",
        "mode 640",
        "open 640",
        "put 600",
        "template 600",
    ]
    .iter()
    .flat_map(|line| (0..3).map(move |i| line.replace(' ', &format!("-{i} ")) + "\n"))
    .collect();
    assert_eq!(files, expected);
    let files = exec(
        live,
        "cd /etc/shop && stat -c '%n %a' * /var/lib/hitc/bootstrap/10-run.sh",
    );
    assert_eq!(
        files,
        "private.conf 600\npublic.conf 644\nsecret.conf 640\n/var/lib/hitc/bootstrap/10-run.sh 600\n"
    );
    // In the forms that programs on a server might have stored, read from a file.
    let patterns = format!("{PLAIN}\n{LINES}\nKanarienvogel\n");
    let find = "cat >/root/patterns; chmod 600 /root/patterns; grep -rlsFaf /root/patterns /tmp /etc /var/lib/hitc /var/log /root /home | sort";
    let all = live.pipe(
        &["-o", "raw", "exec", "-H", "web", "--", find],
        patterns.as_bytes(),
    );
    let all = String::from_utf8(all.stdout).unwrap();
    assert!(
        all.contains("/tmp/put-0\n") && all.contains("/etc/shop/secret.conf\n"),
        "{all}"
    );
    assert!(!all.contains("/var/"), "{all}");
    let readable = exec(
        live,
        "cp /root/patterns /dev/shm/patterns; chmod 644 /dev/shm/patterns; \
         setpriv --reuid=65534 --regid=65534 --clear-groups grep -rlsFaf /dev/shm/patterns / \
         --exclude-dir=proc --exclude-dir=sys --exclude=patterns || true",
    );
    assert_eq!(readable, "");
}

/// A secret goes through everything that may have one: files, commands, scripts, containers, builds,
/// requests, errors; in all forms of output. It is found only in the files that it was written to, which
/// other users cannot read, and in the environment of the containers that need it.
#[test]
fn a_canary_secret_is_found_nowhere() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let live = prepare();
    let watcher = Watcher::start();
    refusals(&live);
    files_commands_and_errors(&live);
    let kit = builds(&live);
    manifests(&live);
    command_lines(watcher);
    images_and_labels(&live, &kit);
    // The environment of a container has it: that is its purpose.
    let environment = exec(&live, "docker exec app sh -c 'echo $TOKEN'");
    assert_eq!(environment, format!("new-{PLAIN}\n"));
    files_of_the_server(&live);
}
