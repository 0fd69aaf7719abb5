//! EC2 with its limits and delays: see `tests/clouds/amazon.py`.

use crate::support::{
    Run,
    cloud::Cloud,
    live::{Live, docker},
};

fn create(live: &Live, options: &[&str]) -> Run {
    live.run(&[&["-y", "run", "create", "provider=ec2"], options].concat())
}

/// The rows of EC2's servers.
fn nodes(live: &Live) -> Vec<Vec<String>> {
    let rows = live.run(&["nodes"]).ok().rows();
    rows.into_iter().filter(|row| row[0] == "ec2").collect()
}

/// What EC2 would refuse is said before anything is ordered.
#[test]
fn options_that_do_not_fit_together() {
    let (cloud, live) = Cloud::ec2(Live::new());
    let subnet_in_b = &*cloud.boto(
        "print('subnet=' + [s['SubnetId'] for s in ec2.describe_subnets()['Subnets'] \
         if s['AvailabilityZone'] == 'us-east-1b'][0])",
    );
    let too_long = &*format!("user_data={}", "#".repeat(16385));
    for (options, error, help) in [
        (
            &["size=p3dn.24xlarge", "placement=us-east-1a"][..],
            "size `p3dn.24xlarge` is not offered in zone us-east-1a",
            "it is offered in us-east-1c, us-east-1d",
        ),
        (
            &["size=t3.micro", "image=ami-0aaaaaaaaaaaaaaa3"],
            "image `ami-0aaaaaaaaaaaaaaa3` is for arm64, which size `t3.micro` does not run",
            "of the same architecture",
        ),
        (
            &["disk=1"],
            "disk must be at least 15 GiB for image `debian 13`, not 1",
            "",
        ),
        (
            &[subnet_in_b, "placement=us-east-1a"],
            "is in zone us-east-1b, not in us-east-1a",
            "leave out `placement`",
        ),
        (
            &["ipv6=true"],
            "ipv6=true needs a subnet with IPv6 addresses",
            "`subnet=ID`",
        ),
        (
            &["security_group=sg-0123456789abcdef0"],
            "security_group `sg-0123456789abcdef0` not found",
            "in this region",
        ),
        (
            &["user=a b"],
            "user must be the name of a user, not `a b`",
            "",
        ),
        (
            &["tags=hitc:prefix=x"],
            "tags must not contain `hitc:prefix`",
            "have a meaning already",
        ),
        (
            &[too_long],
            "user_data must be at most 16384 bytes long, not 16385",
            "fetch the rest",
        ),
    ] {
        let run = create(&live, &[&["name=x"], options].concat());
        assert_eq!(run.status, 2, "{options:?}: {run}");
        assert!(
            run.stderr.contains(error) && run.stderr.contains(help),
            "{options:?}: {run}"
        );
    }
    assert!(
        !cloud
            .log()
            .iter()
            .any(|line| line.ends_with(" RunInstances"))
    );
}

#[test]
fn a_region_without_a_default_network() {
    let (cloud, live) = Cloud::ec2(Live::new());
    cloud.boto(
        "for s in ec2.describe_subnets()['Subnets']: ec2.delete_subnet(SubnetId=s['SubnetId'])\n\
         ec2.delete_vpc(VpcId=ec2.describe_vpcs()['Vpcs'][0]['VpcId'])",
    );
    let run = create(&live, &["name=x"]);
    assert!(
        run.status == 2
            && run
                .stderr
                .contains("this region has no default network (VPC)")
            && run.stderr.contains("`subnet=ID`"),
        "{run}"
    );
    // The group of another network is not taken.
    cloud.boto("ec2.create_security_group(GroupName='hitc', Description='x', VpcId=ec2.create_vpc(CidrBlock='10.0.0.0/16')['Vpc']['VpcId'])");
    let run = create(&live, &["name=x"]);
    assert!(run.stderr.contains("no default network"), "{run}");
}

/// Servers do not vanish from the list in silence because a session has expired.
#[test]
fn expired_credentials_and_a_mistyped_profile() {
    let (_cloud, live) = Cloud::ec2(Live::new());
    let home = live.home().join(".aws");
    let write = |name: &str, text: &str| {
        let path = home.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "config",
        "[profile work]\nsso_session = it\nsso_account_id = 111122223333\nsso_role_name = r\nregion = us-east-1\n\
         [sso-session it]\nsso_region = us-east-1\nsso_start_url = https://example.awsapps.com/start\n",
    );
    // The name is the SHA-1 of the session's name.
    write(
        "sso/cache/6c5522ca8af86fc5069b737bb8892b3ea61002c2.json",
        "{\"accessToken\": \"t\", \"expiresAt\": \"2020-01-01T00:00:00Z\"}",
    );
    let live = live
        .env("AWS_ACCESS_KEY_ID", "")
        .env("AWS_SECRET_ACCESS_KEY", "")
        .env("AWS_PROFILE", "work");
    let run = live.run(&["nodes"]).ok();
    assert!(
        run.stderr
            .contains("warning: provider `ec2`: getting credentials: ")
            && run.stderr.contains("aws sso login --profile work"),
        "{run}"
    );
    let live = live.env("AWS_PROFILE", "wrok");
    let run = live.run(&["nodes"]).ok();
    assert!(
        run.stderr.contains("getting credentials: ") && run.stderr.contains("`wrok`"),
        "{run}"
    );
    let run = create(&live, &["name=x"]);
    assert!(run.status == 2 && run.stderr.contains("`wrok`"), "{run}");
    // Without any file of AWS's own tools.
    std::fs::rename(&home, live.home().join("away")).unwrap();
    let run = live.run(&["nodes"]).ok();
    assert!(
        run.stderr.contains("no credentials in profile `wrok`"),
        "{run}"
    );
    std::fs::rename(live.home().join("away"), &home).unwrap();
    // Nothing names EC2 but a setting that is for all services.
    let live = live.env("AWS_PROFILE", "");
    let run = live.run(&["nodes"]).ok();
    assert!(!run.stderr.contains("ec2"), "{run}");
}

/// Within EC2's limits: two orders a second, after the first five.
#[test]
fn many_at_once() {
    let (cloud, live) = Cloud::reachable_ec2();
    let started = std::time::Instant::now();
    create(&live, &["name=n", "count=30"]).ok();
    let seconds = started.elapsed().as_secs_f64();
    assert_eq!(nodes(&live).len(), 30);
    let log = cloud.log();
    let count = |action: &str| log.iter().filter(|line| line.ends_with(action)).count();
    assert_eq!(count(" RunInstances"), 30, "{log:?}");
    // What they have in common is looked up once, and once more for the quote.
    for action in [
        "DescribeInstanceTypes",
        "DescribeImages",
        "DescribeSecurityGroups",
        "DescribeVpcs",
        "ImportKeyPair",
        "CreateSecurityGroup",
    ] {
        assert!(count(action) <= 2, "{action}: {log:?}");
    }
    assert!(count(" DescribeInstances") < 100, "{log:?}");
    assert!(seconds < 60.0, "{seconds} s");
}

/// User, tags and user data reach EC2.
#[test]
fn further_options() {
    let (cloud, live) = Cloud::reachable_ec2();
    create(
        &live,
        &[
            "name=web",
            "user=root",
            "tags=team=web,env=prod",
            "user_data=#!/bin/sh",
        ],
    )
    .ok();
    assert_eq!(
        live.run(&["exec", "-H", "web", "--", "id -un"]).ok().stdout,
        "root\n"
    );
    assert_eq!(
        cloud.boto(
            "i = ec2.describe_instances()['Reservations'][0]['Instances'][0]\n\
             tags = {t['Key']: t['Value'] for t in i['Tags']}\n\
             d = ec2.describe_instance_attribute(InstanceId=i['InstanceId'], Attribute='userData')\n\
             print(tags['team'], tags['env'], d['UserData']['Value'])"
        ),
        "web prod IyEvYmluL3No"
    );
}

/// A cloud that fails for a while does not make a server fail that starts meanwhile.
#[test]
fn a_list_that_fails_while_a_server_starts() {
    let (cloud, live) = Cloud::reachable_ec2();
    let error = "<Response><Errors><Error><Code>Unavailable</Code><Message>no</Message></Error></Errors></Response>";
    // After the lists of the quote and the order: more often than a request is sent again.
    cloud.faults(&serde_json::json!([{
        "path": "DescribeInstances", "skip": 2, "times": 6, "status": 503, "body": error
    }]));
    create(&live, &["name=web"]).ok();
    assert_eq!(nodes(&live)[0][5], "running");
}

/// EC2 does not know the id of a new instance everywhere at once: it is not gone.
#[test]
fn a_new_instance_is_not_gone() {
    let (cloud, live) = Cloud::reachable_ec2();
    create(&live, &["name=web"]).ok();
    let error = "<Response><Errors><Error><Code>InvalidInstanceID.NotFound</Code><Message>no</Message></Error></Errors></Response>";
    cloud.faults(&serde_json::json!([{
        "path": "DescribeInstances", "skip": 1, "times": 2, "status": 400, "body": error
    }]));
    live.run(&["-y", "run", "-H", "web", "terminate"]).ok();
    cloud.faults(&serde_json::json!([]));
    assert_eq!(
        cloud.boto(
            "print([i['State']['Name'] for r in ec2.describe_instances()['Reservations'] for i in r['Instances']])"
        ),
        "['terminated']"
    );
}

/// Images of the marketplace answer every command with a message, and with success, until they are ready.
#[test]
fn a_server_that_asks_to_wait() {
    let (_cloud, live) = Cloud::reachable_ec2();
    let behind = live.container("behind");
    let sh = |line: &str| docker(&["exec", &behind, "sh", "-c", line]);
    sh(
        "echo 'ForceCommand echo Please wait' >/etc/ssh/sshd_config.d/wait.conf; pkill -HUP -o sshd",
    );
    let mut terminal = live.terminal("$HITC -y run create provider=ec2 name=web");
    terminal.wait_for("waiting until it runs commands");
    sh("rm /etc/ssh/sshd_config.d/wait.conf; pkill -HUP -o sshd");
    terminal.wait_for("ready after");
    assert_eq!(terminal.end(), 0);
    assert_eq!(nodes(&live)[0][5], "running");

    // One that wants another user is not waited for.
    sh(
        "echo 'ForceCommand echo Please log in as admin; exit 142' >/etc/ssh/sshd_config.d/wait.conf; pkill -HUP -o sshd",
    );
    let run = create(&live, &["name=other"]);
    assert!(
        run.status == 1
            && run.stderr.contains("server `other` does not run commands")
            && run.stderr.contains("it answers: Please log in as admin")
            && run.stderr.contains("`user=NAME`"),
        "{run}"
    );
}
