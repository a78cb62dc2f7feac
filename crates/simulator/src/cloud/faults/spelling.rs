//! How faults are written.

use std::fmt;
use std::str::FromStr;

use super::{Action, Calls, Fault};

/// A text that is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no fault: {reason}")]
pub struct InvalidFault {
    text: String,
    reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Reason {
    #[error(
        "it begins with error, slow, drop-before, drop-after, throttle, duplicate, shared-handle, \
         same-handle, reorder or burst"
    )]
    Kind,
    #[error("a probability is a percentage such as 5%, or a number from 0 to 1")]
    Probability,
    #[error("an event that is always doubled has no end: at most 90%")]
    Endless,
    #[error("a time is like 500ms or 2s")]
    Time,
    #[error("an error code is of letters, digits and dots, or an HTTP status from 400 to 599")]
    Code,
    #[error("it needs a whole number from 1 on")]
    Number,
    #[error(
        "an action is one of PullEvents, ConfirmEvents, DescribeEventsState, DescribeEventConfig, ModifyEventConfig"
    )]
    Action,
    #[error("there is something behind its end")]
    Longer,
}

/// What stands between colons.
type Words<'t> = std::str::Split<'t, char>;

impl FromStr for Fault {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        let mut words = text.split(':');
        let fault = read(&mut words).and_then(|fault| match words.next() {
            None => Ok(fault),
            Some(_) => Err(Reason::Longer),
        });
        fault.map_err(|reason| InvalidFault {
            text: text.to_owned(),
            reason,
        })
    }
}

fn read(words: &mut Words<'_>) -> Result<Fault, Reason> {
    Ok(match words.next().unwrap_or_default() {
        "error" => Fault::Error {
            code: code(words)?,
            calls: calls(words)?,
        },
        "slow" => Fault::Slow {
            by: words
                .next()
                .and_then(|time| humantime::parse_duration(time).ok())
                .ok_or(Reason::Time)?,
            calls: calls(words)?,
        },
        "drop-before" => Fault::DropBefore(calls(words)?),
        "drop-after" => Fault::DropAfter(calls(words)?),
        "throttle" => Fault::Throttle {
            limit: number(words)?,
            action: action(words)?,
        },
        "duplicate" => match probability(words)? {
            endless if endless > 0.9 => return Err(Reason::Endless),
            probability => Fault::Duplicate(probability),
        },
        "shared-handle" => Fault::SharedHandle(probability(words)?),
        "same-handle" => Fault::SameHandle,
        "reorder" => Fault::Reorder(number(words)? as usize),
        "burst" => Fault::Burst(number(words)?),
        _ => return Err(Reason::Kind),
    })
}

fn calls(words: &mut Words<'_>) -> Result<Calls, Reason> {
    Ok(Calls {
        probability: probability(words)?,
        action: action(words)?,
    })
}

fn code(words: &mut Words<'_>) -> Result<String, Reason> {
    let code = words.next().unwrap_or_default();
    let spelled = code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    let begins = code.starts_with(|first: char| first.is_ascii_alphabetic());
    let status = code.parse().is_ok_and(|n: u16| (400..600).contains(&n));
    if status || (spelled && begins) {
        Ok(code.to_owned())
    } else {
        Err(Reason::Code)
    }
}

fn probability(words: &mut Words<'_>) -> Result<f64, Reason> {
    let word = words.next().unwrap_or_default();
    let (number, whole) = match word.strip_suffix('%') {
        Some(percent) => (percent, 100.0),
        None => (word, 1.0),
    };
    let number: f64 = number.parse().map_err(|_| Reason::Probability)?;
    let probability = number / whole;
    if (0.0..=1.0).contains(&probability) {
        Ok(probability)
    } else {
        Err(Reason::Probability)
    }
}

fn number(words: &mut Words<'_>) -> Result<u32, Reason> {
    let number = words.next().and_then(|word| word.parse().ok());
    number.filter(|number| *number > 0).ok_or(Reason::Number)
}

fn action(words: &mut Words<'_>) -> Result<Option<Action>, Reason> {
    match words.next() {
        None => Ok(None),
        Some(name) => Action::named(name).map(Some).ok_or(Reason::Action),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error { code, calls } => write!(f, "error:{code}:{calls}"),
            Self::Slow { by, calls } => {
                write!(f, "slow:{}ms:{calls}", by.as_millis())
            }
            Self::DropBefore(calls) => write!(f, "drop-before:{calls}"),
            Self::DropAfter(calls) => write!(f, "drop-after:{calls}"),
            Self::Throttle { limit, action } => {
                write!(f, "throttle:{limit}")?;
                action.map_or(Ok(()), |action| write!(f, ":{action}"))
            }
            Self::Duplicate(probability) => write!(f, "duplicate:{probability}"),
            Self::SharedHandle(probability) => write!(f, "shared-handle:{probability}"),
            Self::SameHandle => write!(f, "same-handle"),
            Self::Reorder(window) => write!(f, "reorder:{window}"),
            Self::Burst(size) => write!(f, "burst:{size}"),
        }
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.probability)?;
        self.action.map_or(Ok(()), |action| write!(f, ":{action}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_reads_as_it_is_written() {
        for text in [
            "error:InternalError:0.05",
            "error:AuthFailure.TokenFailure:0.5:PullEvents",
            "error:503:1",
            "slow:2000ms:0.1:ConfirmEvents",
            "drop-before:0.01",
            "drop-after:0.01:PullEvents",
            "throttle:20",
            "throttle:5:ConfirmEvents",
            "duplicate:0.2",
            "shared-handle:0.2",
            "same-handle",
            "reorder:100",
            "burst:500",
        ] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
        let percent: Fault = "drop-after:2.5%".parse().unwrap();
        assert_eq!(percent.to_string(), "drop-after:0.025");
    }

    #[test]
    fn what_is_none_says_why() {
        for (text, why) in [
            ("", "begins with error"),
            ("flood:5%", "begins with error"),
            ("error:InternalError", "probability"),
            ("error:InternalError:105%", "probability"),
            ("error:Internal Error:5%", "error code"),
            ("error:200:5%", "error code"),
            ("slow:5%", "a time"),
            ("drop-before:5%:Pull", "an action is one of"),
            ("same-handle:5%", "behind its end"),
            ("reorder:0", "whole number"),
            ("duplicate:100%", "no end"),
        ] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
