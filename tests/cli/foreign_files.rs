//! Files that another user could have written are refused.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
};

use crate::support::{Project, Run};

/// A user of the system who is not the one that runs the tests.
const OTHER: u32 = 65_534;

const TASK: &str = "/// A.\nfn a() { print(\"ran\") }\n";

const PROVIDER: &str = "fn list() { print(\"ran\"); [] }\n";

const MANIFEST: &str = "web:\n  provider: local\n";

/// A project with a file of each kind.
fn project() -> Project {
    Project::new()
        .file(
            "hitcfile.rhai",
            &format!("import \"tasks/b\" as b;\n{TASK}"),
        )
        .file("tasks/b.rhai", "/// B.\nfn c() { print(\"ran\") }\n")
        .file("providers/own.rhai", PROVIDER)
        .file("unmanaged_servers.txt", "10.255.0.1 x\n")
        .file("hitc.id", "0123456789abcdef0123456789abcdef\n")
        .file(".env", "A=1\n")
        .file("m.yml", MANIFEST)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[track_caller]
fn refused(run: &Run, path: &str, cause: &str) {
    assert_eq!(run.status, 2, "{run}");
    let expected = format!("{path}`: {cause}\n");
    assert!(run.stderr.contains(&expected), "{run}");
    assert!(run.stderr.contains("set HITC_TRUSTED_FOLDERS=/"), "{run}");
    assert!(!run.stdout.contains("ran"), "{run}");
}

/// Each file that hitc uses by itself, owned by another user or writable for all.
#[test]
fn files_that_others_own_or_can_write() {
    let runs: [(&str, &[&str]); 8] = [
        ("hitcfile.rhai", &["a"]),
        ("tasks/b.rhai", &["a"]),
        ("providers/own.rhai", &["nodes"]),
        ("providers", &["nodes"]),
        ("unmanaged_servers.txt", &["nodes"]),
        ("hitc.id", &["a"]),
        (".env", &["a"]),
        ("m.yml", &["run", "ensemble.plan", "m"]),
    ];
    for (name, words) in runs {
        let project = project();
        let path = project.root().join(name);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        set_mode(&path, mode | 0o002);
        refused(&project.run(words), name, "writable by every user");
        set_mode(&path, mode);
        chown(&path, Some(OTHER), None).unwrap();
        refused(&project.run(words), name, "owned by user `nobody`");
    }
    project().run(&["a"]).is(0, "ran\n", "");
}

/// A folder in which others can put files, such as /tmp, and what a stranger has put there.
#[test]
fn folders_that_others_own_or_can_write() {
    let project = project();
    let root = project.root();
    let shown = root.canonicalize().unwrap();
    let run = || project.run(&["a"]);
    set_mode(&root, 0o777);
    let cause = format!("in the folder `{}`, writable by every user", root.display());
    refused(&run(), "hitcfile.rhai", &cause);
    // In a folder as /tmp, others can only add files.
    set_mode(&root, 0o1777);
    run().is(0, "ran\n", "");
    chown(root.join("hitcfile.rhai"), Some(OTHER), None).unwrap();
    refused(&run(), "hitcfile.rhai", "owned by user `nobody`");
    // Also from a folder below it, as for git.
    fs::create_dir(root.join("below")).unwrap();
    let mut below = Project::new();
    below.move_to(&root.join("below"));
    refused(
        &below.run(&["a"]),
        "hitcfile.rhai",
        "owned by user `nobody`",
    );
    refused(
        &below.run(&["nodes"]),
        "hitcfile.rhai",
        "owned by user `nobody`",
    );
    // A link of another user to a file of ours, and a link of ours to a file of another user.
    let own = tempfile::tempdir().unwrap();
    fs::write(own.path().join("own"), TASK).unwrap();
    let link = |to: &Path, owner: u32| {
        fs::remove_file(root.join("hitcfile.rhai")).unwrap();
        symlink(to, root.join("hitcfile.rhai")).unwrap();
        std::os::unix::fs::lchown(root.join("hitcfile.rhai"), Some(owner), None).unwrap();
    };
    link(&own.path().join("own"), OTHER);
    refused(&run(), "hitcfile.rhai", "owned by user `nobody`");
    link(&own.path().join("own"), 0);
    run().is(0, "ran\n", "");
    chown(own.path().join("own"), Some(OTHER), None).unwrap();
    refused(&run(), "hitcfile.rhai", "owned by user `nobody`");
    // A folder of another user.
    chown(own.path().join("own"), Some(0), None).unwrap();
    chown(&root, Some(OTHER), None).unwrap();
    let cause = format!("in the folder `{}`, owned by user `nobody`", root.display());
    refused(&run(), "hitcfile.rhai", &cause);
    let message = run().stderr;
    assert!(
        message.contains(&format!("HITC_TRUSTED_FOLDERS={}\n", shown.display())),
        "{message}"
    );
}

/// What a user may trust: a folder with everything in it, and the user who called sudo.
#[test]
fn trusted_folders_and_users() {
    let files = [
        "hitcfile.rhai",
        "tasks",
        "tasks/b.rhai",
        "providers/own.rhai",
        ".env",
        "",
    ];
    let foreign = || {
        let project = project();
        for name in files {
            chown(project.root().join(name), Some(OTHER), None).unwrap();
        }
        project
    };
    let trusting = |variable: &str, value: &dyn Fn(&Project) -> String| {
        let project = foreign();
        let value = value(&project);
        project.env(variable, &value).run(&["a"])
    };
    let root = |project: &Project| project.root().display().to_string();
    let folders = "HITC_TRUSTED_FOLDERS";
    trusting(folders, &root).is(0, "ran\n", "");
    trusting(folders, &|project| {
        format!("/nothing:{}/..:", root(project))
    })
    .is(0, "ran\n", "");
    for value in ["", ".", "/nothing", "project"] {
        let run = trusting(folders, &|_| value.to_owned());
        refused(&run, "hitcfile.rhai", "owned by user `nobody`");
    }
    // Nor by the file in question.
    let project = foreign();
    project.write(".env", &format!("{folders}={}\n", root(&project)));
    refused(
        &project.run(&["a"]),
        "hitcfile.rhai",
        "owned by user `nobody`",
    );
    trusting("SUDO_UID", &|_| OTHER.to_string()).is(0, "ran\n", "");
    let run = trusting("SUDO_UID", &|_| "1".to_owned());
    refused(&run, "hitcfile.rhai", "owned by user `nobody`");
}

/// With the umask 002, all files are writable for the user's own group, in which only the user is.
#[test]
fn a_group_of_several_users() {
    let project = project();
    for name in ["hitcfile.rhai", "tasks", "tasks/b.rhai", ""] {
        let path = project.root().join(name);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        set_mode(&path, mode | 0o020);
    }
    project.run(&["a"]).is(0, "ran\n", "");
    // A group of which root is not the only member: it has other users.
    chown(project.root().join("hitcfile.rhai"), None, Some(OTHER)).unwrap();
    let cause = format!("writable by group {OTHER}");
    refused(&project.run(&["a"]), "hitcfile.rhai", &cause);
}
