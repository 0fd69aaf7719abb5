//! Google Cloud, by the provider in `stdlib/`.

use std::fs;

use serde_json::{Value as Json, json};

use crate::support::{Run, cloud::Cloud, live::Live};

/// Google's own client finds it faithful.
#[test]
fn by_googles_own_client() {
    let cloud = Cloud::start("gcp", None, &[]);
    assert_eq!(cloud.drive("gcp_client.py"), "faithful\n");
}

/// Runs hitc with everything that it says, which contains no credentials.
fn run(live: &Live, words: &[&str]) -> Run {
    let run = live.run(&[&["-y", "-v"], words].concat());
    let said = format!("{run}");
    let key = fs::read_to_string(live.home().join("key.json")).unwrap();
    let key: Json = serde_json::from_str(&key).unwrap();
    let key = key["private_key"].as_str().unwrap();
    for line in key
        .lines()
        .chain(["test-token", "d-FL95Q19q7MQmFpd7hHD0Ty"])
    {
        assert!(!said.contains(line), "{run}");
    }
    run
}

fn create(live: &Live, options: &[&str]) -> Run {
    run(
        live,
        &[&["run", "create", "provider=gcp"], options].concat(),
    )
}

/// The requests that order servers.
fn orders(cloud: &Cloud) -> usize {
    let log = cloud.log();
    let is_order =
        |line: &&String| line.starts_with("POST /zones/") && line.ends_with("/instances");
    log.iter().filter(is_order).count()
}

fn instances(cloud: &Cloud) -> Vec<Json> {
    cloud.get("/_instances").as_array().unwrap().clone()
}

/// Create, list, run, resize, reboot, terminate.
#[test]
fn the_whole_way() {
    let (cloud, live) = Cloud::gcp(Live::new(), true);
    let asked = live.run(&["run", "create", "provider=gcp", "name=web", "count=2"]);
    let question = "35.58 USD a month";
    assert!(
        asked.status == 2 && asked.stderr.contains(question),
        "{asked}"
    );
    assert_eq!(orders(&cloud), 0);
    create(&live, &["name=web", "count=2"]).ok();
    let rows = run(&live, &["nodes"]).ok().rows();
    let states: Vec<[&str; 3]> = rows.iter().map(|r| [&*r[1], &*r[2], &*r[5]]).collect();
    assert_eq!(
        states,
        [
            ["web", "e2-small", "running"],
            ["web-1", "e2-small", "running"]
        ]
    );

    // By the key in the metadata, which OS Login would ignore.
    let exec = run(
        &live,
        &["exec", "-R", "web", "--", "id -un; sudo -n id -un"],
    )
    .ok();
    assert_eq!(exec.stdout.matches("] hitc\n").count(), 2, "{exec}");
    assert_eq!(exec.stdout.matches("] root\n").count(), 2, "{exec}");
    let made = &instances(&cloud)[0];
    assert_eq!(made["labels"]["hitc-image"], "debian_2013");
    assert_eq!(made["labels"]["hitc-project"], live.project_id());
    assert_eq!(made.get("serviceAccounts"), None);

    run(&live, &["run", "-H", "web", "resize", "size=e2-medium"]).ok();
    assert!(run(&live, &["nodes"]).ok().rows()[0].contains(&"e2-medium".to_owned()));
    run(&live, &["run", "-H", "web", "reboot"]).ok();
    run(&live, &["exec", "-H", "web", "--", "true"]).ok();
    run(&live, &["run", "-R", "web", "terminate"]).ok();
    assert!(run(&live, &["nodes"]).ok().rows().is_empty());
    assert!(instances(&cloud).is_empty());
}

/// One that Google preempts is stopped, and can be started again.
#[test]
fn spot() {
    let (cloud, live) = Cloud::gcp(Live::new(), true);
    create(&live, &["name=web", "spot=true", "user=ops", "disk=20"]).ok();
    let made = &instances(&cloud)[0];
    assert_eq!(made["scheduling"]["provisioningModel"], "SPOT");
    assert_eq!(made["scheduling"]["instanceTerminationAction"], "STOP");
    let exec = run(&live, &["exec", "-H", "web", "--", "id -un"]).ok();
    assert_eq!(exec.stdout, "ops\n");
    for (state, shown) in [
        ("STOPPING", "stopping"),
        ("TERMINATED", "stopped"),
        ("SUSPENDED", "suspended"),
    ] {
        cloud.post("/_state", &json!([live.container("web"), state]));
        run(&live, &["run", "uncache"]).ok();
        let rows = run(&live, &["nodes"]).ok().rows();
        assert!(rows[0].contains(&shown.to_owned()), "{state}: {rows:?}");
    }
    run(&live, &["run", "-H", "web", "reboot"]).ok();
    run(&live, &["exec", "-H", "web", "--", "true"]).ok();
}

/// Before anything is ordered.
#[test]
fn what_cannot_be_is_said() {
    let (cloud, live) = Cloud::gcp(Live::new(), false);
    for (option, error, help) in [
        (
            "size=e2-smal",
            "size `e2-smal` not found",
            "did you mean `e2-small`?",
        ),
        ("size=../e2-small", "size `../e2-small` not found", ""),
        (
            "region=europe-west1",
            "region `europe-west1` not found",
            "did you mean `europe-west1-",
        ),
        (
            "image=debain 13",
            "image `debain 13` not found",
            "did you mean `debian 13`?",
        ),
        (
            "image=debian 31",
            "image `debian-31` not found",
            "did you mean `debian-13`?",
        ),
        (
            "image=debian-cloud/debian-14",
            "image `debian-14` not found",
            "did you mean `debian-1",
        ),
        (
            "network=defualt",
            "network `defualt` not found",
            "did you mean `default`?",
        ),
        (
            "network=inner",
            "has several subnetworks in region `europe-west1`",
            "network=inner/NAME",
        ),
        (
            "network=inner/frnt",
            "subnetwork `frnt` not found",
            "did you mean `front`?",
        ),
        (
            "disk=5",
            "disk: 5 GB is too small for the image, which needs 10 GB",
            "",
        ),
        (
            "user=root",
            "do not let root log in by SSH",
            "it may use sudo",
        ),
        ("user=a:b", "invalid user `a:b`", ""),
        (
            "protect=perhaps",
            "protect must be true or false, not `perhaps`",
            "",
        ),
        (
            "szie=e2-small",
            "provider `gcp`: unknown option `szie`",
            "did you mean `size`?",
        ),
        (
            &format!("name={}", "X".repeat(30)),
            "the label for the name is too long",
            "capital letters",
        ),
    ] {
        let name = if option.starts_with("name=") {
            "count=1"
        } else {
            "name=x"
        };
        let run = create(&live, &[name, option]);
        assert_eq!(run.status, 2, "{option}: {run}");
        assert!(
            run.stderr.contains(error) && run.stderr.contains(help),
            "{option}: {run}"
        );
    }
    assert_eq!(orders(&cloud), 0);
}

#[test]
fn images_networks_and_processors() {
    let (cloud, live) = Cloud::gcp(Live::new(), false);
    for options in [
        ["image=ubuntu 24.04", "size=e2-micro"],
        ["image=ubuntu 22.04", "size=e2-micro"],
        ["image=web", "size=c4-standard-2"],
        ["image=debian 13", "size=t2a-standard-1"],
        [
            "image=ubuntu-os-cloud/ubuntu-2404-lts-arm64",
            "size=t2a-standard-1",
        ],
        ["network=inner/back", "size=e2-micro"],
    ] {
        live.run(
            &[
                &["-n", "run", "create", "provider=gcp", "name=x"][..],
                &options[..],
            ]
            .concat(),
        )
        .ok();
    }
    let wrong = create(&live, &["name=x", "image=web", "size=t2a-standard-1"]);
    assert!(
        wrong.status == 2 && wrong.stderr.contains("image `web` is for X86_64"),
        "{wrong}"
    );
    assert_eq!(orders(&cloud), 0);
}

/// Google says that there is no capacity only when it has begun.
#[test]
fn no_capacity() {
    let (cloud, live) = Cloud::gcp(Live::new(), false);
    cloud.post("/_exhausted", &json!(["us-central1-a"]));
    let run = create(&live, &["name=web", "region=us-central1-a"]);
    assert!(
        run.status == 1
            && run
                .stderr
                .contains("does not have enough resources available")
            && run.stderr.contains("(ZONE_RESOURCE_POOL_EXHAUSTED)"),
        "{run}"
    );
    assert!(instances(&cloud).is_empty());
}

/// The credentials of `gcloud`, where it puts them.
#[test]
fn credentials_of_gcloud() {
    let (cloud, live) = Cloud::gcp(Live::new(), false);
    let live = live
        .env("GOOGLE_APPLICATION_CREDENTIALS", "")
        .env("CLOUDSDK_AUTH_TOKEN_HOST", &format!("{}/token", cloud.url));
    let listed = |live: &Live, words: &[&str]| {
        let run = run(live, words);
        assert!(run.status == 0, "{run}");
        run
    };
    let refused = |live: &Live, cause: &str, help: &str| {
        let run = create(live, &["name=x"]);
        assert_eq!(run.status, 2, "{run}");
        assert!(
            run.stderr.contains(cause) && run.stderr.contains(help),
            "{run}"
        );
    };
    refused(
        &live,
        "not configured: no credentials",
        "gcloud auth application-default login",
    );
    // Who does not use it hears nothing.
    assert_eq!(listed(&live, &["nodes"]).stderr, "");

    let mut user = cloud.get("/_credentials")["user"].clone();
    let folder = live.home().join(".config/gcloud");
    let file = folder.join("application_default_credentials.json");
    fs::create_dir_all(&folder).unwrap();
    fs::write(&file, user.to_string()).unwrap();
    refused(
        &live,
        "not configured: no project",
        "set GOOGLE_CLOUD_PROJECT",
    );
    let live = live.env("CLOUDSDK_CORE_PROJECT", "test-project");
    let labels = json!({"hitc": "1", "hitc-project": live.project_id()});
    cloud.post("/_servers", &json!([[live.container("x"), labels]]));
    assert_eq!(listed(&live, &["nodes"]).ok().rows().len(), 1);
    let live = live.env("GOOGLE_CLOUD_PROJECT", "foreign-project");
    let run_ = run(&live, &["nodes"]);
    assert!(
        run_.stderr
            .contains("Required 'compute.instances.list' permission"),
        "{run_}"
    );
    let live = live.env("GOOGLE_CLOUD_PROJECT", "test-project");

    // Another folder of gcloud.
    let other = live.root().join("other");
    fs::create_dir(&other).unwrap();
    user["refresh_token"] = json!("1//0test-token-revoked");
    fs::write(
        other.join("application_default_credentials.json"),
        user.to_string(),
    )
    .unwrap();
    let live = live.env("CLOUDSDK_CONFIG", other.to_str().unwrap());
    refused(
        &live,
        "access token refused: invalid_grant: Token has been expired or revoked. (status 400)",
        "run `gcloud auth application-default login`",
    );
    user["type"] = json!("external_account");
    fs::write(
        other.join("application_default_credentials.json"),
        user.to_string(),
    )
    .unwrap();
    refused(
        &live,
        "credentials of the type `external_account` are not supported",
        "",
    );
    fs::write(
        other.join("application_default_credentials.json"),
        "{\"type\": 1//0test-token",
    )
    .unwrap();
    refused(&live, "invalid JSON", "create the file again");
    let live = live.env("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent.json");
    refused(&live, "`/nonexistent.json` not found", "");
}

/// The key of a service account.
#[test]
fn a_key_that_google_does_not_know() {
    let (cloud, live) = Cloud::gcp(Live::new(), false);
    let other = Cloud::start("gcp", None, &[]);
    let mut key = other.get("/_credentials")["service_account"].clone();
    key["token_uri"] = format!("{}/token", cloud.url).into();
    let file = live.home().join("key.json");
    fs::write(&file, key.to_string()).unwrap();
    let said = create(&live, &["name=x"]);
    let cause = "invalid_grant: Invalid JWT Signature. (status 400)";
    assert!(said.status == 2 && said.stderr.contains(cause), "{said}");
    assert!(said.stderr.contains("create another key"), "{said}");
    key["private_key"] =
        json!("-----BEGIN PRIVATE KEY-----\nAAAAAAAA\n-----END PRIVATE KEY-----\n");
    fs::write(&file, key.to_string()).unwrap();
    let said = create(&live, &["name=x"]);
    assert!(
        said.status == 2 && said.stderr.contains("the private key is not an RSA key"),
        "{said}"
    );
}

/// A token is asked for once, and again when it ends, or when Google refuses it before.
#[test]
fn tokens_are_renewed() {
    let (cloud, live) = Cloud::gcp_with(Live::new(), true, &[("TOKEN_LIFETIME", "2")]);
    create(&live, &["name=web"]).ok();
    let tokens = |cloud: &Cloud| {
        cloud
            .log()
            .iter()
            .filter(|line| *line == "POST /token")
            .count()
    };
    assert!(tokens(&cloud) > 1);
    let (cloud, live) = Cloud::gcp(Live::new(), false);
    run(&live, &["nodes"]).ok();
    assert_eq!(tokens(&cloud), 1);
    let body = json!({"error": {"code": 401, "message": "Request had invalid authentication credentials."}});
    let fault = |times: u8| json!([{"path": "/aggregated/instances", "times": times, "status": 401, "body": body}]);
    cloud.faults(&fault(1));
    run(&live, &["run", "uncache"]).ok();
    run(&live, &["nodes"]).ok();
    assert_eq!(tokens(&cloud), 3);
    cloud.faults(&fault(9));
    run(&live, &["run", "uncache"]).ok();
    let said = run(&live, &["nodes"]);
    assert!(
        said.stderr.contains("invalid authentication credentials"),
        "{said}"
    );
    assert_eq!(tokens(&cloud), 5);
}

/// A lifetime that no clock could count.
#[test]
fn a_token_that_never_expires() {
    let lifetime = [("TOKEN_LIFETIME", "18446744073709551615")];
    let (_cloud, live) = Cloud::gcp_with(Live::new(), false, &lifetime);
    run(&live, &["nodes"]).ok();
}

/// What a script says of a token, however it does.
#[test]
fn a_token_is_masked() {
    let (_cloud, live) = Cloud::gcp(Live::new(), false);
    live.write(
        "hitcfile.rhai",
        "/// T.\nfn show() {\n let key = json::parse(fs::read(env::get(\"GOOGLE_APPLICATION_CREDENTIALS\")));\n\
         let form = #{ grant_type: \"urn:ietf:params:oauth:grant-type:jwt-bearer\" };\n\
         let claims = #{ iss: key.client_email, aud: key.token_uri, scope: \"https://www.googleapis.com/auth/compute\" };\n\
         let token = http::access_token(#{ url: key.token_uri, form: form, assertion: #{ claims: claims, key: key.private_key, id: key.private_key_id } });\n\
         print(token); print(token.reveal() + \" and \" + key.private_key); print(json::write(#{ t: token }).reveal());\n}\n",
    );
    let said = run(&live, &["run", "show"]).ok();
    assert!(said.stdout.starts_with("***\n*** and ***\n"), "{said}");
}

/// Names at Google are lower case, and those of running servers stay.
#[test]
fn names() {
    let (cloud, live) = Cloud::gcp(Live::new(), true);
    create(&live, &["name=Web-1"]).ok();
    assert_eq!(
        instances(&cloud)[0]["name"],
        live.container("web-1").to_lowercase()
    );
    let taken = create(&live, &["name=web-1"]);
    assert!(
        taken.status != 0 && taken.stderr.contains("choose another one"),
        "{taken}"
    );
    let runs = run(&live, &["run", "-H", "Web-1", "rename", "db"]);
    assert!(
        runs.status == 2
            && runs.stderr.contains("only a stopped one can be renamed")
            && runs.stderr.contains("gcloud compute instances stop"),
        "{runs}"
    );
    // The name at Google stays the same: that is possible at once.
    run(&live, &["run", "-H", "Web-1", "rename", "web-1"]).ok();
    cloud.post("/_stop", &json!(live.container("web-1")));
    run(&live, &["run", "uncache"]).ok();
    run(&live, &["run", "-H", "web-1", "rename", "db"]).ok();
    run(&live, &["run", "-H", "db", "reboot"]).ok();
    run(&live, &["exec", "-H", "db", "--", "true"]).ok();
    assert_eq!(
        instances(&cloud)[0]["name"],
        live.container("db").to_lowercase()
    );

    // A server that hitc did not make is not touched.
    let (cloud, live) = Cloud::gcp(Live::new(), false);
    cloud.post("/_servers", &json!([[live.container("web"), {}]]));
    let foreign = create(&live, &["name=web"]);
    assert!(
        foreign.status == 1
            && foreign
                .stderr
                .contains("exists in europe-west1-b, and hitc did not create it"),
        "{foreign}"
    );
    assert_eq!(instances(&cloud).len(), 1);
    assert_eq!(orders(&cloud), 0);
}

/// A list without a zone that does not answer is no list.
#[test]
fn an_incomplete_list() {
    let (cloud, live) = Cloud::gcp(Live::new(), false);
    for body in [
        json!({"items": {}, "unreachables": ["zones/europe-west1-b"]}),
        json!({"items": {"zones/europe-west1-b": {"warning": {"code": "UNREACHABLE"}}}}),
    ] {
        let fault =
            json!([{"path": "/aggregated/instances", "times": 1, "status": 200, "body": body}]);
        cloud.faults(&fault);
        let said = run(&live, &["nodes"]);
        assert!(
            said.stderr.contains("the list of servers is not complete"),
            "{said}"
        );
    }
}

/// Compute Engine says with status 403 that requests come too fast.
#[test]
fn the_rate_limit() {
    let (cloud, live) = Cloud::gcp(Live::new(), false);
    let errors = json!([{"reason": "rateLimitExceeded", "domain": "usageLimits"}]);
    let body = json!({"error": {"code": 403, "message": "Rate Limit Exceeded", "errors": errors}});
    let fault = json!([{"path": "/aggregated/instances", "times": 2, "status": 403, "body": body}]);
    cloud.faults(&fault);
    let said = live.run(&["nodes"]).ok();
    assert_eq!(said.stderr, "");
}

/// The network's firewall is not changed.
#[test]
fn rules_that_a_firewall_lacks() {
    let (_cloud, live) = Cloud::gcp(Live::new(), true);
    create(&live, &["name=web"]).ok();
    let applied = run(&live, &["run", "-H", "web", "iptables.apply", "443=*"]).ok();
    let warning = "warning: server `web`: firewall `default` at gcp does not admit 443/tcp from *: add the \
                   rule there\n";
    assert!(applied.stderr.contains(warning), "{applied}");
}

/// It outlives the server, and stays while it is stopped.
#[test]
fn a_stable_address() {
    let (cloud, live) = Cloud::reachable_gcp();
    let address = cloud.post("/_address", &json!(["europe-west1", "front", {}]))["address"].clone();
    let inner = json!(["europe-west1", "inner", {"addressType": "INTERNAL"}]);
    cloud.post("/_address", &inner);
    for (options, error) in [
        (vec!["address=fornt"], "address `fornt` not found"),
        (
            vec!["address=front", "region=us-central1-a"],
            "address `front` not found",
        ),
        (
            vec!["address=inner"],
            "address `inner` is not an external IPv4 address",
        ),
        (
            vec!["address=front", "count=2"],
            "`address` cannot be used with `count: 2`",
        ),
    ] {
        let run = create(&live, &[&["name=web"], &options[..]].concat());
        assert!(run.status == 2 && run.stderr.contains(error), "{run}");
    }
    assert_eq!(orders(&cloud), 0);
    for _ in 0..2 {
        create(&live, &["name=web", "address=front"]).ok();
        assert_eq!(json!(live.ip("web")), address);
        let used = create(&live, &["name=x", "address=front"]);
        let error = format!(
            "address `front` is in use by `{}`",
            live.container("web").to_lowercase()
        );
        assert!(used.status == 2 && used.stderr.contains(&error), "{used}");
        run(&live, &["run", "-H", "web", "resize", "size=e2-medium"]).ok();
        assert_eq!(json!(live.ip("web")), address);
        run(&live, &["run", "-H", "web", "terminate"]).ok();
    }
    assert_eq!(orders(&cloud), 2);
}

/// From the catalog, which has no machine types.
#[test]
fn prices() {
    let (cloud, live) = Cloud::reachable_gcp();
    let quote = |options: &[&str]| {
        let words = ["-n", "run", "create", "provider=gcp", "name=x"];
        live.run(&[&words[..], options].concat()).ok().stderr
    };
    for (options, cost) in [
        // Half a core, 2 GiB, a disk of 10 GiB and an address.
        (vec![], "17.79 USD a month"),
        (vec!["spot=true"], "7.21 USD a month"),
        (vec!["disk=30"], "19.79 USD a month"),
    ] {
        let said = quote(&options);
        assert!(said.contains(cost), "{options:?}: {said}");
    }
    // The catalog lacks the SKUs of this series, and of its disks.
    let said = quote(&["size=c4-standard-2"]);
    assert!(said.contains("3.65 USD a month"), "{said}");
    assert!(said.contains("server") && said.contains("disk"), "{said}");

    let list = live
        .run(&["run", "pricing", "provider=gcp", "--month"])
        .ok();
    let rows = list.rows();
    let sizes: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(
        sizes,
        ["e2-micro", "e2-small", "e2-medium", "t2a-standard-1"]
    );
    assert!(
        list.stderr
            .contains("gcp: USD a month, including IPv4 address"),
        "{list}"
    );

    create(&live, &["name=web"]).ok();
    let costs = live.run(&["run", "costs"]).ok();
    let line = costs
        .stdout
        .lines()
        .find(|line| line.starts_with("gcp"))
        .unwrap();
    assert!(
        line.contains("17.79")
            && line.contains("IPv4 address 3.65, disk of 10 GiB 1.00, server 13.14"),
        "{costs}"
    );
    cloud.post("/_stop", &json!(live.container("web")));
    let costs = live.run(&["run", "costs"]).ok();
    let line = costs
        .stdout
        .lines()
        .find(|line| line.starts_with("gcp"))
        .unwrap();
    assert!(line.contains(" 1.00 "), "{costs}");

    cloud.set(&json!({"billing": false}));
    let said = quote(&[]);
    assert!(
        said.contains("gcp: the costs are not known: Google Cloud Billing: GET /v1/services/")
            && said.contains("has not been used in project"),
        "{said}"
    );
}
