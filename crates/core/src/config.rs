//! Durations and sizes as operators write them: `3s`, `1500ms`, `64MiB`.

/// `#[serde(with = "vodbridge_core::config::duration")]`: a duration with its unit.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de::Error};

    /// Reads `3s`, `5m`, `1500ms`, `7d`, or several of them in a row.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer).map_err(|_| {
            D::Error::custom("a duration needs a unit, for example `3s` or `1500ms`")
        })?;
        humantime::parse_duration(&text).map_err(|error| {
            D::Error::custom(format!(
                "{text:?} is no duration ({error}); write for example `3s` or `1500ms`"
            ))
        })
    }
}

/// `#[serde(with = "vodbridge_core::config::bytes")]`: a number of bytes, with a unit or without.
pub mod bytes {
    use std::fmt;

    use serde::de::{self, Deserializer, Visitor};

    const UNITS: [(&str, u64); 7] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
    ];

    /// Reads `64MiB`, `10GiB`, `1MB`, or a plain number of bytes.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        struct BytesVisitor;
        impl Visitor<'_> for BytesVisitor {
            type Value = u64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, for example `64MiB`")
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<u64, E> {
                Ok(value)
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<u64, E> {
                u64::try_from(value)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
                parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(BytesVisitor)
    }

    fn parse(text: &str) -> Option<u64> {
        let (number, unit) = UNITS
            .iter()
            .find_map(|(unit, factor)| text.strip_suffix(unit).map(|number| (number, *factor)))
            .unwrap_or((text, 1));
        number.trim().parse::<u64>().ok()?.checked_mul(unit)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Settings {
        #[serde(with = "super::duration")]
        time: Duration,
        #[serde(with = "super::bytes")]
        size: u64,
    }

    fn parse(text: &str) -> Result<Settings, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn reads_units() {
        let settings = parse(r#"{"time": "1m 500ms", "size": "64MiB"}"#).unwrap();
        assert_eq!(settings.time, Duration::from_millis(60_500));
        assert_eq!(settings.size, 64 << 20);
        assert_eq!(parse(r#"{"time": "0s", "size": 17}"#).unwrap().size, 17);
    }

    #[test]
    fn refuses_what_has_no_unit_or_overflows() {
        assert!(parse(r#"{"time": 3, "size": 1}"#).is_err());
        assert!(parse(r#"{"time": "3", "size": 1}"#).is_err());
        assert!(parse(r#"{"time": "3s", "size": "99999999999GiB"}"#).is_err());
        assert!(parse(r#"{"time": "3s", "size": -1}"#).is_err());
        assert!(parse(r#"{"time": "3s", "size": "1 MegaByte"}"#).is_err());
    }
}
