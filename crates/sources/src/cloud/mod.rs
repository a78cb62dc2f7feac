//! The cloud's API: signed calls, the credentials behind them and the account's limits.

mod client;
mod config;
mod credentials;
mod error;
#[cfg(test)]
mod fake;
mod http;
mod limiter;
mod secret_source;

pub use client::{Called, CloudClient, InvalidEndpoint, Turn, check_endpoint};
pub use config::{
    CredentialsConfig, CvmRoleConfig, DEFAULT_ENDPOINT, ProfileConfig, TkeOidcConfig,
};
pub use credentials::{Credentials, CredentialsError, Key};
pub use error::CallError;
pub use http::HttpError;
pub use limiter::Limiter;
pub use secret_source::SecretSource;
