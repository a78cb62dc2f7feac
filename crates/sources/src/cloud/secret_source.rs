//! A secret that may live in a file.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, IntoDeserializer, MapAccess, Visitor};
use vodbridge_core::Secret;

/// A secret, or the file that holds it and is read again when it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// The file; one line end at its end is no part of the secret.
    File {
        /// Its path.
        file: PathBuf,
    },
    /// The value.
    Value(Secret),
}

/// What [`SecretSource::File`] is written as.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reference {
    file: PathBuf,
}

/// Not derived: serde's words for an untagged enum name neither the key nor what is wrong with it.
impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SourceVisitor;
        impl<'de> Visitor<'de> for SourceVisitor {
            type Value = SecretSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret: a text in quotes, {env: NAME} or {file: PATH}")
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<SecretSource, E> {
                Secret::deserialize(value.into_deserializer()).map(SecretSource::Value)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SecretSource, A::Error> {
                let Reference { file } = Reference::deserialize(MapAccessDeserializer::new(map))?;
                Ok(SecretSource::File { file })
            }
            // The refusals below say the type only: serde's own would print the value.
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<SecretSource, E> {
                Secret::deserialize(value.into_deserializer()).map(SecretSource::Value)
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<SecretSource, E> {
                Secret::deserialize(value.into_deserializer()).map(SecretSource::Value)
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<SecretSource, E> {
                Secret::deserialize(value.into_deserializer()).map(SecretSource::Value)
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<SecretSource, E> {
                Secret::deserialize(value.into_deserializer()).map(SecretSource::Value)
            }
        }
        deserializer.deserialize_any(SourceVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<SecretSource, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn is_a_text_or_a_file() {
        assert_eq!(
            read(r#""key""#).unwrap(),
            SecretSource::Value(Secret::new("key"))
        );
        let file = PathBuf::from("/run/key");
        assert_eq!(
            read(r#"{"file": "/run/key"}"#).unwrap(),
            SecretSource::File { file }
        );
    }

    #[test]
    fn says_what_is_wrong_without_printing_it() {
        for (json, told) in [
            ("4711", "in quotes"),
            ("-4711", "in quotes"),
            ("47.11", "in quotes"),
            ("true", "in quotes"),
            (r#""""#, "empty"),
            (r#"["4711"]"#, "{env: NAME} or {file: PATH}"),
            (r#"{"path": "4711"}"#, "unknown field `path`"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(told) && !error.contains("4711"), "{error}");
        }
    }
}
