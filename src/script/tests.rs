//! Tests that no function changes anything in a dry run.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Duration,
};

use rhai::Dynamic;

use super::{Scripts, call_alone, scripted};
use crate::{
    api::{self, Api, Frame, Host},
    context::{Context, Mode, Settings},
    core::{
        cancel::Cancel,
        diagnostic::Diagnostic,
        event::{Event, Events, Interface},
    },
    http::Reply,
    inventory::Inventory,
    mock::{Answer, Mock, Pattern},
    project::{HITCFILE, Project},
    provider::Node,
    ssh::Terminations,
};

/// A function as `NAMESPACE::NAME/PARAMETERS`, a call of it, and the text that a dry run reports.
/// `URL` is an address where nothing listens, and so is the host's, so that a call that is executed
/// fails.
const CALLS: &[(&str, &str, &str)] = &[
    (
        "docker::setup/1",
        "docker::setup(host)",
        "set up Docker on web",
    ),
    (
        "docker::setup/2",
        "docker::setup(host, #{ repository: \"docker\" })",
        "set up Docker on web",
    ),
    (
        "docker::run/2",
        "docker::run(host, #{ image: \"nginx\", name: \"app\" })",
        "run container app of nginx on web",
    ),
    (
        "docker::kill/2",
        "docker::kill(host, \"app\")",
        "kill container app on web",
    ),
    (
        "docker::kill/3",
        "docker::kill(host, \"app\", #{ adopt: true })",
        "kill container app on web",
    ),
    (
        "docker::bind/4",
        "docker::bind(host, \"app\", \"80\", #{})",
        "bind a port of container app on web",
    ),
    (
        "docker::unbind/4",
        "docker::unbind(host, \"app\", \"80\", #{})",
        "unbind a port of container app on web",
    ),
    (
        "iptables::apply/3",
        "iptables::apply(host, #{ \"80\": \"*\" }, #{})",
        "change the firewall of web",
    ),
    (
        "iptables::open/4",
        "iptables::open(host, \"80\", \"*\", #{})",
        "change the firewall of web",
    ),
    (
        "iptables::close/4",
        "iptables::close(host, \"80\", (), #{})",
        "change the firewall of web",
    ),
    (
        "iptables::clear/2",
        "iptables::clear(host, #{})",
        "remove the firewall of web",
    ),
    (
        "docker::stop/3",
        "docker::stop(host, \"app\", #{ timeout: \"5s\" })",
        "stop container app on web",
    ),
    (
        "docker::start/3",
        "docker::start(host, \"app\", #{})",
        "start container app on web",
    ),
    (
        "docker::restart/3",
        "docker::restart(host, \"app\", #{})",
        "restart container app on web",
    ),
    (
        "docker::cp/3",
        "docker::cp(host, \"image\", \"app:/srv\")",
        "copy image to app:/srv on web",
    ),
    (
        "docker::prune/2",
        "docker::prune(host, [#{ kind: \"volume\", name: \"data\", id: \"data\" }])",
        "remove volume data on web",
    ),
    (
        "docker::shell/3",
        "docker::shell(host, \"app\", #{ user: \"root\", password: \"x\" })",
        "open a shell in container app on web",
    ),
    (
        "docker::terminal/3",
        "docker::terminal(host, \"app\", \"id\")",
        "run `id` in container app on web",
    ),
    (
        "docker::sshfs/5",
        "docker::sshfs(host, \"app\", \"/srv\", \"mnt\", #{})",
        "mount /srv of container app on web at mnt",
    ),
    (
        "docker::tunnel/4",
        "docker::tunnel(host, \"app\", \"8080\", 80)",
        "forward 127.0.0.1:8080 to port 80 of container app on web",
    ),
    (
        "docker::push/2",
        "docker::push(host, \"app\")",
        "send image app to web",
    ),
    (
        "docker::pull/2",
        "docker::pull(host, \"app\")",
        "pull image app on web",
    ),
    (
        "docker::login/3",
        "docker::login(\"r.example.com\", \"joe\", secret::command(\"echo pass\"))",
        "log in to r.example.com as joe",
    ),
    (
        "docker::store_login/2",
        "docker::store_login(host, \"r.example.com\")",
        "store the login for r.example.com on web",
    ),
    (
        "docker::build/2",
        "docker::build(\"image\", #{ platform: \"linux/arm64\" })",
        "build image hitc/image:",
    ),
    (
        "docker::build/1",
        "docker::build(\"image\")",
        "build image ",
    ),
    (
        "ec2::cancel_spot_request/1",
        "ec2::cancel_spot_request(\"sir-1\")",
        "cancel the spot request sir-1",
    ),
    (
        "fs::write/2",
        "fs::write(\"new\", \"text\")",
        "write `new` here",
    ),
    (
        "fs::make_folder/1",
        "fs::make_folder(\"new\")",
        "create `new` here",
    ),
    (
        "fs::remove/1",
        "fs::remove(\"providers\")",
        "remove `providers` here",
    ),
    (
        "hosts::run/2",
        "[host].run(\"touch x\")",
        "run `touch x` on web",
    ),
    (
        "hosts::try_run/2",
        "[host].try_run(\"touch x\")",
        "run `touch x` on web",
    ),
    (
        "hosts::stream/2",
        "[host].stream(\"touch x\")",
        "run `touch x` on web",
    ),
    (
        "http::request/2",
        "http::request(\"POST\", \"URL\")",
        "send POST ",
    ),
    (
        "http::request/3",
        "http::request(\"PUT\", \"URL\", #{})",
        "send PUT ",
    ),
    (
        "http::delete/2",
        "http::api(#{ name: \"a\", url: \"URL\", token: \"t\" }).delete(\"/x\")",
        "send DELETE /x",
    ),
    (
        "http::post/3",
        "http::api(#{ name: \"a\", url: \"URL\", token: \"t\" }).post(\"/x\", #{})",
        "send POST /x",
    ),
    (
        "http::put/3",
        "http::api(#{ name: \"a\", url: \"URL\", token: \"t\" }).put(\"/x\", #{})",
        "send PUT /x",
    ),
    (
        "local::run/1",
        "local::run(\"touch new\")",
        "run `touch new` here",
    ),
    (
        "local::try_run/1",
        "local::try_run(\"touch new\")",
        "run `touch new` here",
    ),
    (
        "provider::create/1",
        "provider::create(#{ provider: \"fake\", name: \"db\" })",
        "create 1 server: db",
    ),
    ("provider::adopt/1", "provider::adopt([host])", "adopt web"),
    (
        "provider::create_volume/3",
        "provider::create_volume(host, \"data\", 10)",
        "create volume data of 10 GiB",
    ),
    (
        "provider::attach_volume/2",
        "provider::attach_volume(host, \"data\")",
        "attach volume data to web",
    ),
    (
        "provider::detach_volume/2",
        "provider::detach_volume(\"fake\", \"data\")",
        "detach volume data",
    ),
    (
        "provider::grow_volume/3",
        "provider::grow_volume(\"fake\", \"data\", 20)",
        "grow volume data to 20 GiB",
    ),
    (
        "provider::delete_volume/2",
        "provider::delete_volume(\"fake\", \"data\")",
        "delete volume data",
    ),
    (
        "provider::terminate/1",
        "provider::terminate([host])",
        "terminate web",
    ),
    (
        "provider::reboot/1",
        "provider::reboot(host)",
        "reboot server web",
    ),
    (
        "provider::resize/2",
        "provider::resize(host, #{ size: \"large\" })",
        "resize server web",
    ),
    (
        "provider::rename/2",
        "provider::rename(host, \"db\")",
        "rename server web to db",
    ),
    (
        "provider::create_image/2",
        "provider::create_image(host, \"base\")",
        "make image base of web",
    ),
    (
        "provider::delete_image/1",
        "provider::delete_image(\"base\")",
        "delete image base",
    ),
    (
        "provider::delete_image/2",
        "provider::delete_image(\"fake\", \"base\")",
        "delete image base at fake",
    ),
    (
        "provider::terminate/2",
        "provider::terminate([host], \"base\")",
        "make image base of web, then terminate web",
    ),
    (
        "provider::set_up/1",
        "provider::set_up(\"fake\")",
        "set up provider fake",
    ),
    (
        "ssh::run/2",
        "host.run(\"touch x\")",
        "run `touch x` on web",
    ),
    (
        "ssh::run/3",
        "host.run(\"touch x\", #{ cd: \"/tmp\" })",
        "run `touch x` on web",
    ),
    (
        "ssh::stream/2",
        "host.stream(\"touch x\")",
        "run `touch x` on web",
    ),
    (
        "ssh::sudo/2",
        "host.sudo(\"touch x\")",
        "run `touch x` on web",
    ),
    (
        "ssh::try_run/2",
        "host.try_run(\"touch x\")",
        "run `touch x` on web",
    ),
    (
        "ssh::try_run/3",
        "host.try_run(\"touch x\", #{})",
        "run `touch x` on web",
    ),
    (
        "ssh::script/2",
        "host.script(\"touch x\")",
        "run `script: touch x …` on web",
    ),
    (
        "ssh::put/3",
        "host.put(\"text\", \"/tmp/x\")",
        "write /tmp/x on web",
    ),
    (
        "ssh::put/4",
        "host.put(\"text\", \"/tmp/x\", #{ mode: \"600\" })",
        "write /tmp/x on web",
    ),
    (
        "ssh::template/4",
        "host.template(\"image/Dockerfile\", \"/tmp/x\", #{})",
        "write /tmp/x on web",
    ),
    (
        "ssh::template/5",
        "host.template(\"image/Dockerfile\", \"/tmp/x\", #{}, #{})",
        "write /tmp/x on web",
    ),
    (
        "ssh::forward_local/3",
        "host.forward_local(\"0\", \"80\")",
        "forward ",
    ),
    (
        "ssh::forward_local/4",
        "host.forward_local(\"0\", \"80\", |from| 1)",
        "forward ",
    ),
    (
        "ssh::forward_remote/3",
        "host.forward_remote(\"0\", \"80\")",
        "forward ",
    ),
    (
        "ssh::forward_remote/4",
        "host.forward_remote(\"0\", \"80\", |from| 1)",
        "forward ",
    ),
    (
        "ssh::rsync_up/3",
        "host.rsync_up(\"image/\", \"/tmp/x\")",
        "rsync up image/ to /tmp/x (web)",
    ),
    (
        "ssh::rsync_up/4",
        "host.rsync_up(\"image/\", \"/tmp/x\", #{ delete: true })",
        "rsync up image/ to /tmp/x (web)",
    ),
    (
        "ssh::rsync_down/3",
        "host.rsync_down(\"/tmp/x\", \"new\")",
        "rsync down /tmp/x to new (web)",
    ),
    (
        "ssh::rsync_down/4",
        "host.rsync_down(\"/tmp/x\", \"new\", #{})",
        "rsync down /tmp/x to new (web)",
    ),
    (
        "ssh::wait_for_port/2",
        "host.wait_for_port(80)",
        "wait for port 80 of web",
    ),
    (
        "ssh::wait_for_port/3",
        "host.wait_for_port(80, 1)",
        "wait for port 80 of web",
    ),
    (
        "ssh::upload/3",
        "host.upload(\"image\", \"/tmp/x\")",
        "upload ",
    ),
    (
        "ssh::upload/4",
        "host.upload(\"image\", \"/tmp/x\", #{ delete: true })",
        "upload ",
    ),
    (
        "ssh::download/3",
        "host.download(\"/tmp/x\", \"new\")",
        "download /tmp/x of web to ",
    ),
    (
        "ssh::download/4",
        "host.download(\"/tmp/x\", \"new\", #{ delete: true })",
        "download /tmp/x of web to ",
    ),
    ("ssh::terminal/1", "host.terminal()", "open a shell on web"),
];

/// Functions whose dry run is tested with real servers, in `tests/live/ensembles.rs`: without any,
/// they have nothing to do.
const WITH_SERVERS: [&str; 2] = ["ensemble::up/2", "ensemble::down/1"];

/// A provider that writes a file, by a command, in every function that changes something.
const PROVIDER: &str = "
fn options() { #{ size: \"small\" } }
fn missing() {}
fn list() { local::run(\"true\"); [] }
fn create(order) { act() }
fn settle(node, ready) { act() }
fn terminate(node) { act() }
fn reboot(node) { act() }
fn rename(node, name) { act() }
fn resize(node, options) { act() }
fn images() { [] }
fn create_image(order) { act() }
fn delete_image(image) { act() }
fn volumes() { [] }
fn create_volume(order) { act() }
fn attach_volume(volume, node) { act() }
fn detach_volume(volume) { act() }
fn grow_volume(volume, size) { act() }
fn delete_volume(volume) { act() }
private fn act() { local::run(\"touch acted\"); #{} }
";

/// Records the reports of a dry run.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Interface for Recorder {
    fn show(&self, event: Event) {
        if let Event::WouldDo(what) = event {
            self.0.lock().unwrap().push(what);
        }
    }

    fn confirm(&self, _: &str, _: Option<&str>) -> Result<bool, Diagnostic> {
        Ok(true)
    }

    fn prompt(&self, _: &str, _: bool) -> Result<String, Diagnostic> {
        Ok(String::new())
    }
}

/// The paths below a folder, with the content of files.
fn snapshot(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        if path.is_dir() {
            found.push((name, Vec::new()));
            found.extend(snapshot(&path));
        } else {
            found.push((name, fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

/// Calls all functions of [`CALLS`], and returns the reports of each, or the error.
fn call_all(mode: impl Fn() -> Mode) -> (Vec<Result<Vec<String>, String>>, bool) {
    let folder = tempfile::tempdir().unwrap();
    let (root, data) = (folder.path().join("project"), folder.path().join("data"));
    for name in ["project/image", "project/providers", "data"] {
        fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    // A port where nothing listens.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("http://127.0.0.1:{port}");
    let tasks = CALLS.iter().enumerate().map(|(at, (_, call, _))| {
        let call = call.replace("URL", &url);
        format!("/// T.\nfn t{at}(host) {{ {call}; }}\n")
    });
    fs::write(root.join(HITCFILE), tasks.collect::<String>()).unwrap();
    fs::write(root.join("image/Dockerfile"), "FROM scratch\n").unwrap();
    fs::write(root.join("providers/fake.rhai"), PROVIDER).unwrap();
    let project = Project {
        hitcfile: Some(root.join(HITCFILE)),
        root,
        home: data.clone(),
        data,
        is_test: false,
    };

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let recorder = Arc::new(Recorder::default());
    let (events, cancel) = (Events::new(recorder.clone()), Cancel::default());
    let api = Arc::new(Api::default());
    let mut scripts = Scripts::load(&api, &project, &events, &cancel).unwrap();
    let settings = Settings {
        name_prefix: "DRY-".to_owned(),
        port: Some(port),
        forks: 1,
        timeout: Some(Duration::from_secs(5)),
        ..Settings::default()
    };
    let context = Arc::new(Context::new(
        runtime.handle().clone(),
        events,
        cancel,
        settings,
        project.clone(),
        mode(),
    ));
    let built_in = Arc::new(Inventory::new(context, Terminations::default()));
    let inventory = Arc::new(built_in.with(scripted(&built_in)).unwrap());
    let node = inventory.providers.by_address("127.0.0.1").unwrap();
    let host = Host::from(Node {
        provider: "fake".to_owned(),
        name: "web".to_owned(),
        ..node
    });
    api.start(inventory.clone());
    let before = snapshot(&project.root);
    let mut results = Vec::new();
    for at in 0..CALLS.len() {
        let task = scripts.find(&format!("t{at}")).unwrap();
        let frame = Frame::new(&mode(), false);
        let arguments = vec![Dynamic::from(host.clone())];
        let called = call_alone(&scripts, &frame, &task, arguments);
        let said = std::mem::take(&mut *recorder.0.lock().unwrap());
        results.push(called.map(|_| said).map_err(|error| error.to_string()));
    }
    let is_unchanged = snapshot(&project.root) == before;
    (results, is_unchanged)
}

#[test]
fn the_table_has_every_function_that_changes_something() {
    let known: BTreeSet<&str> = CALLS.iter().map(|(name, _, _)| *name).collect();
    let known: BTreeSet<&str> = known.into_iter().chain(WITH_SERVERS).collect();
    let registered = api::changing();
    let registered: BTreeSet<&str> = registered.iter().map(String::as_str).collect();
    assert_eq!(registered, known);
}

#[test]
fn a_dry_run_reaches_every_function_and_changes_nothing() {
    let (results, is_unchanged) = call_all(|| Mode::Dry);
    for ((name, _, expected), result) in CALLS.iter().zip(results) {
        let said = result.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(said.len(), 1, "{name}: {said:?}");
        assert!(said[0].starts_with(expected), "{name}: {said:?}");
    }
    assert!(is_unchanged);
}

#[test]
fn a_mock_is_told_and_nothing_is_changed() {
    let mock = Arc::new(Mock::default());
    let anything = || Pattern::parse("*").unwrap();
    mock.commands.add(anything(), vec![Answer::default()]);
    let reply = Reply::Response {
        status: 200,
        headers: Vec::new(),
        body: String::new(),
    };
    mock.answer_requests(anything(), vec![reply]);
    let (results, is_unchanged) = call_all(|| Mode::Mock(mock.clone()));
    for ((name, _, _), result) in CALLS.iter().zip(results) {
        let said = result.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(said, [""; 0], "{name}");
    }
    assert!(is_unchanged);
    assert!(mock.log().len() >= CALLS.len());
}
