//! Refuses files that another user could have written: hitc runs them, or connects to what they name.
//!
//! git checks only who owns a repository, as it guards against folders that others planted. Here a
//! file that others can write is no better, so the mode counts, too, as for ssh. A group is no other
//! user if only the owner is in it, as in Debian's OpenSSH: with the umask 002, such a group can write
//! every file.

use std::{
    env, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::process::geteuid;

use crate::core::diagnostic::{Diagnostic, Kind};

/// The folders that the user trusts with everything in them, separated by colons. Only the process's
/// own environment counts: a `.env` may be one of the files in question.
const VARIABLE: &str = "HITC_TRUSTED_FOLDERS";

/// Permissions to write, and the sticky bit.
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Fails if a user other than the caller and root can change a file or folder, or put another one in
/// its place. Succeeds if the path does not exist.
pub fn check_trusted(path: &Path) -> Result<(), Diagnostic> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    let cause = intruder_at(path, &found).or_else(|| {
        // A link of our own leads to what counts.
        let target = path.canonicalize().ok().filter(|_| found.is_symlink())?;
        let found = fs::metadata(&target).ok()?;
        intruder_at(&target, &found)
    });
    let Some(cause) = cause.filter(|_| !is_allowed(path)) else {
        return Ok(());
    };
    let folder = folder_of(path);
    let folder = folder.canonicalize().unwrap_or(folder);
    let message = format!("`{}`: {cause}", path.display());
    Err(Diagnostic::new(Kind::Usage, message)
        .note("hitc does not use a file that another user could have written".to_owned())
        .help(format!(
            "change its owner or mode, or if you trust the folder, set {VARIABLE}={}",
            folder.display()
        )))
}

/// Who else can change what is at a path, or put something else there.
fn intruder_at(path: &Path, found: &fs::Metadata) -> Option<String> {
    let of_folder = || {
        let folder = folder_of(path);
        let cause = intruder(&fs::metadata(&folder).ok()?)?;
        Some(format!("in the folder `{}`, {cause}", folder.display()))
    };
    intruder(found).or_else(of_folder)
}

fn folder_of(path: &Path) -> PathBuf {
    let folder = path.parent().unwrap_or(path);
    let is_current = folder.as_os_str().is_empty();
    if is_current {
        PathBuf::from(".")
    } else {
        folder.to_owned()
    }
}

/// Who else can change a file, or the entries of a folder.
fn intruder(found: &fs::Metadata) -> Option<String> {
    let (owner, mode) = (found.uid(), found.mode());
    // Nothing else is read.
    if !(found.is_file() || found.is_dir() || found.is_symlink()) {
        return None;
    }
    if !is_trusted(owner) {
        return Some(format!("owned by {}", name_of(owner)));
    }
    // The mode of a link says nothing. In a folder with the sticky bit, users change only what is
    // theirs, and the owner of a file in it is checked.
    if found.is_symlink() || found.is_dir() && mode & STICKY != 0 {
        return None;
    }
    if mode & OTHERS_WRITE != 0 {
        return Some("writable by every user".to_owned());
    }
    let is_shared = mode & GROUP_WRITES != 0 && !is_private(found.gid(), owner);
    is_shared.then(|| format!("writable by group {}", found.gid()))
}

/// Whether a user may give us files: root, the caller, and as for git the user who called sudo.
fn is_trusted(user: u32) -> bool {
    let own = geteuid();
    let by_sudo = || env::var("SUDO_UID").ok().and_then(|id| id.parse().ok());
    user == 0 || user == own.as_raw() || own.is_root() && by_sudo() == Some(user)
}

/// Whether the user trusts the folder of a path.
fn is_allowed(path: &Path) -> bool {
    let folders = env::var_os(VARIABLE).unwrap_or_default();
    let folder = folder_of(path);
    let folder = folder.canonicalize().unwrap_or(folder);
    env::split_paths(&folders)
        .filter(|trusted| trusted.is_absolute())
        .filter_map(|trusted| trusted.canonicalize().ok())
        .any(|trusted| folder.starts_with(trusted))
}

fn lines(path: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Whether a user is the only member of a group. Not if the group is unknown, such as one of a
/// directory service.
fn is_private(group: u32, user: u32) -> bool {
    is_only_member(&lines("/etc/passwd"), &lines("/etc/group"), group, user)
}

/// See passwd(5) and group(5).
fn is_only_member(users: &[String], groups: &[String], group: u32, user: u32) -> bool {
    if group == 0 {
        return true;
    }
    let field = |line: &str, at: usize| line.split(':').nth(at).map(str::to_owned);
    let number = |line: &str, at: usize| field(line, at)?.parse::<u32>().ok();
    let name = users.iter().find(|line| number(line, 2) == Some(user));
    let name = name.and_then(|line| field(line, 0));
    let Some(entry) = groups.iter().find(|line| number(line, 2) == Some(group)) else {
        return false;
    };
    let members = field(entry, 3).unwrap_or_default();
    let mut members = members.split(',').filter(|member| !member.is_empty());
    let mut others = users
        .iter()
        .filter(|line| number(line, 3) == Some(group) && number(line, 2) != Some(user));
    members.all(|member| Some(member) == name.as_deref()) && others.next().is_none()
}

fn name_of(user: u32) -> String {
    let of_user = |line: &String| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id.parse() == Ok(user)).then(|| format!("user `{name}`"))
    };
    let name = lines("/etc/passwd").iter().find_map(of_user);
    name.unwrap_or_else(|| format!("user {user}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_groups() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let users = lines(
            "root:x:0:0::/root:/bin/sh\nann:x:7:7::/:/bin/sh\nbob:x:8:9::/:/bin/sh\neve:x:9:9::/:/bin/sh",
        );
        let groups = lines("root:x:0:\nann:x:7:ann\nteam:x:8:ann,bob\nusers:x:9:\nown:x:10:ann");
        let is_private = |group, user| is_only_member(&users, &groups, group, user);
        assert!(is_private(7, 7) && is_private(10, 7) && is_private(0, 0));
        // A member, another user's main group, an unknown group, another user's own group.
        assert!(!is_private(8, 7) && !is_private(9, 8) && !is_private(11, 7) && !is_private(7, 8));
    }
}
