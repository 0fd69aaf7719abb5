//! Input of scripts: HTTP requests, environment variables, prompts.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    thread::{self, JoinHandle},
};

use crate::support::Project;

/// Answers one request. The thread returns the request.
fn server(answer: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/path", listener.local_addr().unwrap());
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut request, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            request.push_str(&line);
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        format!("{request}{}", String::from_utf8(body).unwrap())
    });
    (url, thread)
}

fn script(body: &str) -> Project {
    Project::new().file("hitcfile.rhai", &format!("/// A.\nfn a() {{\n{body}\n}}\n"))
}

#[test]
fn dates() {
    script(
        "print(time::format(0, \"%Y-%m-%d_%H%M%S\", \"UTC\"));
         print(time::format(1767225600.5, \"%d.%m.%Y %H:%M\", \"Europe/Berlin\"));
         print(time::parse(\"2026-01-01T00:00:00Z\"));",
    )
    .run(&["a"])
    .is(0, "1970-01-01_000000\n01.01.2026 01:00\n1767225600.0\n", "");
    for (call, error) in [
        (
            "time::format(0, \"%Y\", \"Mars/X\")",
            "time::format: unknown time zone `Mars/X`",
        ),
        (
            "time::parse(\"yesterday\")",
            "time::parse: invalid time `yesterday`",
        ),
        (
            "time::format(\"x\", \"%Y\")",
            "time::format: invalid time `x`",
        ),
    ] {
        let run = script(&format!("{call};")).run(&["a"]);
        let error = format!("error: {error}");
        assert_eq!(
            (run.status, run.errors()),
            (2, vec![error.as_str()]),
            "{run}"
        );
    }
}

#[test]
fn a_request() {
    let (url, request) =
        server("HTTP/1.1 404 Not Found\r\nX-Id: 7\r\nContent-Length: 4\r\n\r\ngone");
    script(&format!(
        "let answer = http::request(\"post\", \"{url}\", #{{\n\
         headers: #{{ \"X-Token\": secret::env(\"TOKEN\") }}, body: #{{ name: \"web\" }} }});\n\
         print(answer.ok); print(answer.status); print(answer.body); print(answer.headers[\"x-id\"]);"
    ))
    .env("TOKEN", "hunter2")
    .run(&["a"])
    .is(0, "false\n404\ngone\n7\n", "");
    let request = request.join().unwrap().to_lowercase();
    assert!(request.starts_with("post /path http/1.1\r\n"), "{request}");
    assert!(request.contains("x-token: hunter2\r\n"), "{request}");
    assert!(
        request.contains("content-type: application/json"),
        "{request}"
    );
    assert!(request.ends_with("{\"name\":\"web\"}"), "{request}");
}

#[test]
fn options_of_a_request_are_checked() {
    script("http::request(\"GET\", \"http://127.0.0.1:9\", #{ haeders: #{} });")
        .run(&["a"])
        .fails(
            2,
            "\
error: http::request: unknown option `haeders`
 --> hitcfile.rhai:3:7
  |
3 | http::request(\"GET\", \"http://127.0.0.1:9\", #{ haeders: #{} });
  |       ^^^^^^^
  |
  = help: did you mean `headers`?
",
        );
}

#[test]
fn a_dry_run_sends_no_request_that_changes_something() {
    script("print(http::request(\"DELETE\", \"http://127.0.0.1:9/x\").ok);")
        .run(&["--dry-run", "a"])
        .is(0, "true\n", "would send DELETE http://127.0.0.1:9/x\n");
}

#[test]
fn variables_from_a_file() {
    let project =
        script("print(env::get(\"A\")); print(env::get(\"B\")); print(secret::env(\"B\"));").file(
            ".env",
            "# Comment\nA=from file\nexport B=\"also from file\"\n",
        );
    project.run(&["a"]).is(2, "", "error: `.env`, line 2: invalid syntax\nhelp: write NAME=VALUE, with quotes around a value that contains spaces\n");
    project.write(".env", "# Comment\nA=file\nexport B=\"also from file\"\n");
    project.run(&["a"]).is(0, "file\nalso from file\n***\n", "");
    project
        .env("A", "process")
        .run(&["a"])
        .is(0, "process\nalso from file\n***\n", "");
}

/// No command is run, and the value does not lose its dollar sign either.
#[test]
fn a_command_in_a_variable_of_a_file() {
    let project = script("print(env::get(\"A\"));");
    project.write(".env", "# don't\nA=$(id)\n");
    project.run(&["a"]).fails(
        2,
        "error: `.env`, line 2: `$(` would be a command, and none is run\n\
         help: put a value that contains `$(` in single quotes\n",
    );
    project.write(".env", "A='$(id)'\n");
    project.run(&["a"]).is(0, "$(id)\n", "");
}

#[test]
fn progress_of_a_script() {
    script(
        "let p = ui::progress(\"web\", \"copying\"); p.update(\"checking\"); p.done(\"copied\"); \
         p.done(\"again\");",
    )
    .run(&["a"])
    .is(0, "", "web: copying\nweb: checking\nweb: copied\n");
}

#[test]
fn prompts() {
    let project = script(
        "let name = ui::prompt(\"Name?\"); let region = ui::prompt(\"Region?\", \"eu\");\n\
         let password = secret::prompt(\"Password?\");\n\
         print(`${name} ${region} ${password.reveal().len()} ${password}`);",
    );
    let (status, shown) = project.run_on_terminal(&["a"], "web\n\nhunter2\n");
    assert_eq!(status, 0, "{shown}");
    assert!(shown.ends_with("web eu 7 ***\n"), "{shown}");
    project.run(&["a"]).fails(
        2,
        "\
error: no terminal to answer: Name?
 --> hitcfile.rhai:3:16
  |
3 | let name = ui::prompt(\"Name?\"); let region = ui::prompt(\"Region?\", \"eu\");
  |                ^^^^^^
  |
  = help: pass the value as a parameter or in the environment
",
    );
}

/// A server that answers with a body without end. Returns its address.
fn endless() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while !lines.next().unwrap().unwrap().is_empty() {}
            let part = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
            let mut sent =
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while sent.is_ok() {
                sent = stream.write_all(part.as_bytes());
            }
        }
    });
    url
}

#[test]
fn a_response_without_end() {
    let url = endless();
    let run = script(&format!("http::get(\"{url}/x\")")).run(&["a"]);
    assert_eq!(
        run.errors(),
        [format!(
            "error: GET {url}/x: the response is larger than 64 MiB"
        )]
    );
    let api = format!("http::api(#{{ name: \"It\", url: \"{url}\", token: \"t\" }}).get(\"/x\")");
    let run = script(&api).run(&["a"]);
    let error = "error: It: GET /x: the response is larger than 64 MiB";
    assert_eq!(run.errors(), [error]);
}

/// A cloud says of its servers what whoever may tag them there wrote, or who answers in its place.
#[test]
fn a_cloud_that_lies() {
    let id = "a".repeat(32);
    let server = |name: &str, id: &str, more: &str| {
        format!(
            "#{{ id: \"{id}\", name: \"NONE-{name}\", state: \"running\", ip: \"192.0.2.1\", \
             project: project }} + #{{ {more} }}"
        )
    };
    let servers = [
        server("web", "1", ""),
        server("../../evil", "2", ""),
        server("a\\n[web] ok\\x1b[2J", "3", "size: \"s\\r\\x1b[31m\""),
        server("-oProxyCommand=x", "4", "ip: \"-oProxyCommand=x\""),
        server("db", "../5\\n", "region: \"\\u202e\""),
    ];
    let provider = format!(
        "fn options() {{ #{{}} }}\nfn missing() {{}}\n\
         fn list() {{ let project = \"{id}\"; [{}] }}\n\
         fn user(server) {{ \"root\\nProxyCommand touch /tmp/x\" }}\n",
        servers.join(",\n")
    );
    let project = Project::new()
        .file("hitc.id", &format!("{id}\n"))
        .file("providers/lying.rhai", &provider)
        .file(
            "hitcfile.rhai",
            "/// N.\nfn n(hosts) { for host in hosts { print(host.name); } }\n",
        );
    project.run(&["--all", "n"]).is(0, "2\n3\n4\ndb\nweb\n", "");
    let nodes = project.run(&["nodes"]).ok();
    let controls = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    assert!(!nodes.stdout.contains(controls), "{nodes}");
    assert_eq!(nodes.rows().len(), 5, "{nodes}");
    let run = project.run(&["exec", "-H", "web", "--", "true"]);
    assert_eq!(
        run.errors(),
        ["error: host `web`: SSH configuration: invalid user `root"],
        "{run}"
    );
    // Where its name becomes a path.
    let run = project.run(&["-n", "run", "--all", "download", "/etc/motd", "logs/{host}"]);
    assert!(!run.stderr.contains(".."), "{run}");
}
