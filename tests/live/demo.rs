//! The project's own demo, as the README has it.

use crate::support::{live::Live, sources};

#[test]
fn the_demo_shows_the_page_and_that_nothing_changes() {
    let live = Live::new().within(sources());
    let first = live.run(&["run", "demo"]).ok();
    assert!(
        first
            .stdout
            .contains("Hello from hello-page. You are visitor 1, says http://"),
        "{first}"
    );
    assert!(first.stderr.contains("\n`hello` is up ("), "{first}");
    assert!(
        first
            .stderr
            .contains("\nno changes\n`hello` is up to date ("),
        "{first}"
    );
    assert!(
        first.stdout.contains("hello-counter  counter"),
        "docker.ps: {first}"
    );
    assert!(
        first
            .stderr
            .contains("run --yes ensemble.down examples/hello"),
        "{first}"
    );
    let second = live.run(&["run", "demo"]).ok();
    assert!(second.stdout.contains("You are visitor 2"), "{second}");
    assert!(!second.stderr.contains("`hello` is up ("), "{second}");
    live.run(&["run", "--yes", "ensemble.down", "examples/hello"])
        .ok();
    assert_eq!(live.run(&["nodes"]).ok().rows().len(), 0);
}
