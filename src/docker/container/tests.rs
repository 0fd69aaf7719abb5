//! Tests every row of the table of options.

use std::{collections::BTreeMap, path::Path};

use super::{
    as_made, labels,
    table::{ROWS, Row, Unset},
};
use crate::{
    core::value::Value,
    docker::{Container, Inputs, Spec},
};

/// Two different values of an option, as the user writes them.
fn samples(key: &str) -> [&'static str; 2] {
    match key {
        "command" | "entrypoint" => ["sh -c 'a b'", "true"],
        "hostname" | "user" => ["one", "two"],
        "stop_timeout" => ["3s", "1m"],
        "privileged" | "read_only" | "init" => ["true", "false"],
        "ulimits" => ["nofile=1024:2048,nproc=-1", "nofile=1024"],
        "cap_add" | "cap_drop" => ["net_admin,CAP_SYS_TIME", "ALL"],
        "log" => ["json-file", "driver=local,max-size=1m"],
        "networks" => ["backend,frontend", "host"],
        "environment" | "labels" => ["A=1,B=2", "A=2"],
        "ports" => ["80,81:8081/udp", "80"],
        "volumes" => ["/a:/b:ro,data:/d", "/a:/b"],
        "max_memory" | "shm_size" => ["64m", "1g"],
        "cpus" => ["0.5", "2"],
        "restart" => ["always", "no"],
        other => panic!("give samples for `{other}`"),
    }
}

fn spec(pairs: &[(&str, &str)]) -> Spec {
    let pairs = [("image", "a")].iter().chain(pairs);
    let value = Value::map(pairs.map(|(key, value)| (*key, Value::text(*value))));
    let inputs = Inputs::load(Path::new("."), [&value]);
    Spec::decode("x", &value, &inputs, "container `x`").unwrap()
}

fn made(spec: &Spec) -> Container {
    as_made(spec, &BTreeMap::new(), "172.17.0.2")
}

/// The options that differ: those that can change in place, and those that need a new container.
fn differences(container: &Container, spec: &Spec) -> [Vec<String>; 2] {
    let found = container.compare(spec, None);
    [found.in_place, found.replace].map(|changes| {
        let keys = changes.iter().map(|change| change.field.split('.').next());
        let mut keys: Vec<String> = keys.map(|key| key.unwrap().to_owned()).collect();
        keys.dedup();
        keys
    })
}

fn each(check: impl Fn(&Row, Spec, Spec)) {
    for row in &ROWS {
        let [one, two] = samples(row.key).map(|sample| spec(&[(row.key, sample)]));
        check(row, one, two);
    }
}

#[test]
fn created_and_read_back() {
    each(|row, one, two| {
        for spec in [one, two] {
            let container = made(&spec);
            assert_eq!(differences(&container, &spec), [[""; 0]; 2], "{}", row.key);
            // Not only by the digest.
            let mut unlabelled = container.clone();
            unlabelled.labels.remove(labels::SPEC);
            assert_eq!(differences(&unlabelled, &spec), [[""; 0]; 2], "{}", row.key);
        }
    });
}

#[test]
fn compared() {
    each(|row, one, two| {
        let [in_place, replace] = differences(&made(&one), &two);
        let (changed, unchanged) = if row.in_place {
            (in_place, replace)
        } else {
            (replace, in_place)
        };
        assert_eq!(changed, [row.key]);
        assert_eq!(unchanged, [""; 0], "{}", row.key);
    });
}

#[test]
fn removed() {
    let plain = spec(&[]);
    each(|row, one, _| {
        let [in_place, replace] = differences(&made(&one), &plain);
        // There is always a restart policy; the engine cannot remove a limit.
        if row.key == "restart" {
            assert_eq!(in_place, ["restart"]);
        } else {
            assert_eq!(replace, [row.key]);
        }
    });
}

#[test]
fn changed_by_hand() {
    each(|row, one, two| {
        let mut container = made(&one);
        let other = made(&two);
        container.options = other.options;
        let [in_place, replace] = differences(&container, &one);
        // What the image may have added is not told from what was changed.
        let is_seen = row.unset == Unset::Zero;
        assert_eq!(
            [in_place, replace].concat().is_empty(),
            !is_seen,
            "{}",
            row.key
        );
    });
}

#[test]
fn counted_in_the_digest() {
    each(|row, one, two| {
        assert_eq!(one.digest() == two.digest(), row.in_place, "{}", row.key);
        assert!(one.digest().starts_with("v2:"));
    });
    // Nothing written out is the same as nothing written.
    assert_eq!(
        spec(&[("ports", ""), ("privileged", "false")]).digest(),
        spec(&[]).digest()
    );
}

/// The values were formed by the version of hitc that labelled containers so.
#[test]
fn old_digests_are_understood() {
    let plain = "v1:df1cf70981fcd79d9da405e18731cbe756f4d2adc72ec326c4f8edd00b8ff7d5";
    let full = "v1:55442bf0935286c91a50cea22ee67cec3c93e90a2f6edcd25de439f358aecbf9";
    assert!(spec(&[]).has_digest(plain));
    let whole = spec(&[
        ("command", "sh -c x"),
        ("entrypoint", "e"),
        ("environment", "A=1,B=x=y"),
        ("ports", "80,81:8081/udp"),
        ("volumes", "/a:/b:ro,data:/d"),
        ("hostname", "h"),
        ("user", "u"),
        ("privileged", "true"),
        ("labels", "l=1"),
        ("stop_timeout", "3"),
        ("max_memory", "64m"),
        ("restart", "no"),
    ]);
    assert!(whole.has_digest(full));
    assert!(!whole.has_digest(plain));

    // Such a container is not replaced because hitc changed.
    let mut container = made(&whole);
    container
        .labels
        .insert(labels::SPEC.to_owned(), full.to_owned());
    assert_eq!(differences(&container, &whole), [[""; 0]; 2]);
}

#[test]
fn written_as_json_and_read_again() {
    each(|row, one, _| {
        let json = serde_json::to_string(&one).unwrap();
        assert_eq!(
            serde_json::from_str::<Spec>(&json).unwrap(),
            one,
            "{}",
            row.key
        );
        let container = made(&one);
        let json = serde_json::to_string(&container).unwrap();
        assert_eq!(serde_json::from_str::<Container>(&json).unwrap(), container);
    });
}
