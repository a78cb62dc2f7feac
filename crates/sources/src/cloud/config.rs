//! How the cloud's API is reached, and who asks.

use std::path::PathBuf;

use serde::Deserialize;

use super::SecretSource;

/// `http://HOST:PORT` or `https://HOST`: where the API answers. The vendor's:
/// <https://cloud.tencent.com/document/api/266/33433>.
pub const DEFAULT_ENDPOINT: &str = "https://vod.tencentcloudapi.com";

/// Whose permissions the calls have. One of: `secret_id` with `secret_key`, `profile`,
/// `cvm_role`, `tke_oidc`. None of them: the first that there is of the variables
/// `TENCENTCLOUD_SECRET_ID` and `TENCENTCLOUD_SECRET_KEY`, the profile file, TKE's variables, and
/// the virtual machine's role. The vendor's chain has the last two the other way round, but each
/// node of TKE is a virtual machine, whose role would hide the pod's own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CredentialsConfig {
    /// The key's id, with `secret_key`.
    pub secret_id: Option<SecretSource>,
    /// The key, with `secret_id`.
    pub secret_key: Option<SecretSource>,
    /// The session token of a temporary key.
    pub token: Option<SecretSource>,
    /// A profile file as the vendor's tools write it.
    pub profile: Option<ProfileConfig>,
    /// The role of the virtual machine, from its metadata service.
    pub cvm_role: Option<CvmRoleConfig>,
    /// The role of a Kubernetes service account on TKE. Empty: everything from the variables
    /// that TKE sets.
    pub tke_oidc: Option<TkeOidcConfig>,
}

/// A profile file: INI, with `secret_id` and `secret_key`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProfileConfig {
    /// The file. None: `~/.tencentcloud/credentials`, else `/etc/tencentcloud/credentials`.
    pub file: Option<PathBuf>,
    /// The section. None: `default`.
    pub name: Option<String>,
}

/// The role of the virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CvmRoleConfig {
    /// The role's name. None: the one that the machine has.
    pub role: Option<String>,
    /// The metadata service. None: the vendor's, `http://metadata.tencentyun.com`.
    pub endpoint: Option<String>,
}

/// The role of a service account on TKE; what is not given comes from the variables
/// `TKE_REGION`, `TKE_PROVIDER_ID`, `TKE_ROLE_ARN` and `TKE_WEB_IDENTITY_TOKEN_FILE`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TkeOidcConfig {
    /// Region of the token service.
    pub region: Option<String>,
    /// The identity provider's id.
    pub provider_id: Option<String>,
    /// The role to assume.
    pub role_arn: Option<String>,
    /// The file of the identity token; read again at each refresh.
    pub web_identity_token_file: Option<PathBuf>,
    /// The token service. None: `https://sts.tencentcloudapi.com`.
    pub endpoint: Option<String>,
}
