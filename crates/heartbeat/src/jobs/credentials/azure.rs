//! Azure's national clouds: where to log in, and the resources that tokens are for.

use crate::jobs::Domain;

/// A cloud of Azure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AzureCloud {
    /// The public one.
    Public,
    /// That of the US government.
    UsGovernment,
    /// That of China.
    China,
}

impl AzureCloud {
    /// The application id of Azure Databricks, the same in all clouds: what an access token is for.
    pub(super) const DATABRICKS: &str = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d";

    /// Reads `public`, `AzurePublicCloud` and the like, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let text = text.strip_prefix("azure").unwrap_or(&text);
        match text.strip_suffix("cloud").unwrap_or(text) {
            "public" => Some(Self::Public),
            "usgovernment" | "usgov" => Some(Self::UsGovernment),
            "china" => Some(Self::China),
            _ => None,
        }
    }

    /// The cloud that a workspace's host tells, if it does: custom hosts don't.
    pub fn of_host(domain: &Domain) -> Option<Self> {
        let zones = [
            (".azuredatabricks.net", Self::Public),
            (".databricks.azure.us", Self::UsGovernment),
            (".databricks.azure.cn", Self::China),
        ];
        zones.into_iter().find_map(|(zone, cloud)| domain.as_str().ends_with(zone).then_some(cloud))
    }

    /// Where service principals log in, with a slash at the end.
    pub fn login_url(self) -> &'static str {
        match self {
            Self::Public => "https://login.microsoftonline.com/",
            Self::UsGovernment => "https://login.microsoftonline.us/",
            Self::China => "https://login.chinacloudapi.cn/",
        }
    }

    /// What a token for Azure's own management is for.
    pub fn management_resource(self) -> &'static str {
        match self {
            Self::Public => "https://management.core.windows.net/",
            Self::UsGovernment => "https://management.core.usgovcloudapi.net/",
            Self::China => "https://management.core.chinacloudapi.cn/",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("public", Some(AzureCloud::Public))]
    #[case("AzurePublicCloud", Some(AzureCloud::Public))]
    #[case("USGOVERNMENT", Some(AzureCloud::UsGovernment))]
    #[case("AzureUSGovernmentCloud", Some(AzureCloud::UsGovernment))]
    #[case("usgov", Some(AzureCloud::UsGovernment))]
    #[case("AzureChinaCloud", Some(AzureCloud::China))]
    #[case("mars", None)]
    fn clouds_have_several_names(#[case] text: &str, #[case] cloud: Option<AzureCloud>) {
        assert_eq!(AzureCloud::parse(text), cloud);
    }

    #[rstest]
    #[case("adb-1.2.azuredatabricks.net", Some(AzureCloud::Public))]
    #[case("adb-1.2.databricks.azure.us", Some(AzureCloud::UsGovernment))]
    #[case("adb-1.2.databricks.azure.cn", Some(AzureCloud::China))]
    #[case("databricks.example.com", None)]
    fn hosts_tell_their_cloud(#[case] host: &str, #[case] cloud: Option<AzureCloud>) {
        assert_eq!(AzureCloud::of_host(&Domain::parse(host).unwrap()), cloud);
    }
}
