//! Partitions of AWS: groups of regions with accounts, publishers of images and prices of their own
//! (<https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html>). The
//! SDK finds the endpoints of EC2 in each of them.

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Partition {
    /// `aws`.
    Commercial,
    /// `aws-cn`.
    China,
    /// `aws-us-gov`.
    GovCloud,
    /// Another one, of which hitc knows nothing.
    Other,
}

/// Where a partition has its price list.
pub(super) struct PriceList {
    /// The region by which requests are signed.
    pub region: &'static str,
    /// The address of its endpoint.
    pub url: &'static str,
}

impl Partition {
    /// The partition of a region. The names of regions are those of AWS's SDKs (`partitions.json` of
    /// botocore).
    pub fn of(region: &str) -> Self {
        let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| region.starts_with(prefix));
        if starts(&["cn-"]) {
            Partition::China
        } else if starts(&["us-gov-"]) {
            Partition::GovCloud
        } else if starts(&["us-iso", "eu-isoe-", "eusc-"]) {
            Partition::Other
        } else {
            Partition::Commercial
        }
    }

    /// The name of the partition in ARNs and in errors.
    pub fn name(self) -> &'static str {
        match self {
            Partition::Commercial => "aws",
            Partition::China => "aws-cn",
            Partition::GovCloud => "aws-us-gov",
            Partition::Other => "this partition of AWS",
        }
    }

    /// The currency of its prices (<https://www.amazonaws.cn/en/ec2/pricing/>).
    pub fn currency(self) -> &'static str {
        match self {
            Partition::China => "CNY",
            _ => "USD",
        }
    }

    /// Its price list; none if it has none that hitc knows. Three endpoints serve all commercial regions
    /// (<https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html>);
    /// China has one, and GovCloud none (`api.pricing` in `endpoints.json` of botocore).
    pub fn price_list(self) -> Option<PriceList> {
        match self {
            Partition::Commercial => Some(PriceList {
                region: "us-east-1",
                url: "https://api.pricing.us-east-1.amazonaws.com/",
            }),
            Partition::China => Some(PriceList {
                region: "cn-northwest-1",
                url: "https://api.pricing.cn-northwest-1.amazonaws.com.cn/",
            }),
            Partition::GovCloud | Partition::Other => None,
        }
    }

    /// The price of an hour of a public IPv4 address, in its currency; none if it is not known
    /// (<https://aws.amazon.com/vpc/pricing/>).
    pub fn address_price(self) -> Option<f64> {
        (self == Partition::Commercial).then_some(0.005)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions() {
        let of = |region: &str| Partition::of(region).name();
        assert_eq!(
            ["eu-central-1", "us-east-1", "cn-north-1", "us-gov-west-1"].map(of),
            ["aws", "aws", "aws-cn", "aws-us-gov"]
        );
        for region in ["us-iso-east-1", "us-isob-east-1", "eusc-de-east-1"] {
            assert_eq!(Partition::of(region), Partition::Other);
        }
    }
}
