//! The first steps of a new user, on a machine that has nothing: a local server without Docker, on
//! which this hitc is run by a user who may use sudo.

use crate::support::live::{Live, docker};

#[test]
fn a_bare_machine_is_made_ready() {
    let live = Live::new();
    live.run(&["run", "create", "name=machine", "image=debian-13-bare"])
        .ok();
    let machine = live.container("machine");
    docker(&[
        "cp",
        env!("CARGO_BIN_EXE_hitc"),
        &format!("{machine}:/usr/local/bin/hitc"),
    ]);
    let user = |line: &str| live.run(&["exec", "-u", "admin", "-H", "machine", "--", line]);

    let before = user("hitc create name=web");
    assert_eq!(before.status, 2, "{before}");
    assert!(
        before
            .stderr
            .contains("`hitc run local.setup` installs and starts Docker"),
        "{before}"
    );

    // Docker from packages, the user in its group, the image from debootstrap.
    user("hitc run local.setup").ok();
    let again = user("hitc run local.setup").ok();
    assert!(!again.stderr.contains("debootstrap"), "{again}");

    user("hitc create name=web").ok();
    assert_eq!(user("hitc exec -H web -- hostname").ok().stdout, "web\n");
    let key = user("stat -c %a ~/.local/share/hitc ~/.local/share/hitc/id_ed25519").ok();
    assert_eq!(key.stdout, "700\n600\n");
    user("hitc run --yes --all terminate").ok();
}
