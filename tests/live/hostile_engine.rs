//! A Docker Engine on a server that sends without end: hitc ends with an error that names the host and
//! the limit, and uses little memory.

use super::hostile_server::{GRACE, project, run};

#[test]
fn streams_without_end() {
    let logs = &["run", "-H", "evil", "docker.logs", "app"][..];
    let events = &["run", "-H", "evil", "docker.events"];
    let stats = &["run", "-H", "evil", "docker.stats"];
    let pull = &["run", "-H", "evil", "docker.pull", "example.com/x:1"];
    let exec = &["exec", "-H", "evil/app", "--", "true"];
    let frame = "the Docker Engine sent too much: a frame of the output is larger than 1 MiB";
    let line = "the Docker Engine sent too much: a line of the output is larger than 4 MiB";
    let message = "the Docker Engine sent too much: a message of the answer is larger than 1 MiB";
    let answer = "the Docker Engine sent too much: the answer is larger than 1 MiB";
    // hyper's own limit.
    let head = "message head is too large";
    for (attack, arguments, error) in [
        ("frame", logs, frame),
        ("line", logs, line),
        ("frame", exec, frame),
        ("message", events, message),
        ("lines", events, message),
        ("message", stats, message),
        ("message", pull, message),
        ("error", events, answer),
        ("error", logs, answer),
        ("head", events, head),
    ] {
        let it = project(&format!("engine-{attack}"));
        let ended = run(&it, arguments, GRACE);
        assert_eq!(ended.status, 1, "{attack}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("error: host `evil`: ") && ended.stderr.contains(error),
            "{attack} {arguments:?}: {}",
            ended.stderr
        );
    }
}
