//! Keys that are written down: in the configuration, in files, in a profile.

use std::path::{Path, PathBuf};

use tokio::fs;
use vodbridge_core::Secret;

use super::{CredentialsError, Issued, Key};
use crate::cloud::{ProfileConfig, SecretSource};

/// Larger files are no secrets.
const LARGEST: u64 = 64 << 10;

/// An id and a key, each a value or a file.
pub(super) struct Files {
    id: SecretSource,
    key: SecretSource,
    token: Option<SecretSource>,
    from_variables: bool,
}

impl Files {
    pub(super) fn new(id: SecretSource, key: SecretSource, token: Option<SecretSource>) -> Self {
        Self {
            id,
            key,
            token,
            from_variables: false,
        }
    }

    pub(super) fn of_variables(id: String, key: String, token: Option<String>) -> Self {
        let value = |value| SecretSource::Value(Secret::new(value));
        Self {
            from_variables: true,
            ..Self::new(value(id), value(key), token.map(value))
        }
    }

    pub(super) fn describe(&self) -> String {
        match (&self.key, self.from_variables) {
            (_, true) => "the variables TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY".into(),
            (SecretSource::File { file }, _) => format!("the file {}", file.display()),
            (SecretSource::Value(_), _) => "the configuration".into(),
        }
    }

    pub(super) async fn read(&self) -> Result<Issued, CredentialsError> {
        let token = match &self.token {
            Some(token) => Some(read(token).await?),
            None => None,
        };
        Ok(Issued::lasting(Key {
            id: read(&self.id).await?.expose().to_owned(),
            key: read(&self.key).await?,
            token,
        }))
    }
}

async fn read(source: &SecretSource) -> Result<Secret, CredentialsError> {
    match source {
        SecretSource::Value(value) => Ok(value.clone()),
        SecretSource::File { file } => {
            let text = read_text(file).await?;
            let text = text.trim_end_matches(['\r', '\n']);
            if text.is_empty() {
                let what = format!("the file {} is empty", file.display());
                return Err(CredentialsError::new(what, "write the secret into it"));
            }
            Ok(Secret::new(text))
        }
    }
}

/// Off the runtime's workers: a file may be on a disk that hangs.
async fn read_text(file: &Path) -> Result<String, CredentialsError> {
    let failed = |error: std::io::Error| {
        let what = format!("the file {} cannot be read", file.display());
        CredentialsError::new(what, "let this user read it, or name another").because(error)
    };
    if fs::metadata(file).await.map_err(failed)?.len() > LARGEST {
        let what = format!("the file {} is too large for a secret", file.display());
        return Err(CredentialsError::new(what, "name another"));
    }
    fs::read_to_string(file).await.map_err(failed)
}

/// A profile file as the vendor's tools write it: INI.
pub(super) struct Profile {
    file: PathBuf,
    section: String,
}

impl Profile {
    pub(super) fn new(config: &ProfileConfig, variable: &impl Fn(&str) -> Option<String>) -> Self {
        let own = || {
            let home = PathBuf::from(variable("HOME")?);
            let file = home.join(".tencentcloud/credentials");
            file.exists().then_some(file)
        };
        let file = config.file.clone().or_else(own);
        Self {
            file: file.unwrap_or_else(|| "/etc/tencentcloud/credentials".into()),
            section: config.name.clone().unwrap_or_else(|| "default".to_owned()),
        }
    }

    pub(super) fn exists(&self) -> bool {
        self.file.exists()
    }

    pub(super) fn describe(&self) -> String {
        format!("the profile [{}] of {}", self.section, self.file.display())
    }

    pub(super) async fn read(&self) -> Result<Issued, CredentialsError> {
        let text = read_text(&self.file).await?;
        let value = |key| {
            value(&text, &self.section, key).ok_or_else(|| {
                let what = format!("there is no {key} in {}", self.describe());
                CredentialsError::new(what, "write secret_id and secret_key there")
            })
        };
        Ok(Issued::lasting(Key {
            id: value("secret_id")?.to_owned(),
            key: Secret::new(value("secret_key")?),
            token: None,
        }))
    }
}

/// The value of a key in a section of an INI file.
fn value<'a>(text: &'a str, section: &str, key: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| {
        line.strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
            == Some(section)
    })?;
    lines
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with(['#', ';']))
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
}
