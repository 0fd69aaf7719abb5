//! Several regions of EC2, and addresses that outlive instances.

use serde_json::Value as Json;

use crate::support::{Run, cloud::Cloud, live::Live};

fn create(live: &Live, options: &[&str]) -> Run {
    live.run(&[&["-y", "run", "create"], options].concat())
}

/// Provider, name, region and address of each server of EC2.
fn nodes(live: &Live) -> Vec<[String; 4]> {
    let nodes = live.run(&["nodes", "-o", "json"]).ok().json_rows();
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    nodes
        .iter()
        .filter(|node| text(&node["provider"]).starts_with("ec2"))
        .map(|node| ["provider", "name", "region", "ip"].map(|key| text(&node[key])))
        .collect()
}

#[test]
fn servers_in_two_regions() {
    let (cloud, live) = Cloud::reachable_ec2();
    let elsewhere = ["provider=ec2:eu-central-1", "name=db"];
    let run = create(&live, &elsewhere);
    assert!(
        run.status == 2
            && run.stderr.contains("provider `ec2:eu-central-1` not found")
            && run
                .stderr
                .contains("`config(#{ ec2_regions: [\"eu-central-1\"] })`"),
        "{run}"
    );
    let run = create(&live, &["provider=ec2", "name=db", "region=eu-central-1"]);
    assert!(
        run.status == 2
            && run.stderr.contains("unknown option `region`: at EC2, the region is part of the provider's name")
            && run.stderr.contains(
                "write `provider=ec2:eu-central-1`, and `config(#{ ec2_regions: [\"eu-central-1\"] })` in the hitcfile"
            ),
        "{run}"
    );
    live.write("hitcfile.rhai", "config(#{ ec2_regions: [\"EU\"] });\n");
    let run = live.run(&["nodes"]);
    assert!(
        run.status == 2 && run.stderr.contains("ec2_regions: invalid region `EU`"),
        "{run}"
    );

    // Each of its servers would be listed twice.
    live.write(
        "hitcfile.rhai",
        "config(#{ ec2_regions: [\"us-east-1\"] });\n",
    );
    let run = live.run(&["nodes"]);
    let error = "`ec2_regions` names us-east-1, which is the region of `ec2` already";
    assert!(run.stderr.contains(error), "{run}");

    live.write(
        "hitcfile.rhai",
        "config(#{ ec2_regions: [\"eu-central-1\"] });\n",
    );
    create(&live, &elsewhere).ok();
    create(&live, &["provider=ec2", "name=web"]).ok();
    let shown: Vec<[String; 3]> = nodes(&live)
        .into_iter()
        .map(|[provider, name, region, _]| [provider, name, region[..region.len() - 1].to_owned()])
        .collect();
    assert_eq!(
        shown,
        [
            ["ec2", "web", "us-east-1"],
            ["ec2:eu-central-1", "db", "eu-central-1"]
        ]
    );
    // Each is contacted, changed and ended where it is.
    let run = live
        .run(&[
            "exec",
            "--all",
            "-x",
            "behind",
            "-o",
            "group",
            "--",
            "echo here",
        ])
        .ok();
    assert_eq!(run.stdout.matches("here").count(), 2, "{run}");
    live.run(&["-y", "run", "-H", "db", "rename", "store"]).ok();
    live.run(&["-y", "run", "-H", "store", "terminate"]).ok();
    assert_eq!(nodes(&live).len(), 1);
    let states = "import boto3\nfor region in ['us-east-1', 'eu-central-1']:\n \
                  there = boto3.client('ec2', region_name=region, endpoint_url=ec2.meta.endpoint_url, \
                  aws_access_key_id='test', aws_secret_access_key='test')\n \
                  print([i['State']['Name'] for r in there.describe_instances()['Reservations'] for i in r['Instances']])";
    assert_eq!(cloud.boto(states), "['running']\n['terminated']");
}

#[test]
fn an_address_that_outlives_the_instance() {
    let (cloud, live) = Cloud::reachable_ec2();
    let address = cloud.boto(
        "a = ec2.allocate_address(Domain='vpc')\n\
         ec2.create_tags(Resources=[a['AllocationId']], Tags=[{'Key': 'Name', 'Value': 'front'}])\n\
         print(a['PublicIp'])",
    );
    let run = create(&live, &["provider=ec2", "name=web", "address=back"]);
    assert!(
        run.status == 2 && run.stderr.contains("address `back` not found"),
        "{run}"
    );
    for name in ["web", "db"] {
        create(
            &live,
            &["provider=ec2", &format!("name={name}"), "address=front"],
        )
        .ok();
        let [_, shown, _, ip] = nodes(&live).swap_remove(0);
        assert_eq!([shown.as_str(), &ip], [name, &address]);
        let used = create(&live, &["provider=ec2", "name=x", "address=front"]);
        assert!(
            used.status == 2 && used.stderr.contains("address `front` is in use by i-"),
            "{used}"
        );
        live.run(&["-y", "run", "-H", name, "terminate"]).ok();
    }
    assert_eq!(cloud.get("/_count"), Json::from(0));
}
