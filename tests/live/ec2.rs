//! EC2, by moto and through AWS's own library.

use crate::support::{
    cloud::Cloud,
    live::{Live, docker},
};

const CREATE: [&str; 4] = ["-y", "run", "create", "provider=ec2"];

fn create(live: &Live, options: &[&str]) -> crate::support::Run {
    live.run(&[&CREATE[..], options].concat())
}

/// The rows of EC2's servers.
fn nodes(live: &Live) -> Vec<Vec<String>> {
    let rows = live.run(&["nodes"]).ok().rows();
    rows.into_iter().filter(|row| row[0] == "ec2").collect()
}

#[test]
fn an_order() {
    let (cloud, live) = Cloud::reachable_ec2();
    let run = live.run(&["run", "create", "provider=ec2", "name=web"]);
    assert!(
        run.status == 2
            && run
                .stderr
                .contains("1 server at ec2: 0.0164 USD an hour, 11.99 USD a month (instance 7.59, IPv4 address 3.65, disk of 15 GiB 0.75)"),
        "{run}"
    );
    assert!(nodes(&live).is_empty());
    let run = create(&live, &["name=web", "disk=20", "placement=us-east-1b"]).ok();
    assert!(
        run.stderr.contains("to log in: hitc run -H web ssh"),
        "{run}"
    );
    let rows = nodes(&live);
    assert_eq!(
        (&*rows[0][1], &*rows[0][2], &*rows[0][5]),
        ("web", "t3.micro", "running")
    );
    // Debian's image lets `admin` in.
    assert_eq!(
        live.run(&["exec", "-H", "web", "--", "id -un"]).ok().stdout,
        "admin\n"
    );
    assert_eq!(
        cloud.boto(
            "i = ec2.describe_instances()['Reservations'][0]['Instances'][0]\n\
             tags = {t['Key']: t['Value'] for t in i['Tags']}\n\
             print(i['ImageId'], i['MetadataOptions']['HttpTokens'], tags['hitc:state'], tags['hitc:image'], \
             i['Placement']['AvailabilityZone'], i['KeyName'][:5], i['SecurityGroups'][0]['GroupName'])\n\
             v = ec2.describe_volumes()['Volumes'][0]\n\
             print(v['Size'], [t['Value'] for t in v['Tags'] if t['Key'] == 'hitc:state'])"
        ),
        "ami-0bbbbbbbbbbbbbbb1 required ready debian 13 us-east-1b hitc- hitc\n20 ['creating']"
    );
    let again = create(&live, &["name=web"]);
    assert!(
        again.status == 2 && again.stderr.contains("`web` already"),
        "{again}"
    );

    live.run(&["-y", "run", "-H", "web", "terminate"]).ok();
    assert!(nodes(&live).is_empty());

    // What somebody has made of the security group stays.
    cloud.boto(
        "g = ec2.describe_security_groups(GroupNames=['hitc'])['SecurityGroups'][0]\n\
         ec2.revoke_security_group_ingress(GroupId=g['GroupId'], IpPermissions=g['IpPermissions'])\n\
         ec2.authorize_security_group_ingress(GroupId=g['GroupId'], IpProtocol='tcp', FromPort=22, \
         ToPort=22, CidrIp='192.0.2.0/24')",
    );
    create(&live, &["name=other"]).ok();
    assert_eq!(
        cloud.boto(
            "g = ec2.describe_security_groups(GroupNames=['hitc'])['SecurityGroups'][0]\n\
             print([r['CidrIp'] for p in g['IpPermissions'] for r in p['IpRanges']])"
        ),
        "['192.0.2.0/24']"
    );
    live.run(&["-y", "run", "-H", "other", "terminate"]).ok();

    // At the price of the moment, with a key that EC2 has.
    cloud.boto("ec2.create_key_pair(KeyName='mine')");
    create(&live, &["name=cheap", "bid=0.5", "key_pair=mine"]).ok();
    assert_eq!(
        cloud.boto(
            "i = [i for r in ec2.describe_instances()['Reservations'] for i in r['Instances'] \
             if i['State']['Name'] == 'running'][0]\nprint(i['KeyName'], i['InstanceLifecycle'])"
        ),
        "mine spot"
    );
}

/// A program that died left it half made.
#[test]
fn one_that_is_half_made_is_finished() {
    let (cloud, live) = Cloud::reachable_ec2();
    let (prefix, project) = (live.container(""), live.project_id());
    let make = |state: &str| {
        cloud.boto(&format!(
            "k = ec2.describe_key_pairs()['KeyPairs']\n\
             ec2.run_instances(ImageId='ami-0bbbbbbbbbbbbbbb1', InstanceType='t3.micro', MinCount=1, MaxCount=1, \
             TagSpecifications=[{{'ResourceType': 'instance', 'Tags': [\
             {{'Key': 'Name', 'Value': '{prefix}web-{state}'}}, {{'Key': 'hitc:prefix', 'Value': '{prefix}'}}, \
             {{'Key': 'hitc:project', 'Value': '{project}'}}, {{'Key': 'hitc:state', 'Value': '{state}'}}, {{'Key': 'hitc:user', 'Value': 'root'}}]}}])"
        ))
    };
    for (state, shown) in [("creating", "unfinished"), ("failed", "failed")] {
        make(state);
        let name = format!("web-{state}");
        let row = |live: &Live| nodes(live).into_iter().find(|row| row[1] == name).unwrap();
        assert_eq!(row(&live)[5], shown);
        // Who wants to know why gets in.
        assert_eq!(
            live.run(&["exec", "-H", &name, "--", "echo in"])
                .ok()
                .stdout,
            "in\n"
        );
        create(&live, &[&format!("name={name}")]).ok();
        assert_eq!(row(&live)[5], "running");
    }
    assert_eq!(nodes(&live).len(), 2);
}

/// Credentials and region by a profile; the key, the subnet and the group by what EC2 has.
#[test]
fn by_profile_and_by_name() {
    let (cloud, live) = Cloud::reachable_ec2();
    let home = live.home().join(".aws");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(
        home.join("credentials"),
        "[work]\naws_access_key_id = a\naws_secret_access_key = b\n",
    )
    .unwrap();
    std::fs::write(home.join("config"), "[profile work]\nregion = us-east-1\n").unwrap();
    let own = live.home().join("own_key");
    std::fs::copy(live.home().join(".local/share/hitc/id_ed25519"), &own).unwrap();
    let live = live
        .env("AWS_ACCESS_KEY_ID", "")
        .env("AWS_SECRET_ACCESS_KEY", "")
        .env("AWS_REGION", "")
        .env("AWS_PROFILE", "work")
        .env("AWS_KEYPAIR_NAME", "theirs")
        .env("AWS_SSH_KEY_FILENAME", own.to_str().unwrap());
    let ids = cloud.boto(
        "ec2.create_key_pair(KeyName='theirs')\n\
         vpc = ec2.create_vpc(CidrBlock='10.7.0.0/16')['Vpc']['VpcId']\n\
         subnet = ec2.create_subnet(VpcId=vpc, CidrBlock='10.7.1.0/24', AvailabilityZone='us-east-1a')['Subnet']['SubnetId']\n\
         ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={'Value': True})\n\
         group = ec2.create_security_group(GroupName='web', Description='w', VpcId=vpc)['GroupId']\n\
         print(subnet, group)",
    );
    let (subnet, group) = ids.split_once(' ').unwrap();
    let named = format!("subnet={subnet}");
    create(&live, &["name=web", &named, "security_group=web"]).ok();
    assert_eq!(
        cloud.boto(
            "i = ec2.describe_instances()['Reservations'][0]['Instances'][0]\n\
             print(i['KeyName'], i['SubnetId'], [g['GroupId'] for g in i['SecurityGroups']])"
        ),
        format!("theirs {subnet} ['{group}']")
    );
    // By that key, and no other.
    let exec = live.run(&["exec", "-v", "-H", "web", "--", "echo in"]).ok();
    assert_eq!(exec.stdout, "in\n");
    let live = live.env("AWS_SSH_KEY_FILENAME", "/no/key");
    let exec = live.run(&["exec", "-H", "web", "--", "echo in"]);
    assert!(
        exec.status == 4 && exec.stderr.contains("`/no/key`"),
        "{exec}"
    );
    let wrong = create(&live, &["name=x", "subnet=subnet-0"]);
    assert!(
        wrong.stderr.contains("subnet `subnet-0` not found"),
        "{wrong}"
    );
}

#[test]
fn twelve_hundred() {
    let (cloud, live) = Cloud::ec2(Live::new());
    let (prefix, project) = (live.container(""), live.project_id());
    cloud.boto(&format!(
        "ec2.run_instances(ImageId='ami-0bbbbbbbbbbbbbbb1', InstanceType='t3.micro', MinCount=1200, MaxCount=1200, \
         TagSpecifications=[{{'ResourceType': 'instance', 'Tags': [{{'Key': 'hitc:prefix', 'Value': '{prefix}'}}, \
         {{'Key': 'hitc:project', 'Value': '{project}'}}]}}])\n\
         all = [i['InstanceId'] for p in ec2.get_paginator('describe_instances').paginate() \
         for r in p['Reservations'] for i in r['Instances']]\n\
         for n, i in enumerate(all):\n\
         \x20ec2.create_tags(Resources=[i], Tags=[{{'Key': 'Name', 'Value': f'{prefix}n-{{n}}'}}])\n\
         ec2.run_instances(ImageId='ami-0bbbbbbbbbbbbbbb1', InstanceType='t3.micro', MinCount=1, MaxCount=1, \
         TagSpecifications=[{{'ResourceType': 'instance', 'Tags': [{{'Key': 'hitc:prefix', 'Value': 'OTHER-'}}, \
         {{'Key': 'Name', 'Value': 'OTHER-web'}}]}}])"
    ));
    let rows = nodes(&live);
    assert_eq!(rows.len(), 1200);
    assert_eq!((&*rows[0][1], &*rows[1199][1]), ("n-0", "n-1199"));
}

#[test]
fn images_prices_and_spot() {
    let (cloud, live) = Cloud::ec2(Live::new());
    let images = live.run(&["run", "ec2.images"]).ok();
    let words = images
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let newest: Vec<_> = words
        .filter(|words| words[..3] == ["ubuntu", "24.04", "x86_64"])
        .collect();
    assert_eq!(newest.len(), 1, "{images}");
    assert_eq!(newest[0][3], "ami-0aaaaaaaaaaaaaaa2", "{images}");

    let run = live
        .run(&["run", "pricing", "provider=ec2", "filter=t3.", "sort=cost"])
        .ok();
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        [
            "size", "memory", "cores", "storage", "gpu", "recent", "median", "stddev", "max",
            "cost"
        ]
    );
    assert!(lines[1].starts_with("t3.micro"), "{run}");
    assert!(
        lines[1].contains("1 ") && lines[1].ends_with("0.0104"),
        "{run}"
    );
    assert!(
        lines[2].starts_with("t3.small") && lines[2].ends_with("0.0208"),
        "{run}"
    );

    let run = create(&live, &["name=x", "bid=0.000001"]);
    assert_eq!(run.status, 2, "{run}");
    assert!(
        run.stderr.contains(
            "bid: 0.000001 is too low for t3.micro: the current price is 0.00001 USD an hour in us-east-1"
        ),
        "{run}"
    );
    let id = cloud.boto(
        "print(ec2.request_spot_instances(SpotPrice='0.01', InstanceCount=1, LaunchSpecification={\
         'ImageId': 'ami-0bbbbbbbbbbbbbbb1', 'InstanceType': 't3.micro'})\
         ['SpotInstanceRequests'][0]['SpotInstanceRequestId'])",
    );
    let run = live.run(&["run", "ec2.spot_requests"]).ok();
    assert!(run.stdout.contains(&id), "{run}");
    live.run(&["run", "ec2.cancel_spot_request", &id]).ok();
    let run = live.run(&["run", "ec2.spot_requests"]).ok();
    assert!(
        !run.stdout.contains(&id) || run.stdout.contains("cancel"),
        "{run}"
    );
}

/// Before anything is created.
#[test]
fn what_cannot_be_is_said() {
    let (cloud, live) = Cloud::ec2(Live::new());
    for (options, error, help) in [
        (
            &["size=t3.mirco"][..],
            "size `t3.mirco` not found",
            "did you mean `t3.micro`?",
        ),
        (
            &["placement=us-east-1x"],
            "placement `us-east-1x` not found",
            "did you mean `us-east-1a`?",
        ),
        (
            &["image=ubuntu 24.05"],
            "image `ubuntu 24.05` not found",
            "did you mean `ubuntu 24.04`?",
        ),
        (
            &["image=ami-0000"],
            "image `ami-0000` not found",
            "check that it is in this region",
        ),
        (
            &["security_group=web"],
            "security_group `web` not found",
            "check that it is in this region",
        ),
        (
            &["key_pair=mine"],
            "key pair `mine` not found",
            "check that it is in this region",
        ),
        (
            &["bid=-1"],
            "bid must be an hourly price in USD, not `-1`",
            "such as 0.02",
        ),
        (
            &["siez=x"],
            "provider `ec2`: unknown option `siez`",
            "did you mean `size`?",
        ),
    ] {
        let run = create(&live, &[&["name=x"], options].concat());
        assert_eq!(run.status, 2, "{options:?}: {run}");
        assert!(
            run.stderr.contains(error) && run.stderr.contains(help),
            "{options:?}: {run}"
        );
    }
    assert_eq!(
        cloud.boto("print(len(ec2.describe_instances()['Reservations']))"),
        "0"
    );
    let live = live.env("AWS_REGION", "");
    let run = create(&live, &["name=x"]);
    assert!(run.status == 2 && run.stderr.contains("no region"), "{run}");
    let live = live.env("AWS_ACCESS_KEY_ID", "");
    let run = create(&live, &["name=x"]);
    assert!(
        run.status == 2 && run.stderr.contains("set AWS_ACCESS_KEY_ID and"),
        "{run}"
    );
}

/// A security group that only has the name of hitc's is not opened.
#[test]
fn the_security_group_of_somebody_else() {
    let (cloud, live) = Cloud::reachable_ec2();
    let id = cloud.boto(
        "print(ec2.create_security_group(GroupName='hitc', Description='theirs')['GroupId'])",
    );
    let rules = || {
        cloud.boto(
            "g = ec2.describe_security_groups(GroupNames=['hitc'])['SecurityGroups'][0]\n\
             print([p.get('FromPort') for p in g['IpPermissions']])",
        )
    };
    let refused = create(&live, &["name=web"]);
    assert_eq!(rules(), "[]");
    let error =
        format!("security group `hitc` ({id}) does not admit SSH, and hitc did not create it");
    assert!(
        refused.status == 2
            && refused.stderr.contains(&error)
            && refused.stderr.contains("`hitc:kind`"),
        "{refused}"
    );
    assert!(nodes(&live).is_empty());

    // With a rule that admits SSH it is used as it is.
    cloud.boto(&format!(
        "ec2.authorize_security_group_ingress(GroupId='{id}', IpProtocol='tcp', FromPort=20, ToPort=30, \
         CidrIp='192.0.2.0/24')"
    ));
    create(&live, &["name=web"]).ok();
    assert_eq!(rules(), "[20]");

    // A run of ours died before it added the rules.
    cloud.boto(&format!(
        "g = ec2.describe_security_groups(GroupIds=['{id}'])['SecurityGroups'][0]\n\
         ec2.revoke_security_group_ingress(GroupId='{id}', IpPermissions=g['IpPermissions'])\n\
         ec2.create_tags(Resources=['{id}'], Tags=[{{'Key': 'hitc:kind', 'Value': 'firewall'}}])"
    ));
    create(&live, &["name=other"]).ok();
    assert_eq!(rules(), "[22, None]");
}

/// The rules of the security groups of a server, without those of the group `hitc`.
fn open_at_ec2(cloud: &Cloud, name: &str) -> String {
    cloud.boto(&format!(
        "i = ec2.describe_instances(Filters=[{{'Name': 'tag:Name', 'Values': ['{name}']}}])\n\
         groups = [g['GroupId'] for g in i['Reservations'][0]['Instances'][0]['SecurityGroups']]\n\
         for g in ec2.describe_security_groups(GroupIds=groups)['SecurityGroups']:\n  \
           for p in sorted(g['IpPermissions'], key=str):\n    \
             sources = [r['CidrIp'] for r in p['IpRanges']] + [r['CidrIpv6'] for r in p['Ipv6Ranges']]\n    \
             if g['GroupName'] != 'hitc': print(p['IpProtocol'], p['FromPort'], p['ToPort'], *sorted(sources))"
    ))
}

/// What a server publishes gets through its security group, from where its firewall admits it.
#[test]
fn the_security_group_is_kept_in_step() {
    let (cloud, live) = Cloud::reachable_ec2();
    create(&live, &["name=web"]).ok();
    let name = live.container("web");
    let web = |words: &[&str]| {
        live.run(&[&["-y", "run", "-H", "web"], words].concat())
            .ok()
    };
    let open = || open_at_ec2(&cloud, &name);
    // The common group: SSH, and its members among themselves.
    let common = "g = ec2.describe_security_groups(GroupNames=['hitc'])['SecurityGroups'][0]\n\
        print(sorted((p['IpProtocol'], p.get('FromPort'), len(p['IpRanges']), \
        [u['GroupId'] == g['GroupId'] for u in p['UserIdGroupPairs']]) for p in g['IpPermissions']))";
    assert_eq!(
        cloud.boto(common),
        "[('-1', None, 0, [True]), ('tcp', 22, 1, [])]"
    );
    assert_eq!(open(), "");

    let image = super::docker_commands::image(&live);
    web(&["docker.push", image]);
    let command = "command=nc -ll -p 80 -e cat";
    let run = web(&["docker.run", image, "name=shop", "ports=80:8080", command]);
    let note = "web: 8080/tcp at ec2: open to *\n";
    assert!(run.stderr.contains(note), "{run}");
    assert_eq!(open(), "tcp 8080 8080 0.0.0.0/0 ::/0");
    let address = format!("{}:8080", live.ip("behind"));
    std::net::TcpStream::connect(address).unwrap();

    // What somebody else publishes stays closed.
    let behind = live.container("behind");
    let theirs = [
        "exec", &behind, "docker", "run", "-d", "--name", "theirs", "-p", "7000:80", image,
    ];
    docker(&theirs);
    web(&["docker.bind", "shop", "80:9000"]);
    assert_eq!(
        open(),
        "tcp 8080 8080 0.0.0.0/0 ::/0\ntcp 9000 9000 0.0.0.0/0 ::/0"
    );
    web(&["docker.unbind", "shop", "80:9000"]);
    web(&[
        "iptables.apply",
        "8080=192.0.2.0/24",
        "53/udp=2001:db8::/32",
    ]);
    assert_eq!(
        open(),
        "tcp 8080 8080 192.0.2.0/24\nudp 53 53 2001:db8::/32"
    );
    web(&["iptables.clear"]);
    assert_eq!(open(), "tcp 8080 8080 0.0.0.0/0 ::/0");
    web(&["docker.stop", "shop", "timeout=0s"]);
    assert_eq!(open(), "");
    web(&["docker.start", "shop"]);
    assert_eq!(open(), "tcp 8080 8080 0.0.0.0/0 ::/0");
    web(&["docker.kill", "shop"]);
    assert_eq!(open(), "");

    // A manifest.
    let manifest = |body: &str| {
        let text = format!("web:\n  provider: ec2\n  image: debian 13\n  size: t3.micro\n{body}");
        live.write("shop.yml", &text);
        live.run(&["-y", "run", "ensemble.up", "shop", "adopt=web"])
    };
    let containers = format!(
        "  containers:\n    shop:\n      image: {image}\n      ports: 80:8080\n      \
         command: nc -ll -p 80 -e cat\n"
    );
    manifest(&containers).ok();
    assert_eq!(open(), "tcp 8080 8080 0.0.0.0/0 ::/0");
    manifest(&format!("  firewall:\n    8080: 192.0.2.1\n{containers}")).ok();
    assert_eq!(open(), "tcp 8080 8080 192.0.2.1/32");

    // What somebody changed at EC2 is seen.
    let change = "g = ec2.describe_security_groups(Filters=[{'Name': 'tag:hitc:kind', 'Values': ['server-firewall']}])\
         ['SecurityGroups'][0]['GroupId']\n\
         ec2.revoke_security_group_ingress(GroupId=g, IpProtocol='tcp', FromPort=8080, ToPort=8080, \
         CidrIp='192.0.2.1/32')\n\
         ec2.authorize_security_group_ingress(GroupId=g, IpProtocol='tcp', FromPort=5432, ToPort=5432, \
         CidrIp='0.0.0.0/0')";
    cloud.boto(change);
    assert_eq!(open(), "tcp 5432 5432 0.0.0.0/0");
    let again = manifest(&format!("  firewall:\n    8080: 192.0.2.1\n{containers}")).ok();
    let plan = "~ firewall  change (1 rule)\n      5432/tcp at ec2: * → nothing\n      8080/tcp at ec2: \
                nothing → 192.0.2.1\n";
    assert!(again.stderr.contains(plan), "{again}");
    assert_eq!(open(), "tcp 8080 8080 192.0.2.1/32");
    let again = manifest(&format!("  firewall:\n    8080: 192.0.2.1\n{containers}")).ok();
    assert!(again.stderr.contains("`shop` is up to date"), "{again}");

    // The group goes with its server.
    live.run(&["-y", "run", "ensemble.down", "shop"]).ok();
    let names = "print([g['GroupName'] for g in ec2.describe_security_groups()['SecurityGroups']])";
    assert_eq!(cloud.boto(names), "['default', 'hitc']");
}

/// The security group of the user is not changed.
#[test]
fn rules_that_a_security_group_lacks() {
    let (cloud, live) = Cloud::reachable_ec2();
    let id = cloud.boto(
        "id = ec2.create_security_group(GroupName='theirs', Description='theirs')['GroupId']\n\
         for port in (22, 443): ec2.authorize_security_group_ingress(GroupId=id, IpProtocol='tcp', \
         FromPort=port, ToPort=port, CidrIp='0.0.0.0/0')\n\
         print(id)",
    );
    assert!(id.starts_with("sg-"), "{id}");
    create(&live, &["name=web", "security_group=theirs"]).ok();
    let image = super::docker_commands::image(&live);
    live.run(&["run", "-H", "web", "docker.push", image]).ok();
    let run = [
        "run",
        "-H",
        "web",
        "docker.run",
        image,
        "name=shop",
        "ports=80,443",
    ];
    let run = live.run(&run).ok();
    let warning = "warning: server `web`: security group `theirs` at ec2 does not admit 80/tcp from *: add \
                   the rule there\n";
    assert_eq!(run.stderr.matches("does not admit").count(), 1, "{run}");
    assert!(run.stderr.contains(warning), "{run}");
    assert_eq!(
        open_at_ec2(&cloud, &live.container("web")),
        "tcp 22 22 0.0.0.0/0\ntcp 443 443 0.0.0.0/0"
    );
}

/// An instance that lost its name is not taken for one that is gone.
#[test]
fn an_instance_without_a_name_is_not_gone() {
    let (cloud, live) = Cloud::ec2(Live::new());
    let (prefix, project) = (live.container(""), live.project_id());
    let id = cloud.boto(&format!(
        "print(ec2.run_instances(ImageId='ami-0bbbbbbbbbbbbbbb1', InstanceType='t3.micro', MinCount=1, MaxCount=1, \
         TagSpecifications=[{{'ResourceType': 'instance', 'Tags': [{{'Key': 'hitc:prefix', 'Value': '{prefix}'}}, \
         {{'Key': 'hitc:project', 'Value': '{project}'}}, {{'Key': 'Name', 'Value': '{prefix}web'}}]}}])\
         ['Instances'][0]['InstanceId'])"
    ));
    // Keeps the list.
    assert_eq!(nodes(&live).len(), 1);
    cloud.boto(&format!(
        "ec2.delete_tags(Resources=['{id}'], Tags=[{{'Key': 'Name'}}])"
    ));
    let run = live.run(&["-y", "run", "-H", "web", "terminate"]);
    assert!(
        run.status == 1
            && run
                .stderr
                .contains("exists, but its tag `Name` is missing; nothing was done to it"),
        "{run}"
    );
    assert_eq!(
        cloud.boto(
            "print(ec2.describe_instances()['Reservations'][0]['Instances'][0]['State']['Name'])"
        ),
        "running"
    );
}
