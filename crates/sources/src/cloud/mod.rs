//! The cloud's API: signed calls, the credentials behind them and the account's limits.

mod config;

pub use config::{
    CredentialsConfig, CvmRoleConfig, DEFAULT_ENDPOINT, ProfileConfig, SecretSource, TkeOidcConfig,
};
