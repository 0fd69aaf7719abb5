//! What the credentials may do: each action is tried with `DryRun`, which does nothing
//! (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RunInstances.html#API_RunInstances_RequestParameters>).

use aws_sdk_ec2::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types::{InstanceType, Tag},
};

use super::{Ec2, client::code};
use crate::provider::{Error, Finding, Provider, Verdict};

/// Ids that do not exist.
const INSTANCE: &str = "i-00000000000000000";
const IMAGE: &str = "ami-00000000000000000";
const GROUP: &str = "sg-00000000000000000";
const VOLUME: &str = "vol-00000000000000000";

/// Tries an action with `DryRun`.
macro_rules! tried {
    ($name:literal, $request:expr) => {
        finding($name, $request.dry_run(true).send().await.map(drop))
    };
}

impl Ec2 {
    /// Tries what hitc needs.
    pub(super) async fn try_account(&self) -> Result<Vec<Finding>, Error> {
        // Credentials that are not valid are an error, not a list of missing permissions.
        self.list().await?;
        let ec2 = self.client().await?;
        let mut findings = try_reading(&ec2).await;
        findings.extend(try_changing(&ec2).await);
        findings.extend(try_disks(&ec2).await);
        findings.push(match self.on_demand(Some("t3.micro")).await {
            Ok(_) => Finding::new("pricing:GetProducts", Verdict::Ok, ""),
            Err(error) => Finding::new("pricing:GetProducts", Verdict::Unknown, error.to_string()),
        });
        findings.push(Finding::new(
            "quotas",
            Verdict::Unknown,
            "see `aws service-quotas list-service-quotas --service-code ec2`",
        ));
        Ok(findings)
    }
}

async fn try_reading(ec2: &Client) -> Vec<Finding> {
    vec![
        tried!("ec2:DescribeInstances", ec2.describe_instances()),
        tried!("ec2:DescribeImages", ec2.describe_images().image_ids(IMAGE)),
        tried!("ec2:DescribeInstanceTypes", ec2.describe_instance_types()),
        tried!(
            "ec2:DescribeInstanceTypeOfferings",
            ec2.describe_instance_type_offerings()
        ),
        tried!(
            "ec2:DescribeAvailabilityZones",
            ec2.describe_availability_zones()
        ),
        tried!("ec2:DescribeKeyPairs", ec2.describe_key_pairs()),
        tried!("ec2:DescribeSecurityGroups", ec2.describe_security_groups()),
        tried!("ec2:DescribeAddresses", ec2.describe_addresses()),
        tried!("ec2:DescribeSubnets", ec2.describe_subnets()),
        tried!("ec2:DescribeVpcs", ec2.describe_vpcs()),
        tried!("ec2:DescribeVolumes", ec2.describe_volumes()),
        tried!(
            "ec2:DescribeSpotPriceHistory",
            ec2.describe_spot_price_history()
        ),
        tried!(
            "ec2:DescribeSpotInstanceRequests",
            ec2.describe_spot_instance_requests()
        ),
    ]
}

async fn try_changing(ec2: &Client) -> Vec<Finding> {
    let tag = Tag::builder().key("hitc").value("check").build();
    let group = ec2.create_security_group().group_name("hitc-check");
    vec![
        tried!(
            "ec2:RunInstances",
            ec2.run_instances()
                .image_id(IMAGE)
                .instance_type(InstanceType::T3Micro)
                .min_count(1)
                .max_count(1)
        ),
        tried!(
            "ec2:AssociateAddress",
            ec2.associate_address()
                .allocation_id("eipalloc-00000000000000000")
                .instance_id(INSTANCE)
        ),
        tried!(
            "ec2:CancelSpotInstanceRequests",
            ec2.cancel_spot_instance_requests()
                .spot_instance_request_ids("sir-00000000")
        ),
        tried!(
            "ec2:GetConsoleOutput",
            ec2.get_console_output().instance_id(INSTANCE)
        ),
        tried!(
            "ec2:StartInstances",
            ec2.start_instances().instance_ids(INSTANCE)
        ),
        tried!(
            "ec2:StopInstances",
            ec2.stop_instances().instance_ids(INSTANCE)
        ),
        tried!(
            "ec2:RebootInstances",
            ec2.reboot_instances().instance_ids(INSTANCE)
        ),
        tried!(
            "ec2:TerminateInstances",
            ec2.terminate_instances().instance_ids(INSTANCE)
        ),
        tried!(
            "ec2:ModifyInstanceAttribute",
            ec2.modify_instance_attribute().instance_id(INSTANCE)
        ),
        tried!(
            "ec2:CreateTags",
            ec2.create_tags().resources(INSTANCE).tags(tag.clone())
        ),
        tried!(
            "ec2:DeleteTags",
            ec2.delete_tags().resources(INSTANCE).tags(tag)
        ),
        tried!(
            "ec2:ImportKeyPair",
            ec2.import_key_pair().key_name("hitc-check")
        ),
        tried!("ec2:CreateSecurityGroup", group.description("hitc")),
        tried!(
            "ec2:DeleteSecurityGroup",
            ec2.delete_security_group().group_id(GROUP)
        ),
        tried!(
            "ec2:AuthorizeSecurityGroupIngress",
            ec2.authorize_security_group_ingress().group_id(GROUP)
        ),
        tried!(
            "ec2:RevokeSecurityGroupIngress",
            ec2.revoke_security_group_ingress().group_id(GROUP)
        ),
    ]
}

async fn try_disks(ec2: &Client) -> Vec<Finding> {
    vec![
        tried!("ec2:DetachVolume", ec2.detach_volume().volume_id(VOLUME)),
        tried!(
            "ec2:ModifyVolume",
            ec2.modify_volume().volume_id(VOLUME).size(2)
        ),
        tried!("ec2:DeleteVolume", ec2.delete_volume().volume_id(VOLUME)),
        tried!(
            "ec2:DescribeVolumesModifications",
            ec2.describe_volumes_modifications()
        ),
        tried!(
            "ec2:CreateImage",
            ec2.create_image().instance_id(INSTANCE).name("hitc-check")
        ),
        tried!(
            "ec2:DeregisterImage",
            ec2.deregister_image().image_id(IMAGE)
        ),
        tried!(
            "ec2:DeleteSnapshot",
            ec2.delete_snapshot().snapshot_id("snap-00000000000000000")
        ),
        tried!("ec2:CreateVolume", ec2.create_volume().size(1)),
        tried!(
            "ec2:AttachVolume",
            ec2.attach_volume()
                .volume_id(VOLUME)
                .instance_id(INSTANCE)
                .device("/dev/sdf")
        ),
    ]
}

fn finding<E: ProvideErrorMetadata + std::error::Error + 'static>(
    action: &str,
    answer: Result<(), SdkError<E>>,
) -> Finding {
    let Err(error) = answer else {
        return Finding::new(action, Verdict::Ok, "");
    };
    match code(&error) {
        "UnauthorizedOperation" => Finding::new(
            action,
            Verdict::Missing,
            "add it to the policy: docs/ec2.md",
        ),
        // Permitted, and perhaps refused for the id that does not exist.
        "DryRunOperation" | "MissingParameter" => Finding::new(action, Verdict::Ok, ""),
        found
            if found.starts_with("Invalid")
                && ["NotFound", "Malformed", "Unknown", "Parameter"]
                    .iter()
                    .any(|part| found.contains(part)) =>
        {
            Finding::new(action, Verdict::Ok, "")
        }
        _ => {
            let cause = error
                .message()
                .map_or_else(|| error.to_string(), str::to_owned);
            Finding::new(action, Verdict::Unknown, cause)
        }
    }
}
