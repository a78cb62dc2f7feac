//! The cloud's API: signed calls, the credentials behind them and the account's limits.

mod config;
mod secret_source;

pub use config::{
    CredentialsConfig, CvmRoleConfig, DEFAULT_ENDPOINT, ProfileConfig, TkeOidcConfig,
};
pub use secret_source::SecretSource;
