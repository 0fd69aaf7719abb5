//! `hitc run costs` and `hitc run provider.check`.

use serde_json::{Value as Json, json};

use crate::support::{Run, cloud::Cloud, live::Live};

/// Runs `create` at a provider.
fn create(live: &Live, provider: &str, options: &[&str]) {
    let provider = format!("provider={provider}");
    live.run(&[&["-y", "run", "create", &provider], options].concat())
        .ok();
}

/// The table that a task prints, without the spaces that align its columns.
fn table(run: Run) -> Vec<String> {
    let text = run.ok().stdout;
    text.lines()
        .map(|line| {
            line.split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
        })
        .map(|cells| cells.collect::<Vec<&str>>().join(" | "))
        .collect()
}

#[test]
fn of_droplets_and_local_servers() {
    let (cloud, live) = Cloud::reachable_digitalocean();
    create(&live, "digitalocean", &["name=web", "count=2"]);
    create(&live, "digitalocean", &["name=db", "size=s-2vcpu-4gb"]);
    create(&live, "local", &["name=web-7"]);
    // Of another project.
    cloud.post(
        "/_droplets",
        &json!([["HITC-x", ["hitc", "hitc:project:other"]]]),
    );
    assert_eq!(
        table(live.run(&["run", "costs"])),
        [
            "provider | role | servers | month | currency | includes | unknown",
            "digitalocean | db | 1 | 24.00 | USD",
            "digitalocean | web | 2 | 12.00 | USD",
            "local | behind | 1 | 0.00",
            "local | web | 1 | 0.00",
            "total | 36.00 | USD",
        ]
    );
}

#[test]
fn of_servers_at_hetzner() {
    let (_cloud, live) = Cloud::reachable_hetzner();
    create(&live, "hetzner", &["name=web", "count=2"]);
    create(&live, "hetzner", &["name=db", "size=cx33"]);
    assert_eq!(
        table(live.run(&["run", "costs", "--servers"])),
        [
            "provider | name | month | currency | includes | unknown",
            "hetzner | db | 7.13 | EUR | IPv4 address 0.60, server 6.53, 19 % VAT",
            "hetzner | web | 4.75 | EUR | IPv4 address 0.60, server 4.15, 19 % VAT",
            "hetzner | web-1 | 4.75 | EUR | IPv4 address 0.60, server 4.15, 19 % VAT",
            "local | behind | 0.00",
            "total | 16.62 | EUR",
        ]
    );
}

#[test]
fn of_instances() {
    let (cloud, live) = Cloud::reachable_ec2();
    create(&live, "ec2", &["name=web"]);
    assert_eq!(
        table(live.run(&["run", "costs"])),
        [
            "provider | role | servers | month | currency | includes | unknown",
            "ec2 | web | 1 | 12.04 | USD | IPv4 address 3.65, disks 0.80, instance 7.59",
            "local | behind | 1 | 0.00",
            "total | 12.04 | USD",
        ]
    );
    let json = live.run(&["run", "costs", "--json"]).ok().stdout;
    let costs: Json = serde_json::from_str(&json).unwrap();
    assert_eq!(
        costs[0],
        json!({
            "provider": "ec2", "name": "web", "role": "web", "size": "t3.micro", "state": "running",
            "known": true, "currency": "USD", "hour": 0.016_496, "month": 12.042, "tax": "",
            "unknown": [], "parts": [
                {"what": "instance", "hour": 0.0104, "month": 7.592},
                {"what": "IPv4 address", "hour": 0.005, "month": 3.65},
                {"what": "disks", "hour": 0.001_096, "month": 0.8},
            ]
        })
    );
    cloud.boto(
        "i = ec2.describe_instances()['Reservations'][0]['Instances'][0]['InstanceId']\n\
         ec2.stop_instances(InstanceIds=[i])",
    );
    assert_eq!(
        table(live.run(&["run", "costs"])),
        [
            "provider | role | servers | month | currency | includes | unknown",
            "ec2 | web | 1 | 0.80 | USD | disks 0.80",
            "local | behind | 1 | 0.00",
            "total | 0.80 | USD",
        ]
    );
}
