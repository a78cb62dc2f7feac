//! A directory of recorded notifications.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{NoNotifications, Recorded};

/// A directory that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The directory, or a file in it, cannot be read.
    #[error("{} cannot be read", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: NoNotifications,
    },
    /// There is nothing to serve.
    #[error("{} has no file that ends with .json and holds a notification", path.display())]
    Empty {
        /// The directory.
        path: PathBuf,
    },
}

impl Recorded {
    /// The notifications of every file of a directory whose name ends with `.json`, in the order
    /// of the names. See [`Recorded::read`] for what a file holds.
    ///
    /// # Errors
    /// Where a file cannot be read or holds something else, or none holds a notification.
    pub fn read_directory(directory: &Path) -> Result<Vec<Self>, ReadError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| ReadError::Io { path, source }
        };
        let mut paths = Vec::new();
        for entry in fs::read_dir(directory).map_err(unreadable(directory))? {
            let path = entry.map_err(unreadable(directory))?.path();
            if path.extension().is_some_and(|ending| ending == "json") {
                paths.push(path);
            }
        }
        paths.sort();
        let mut all = Vec::new();
        for path in paths {
            let text = fs::read(&path).map_err(unreadable(&path))?;
            let read = Self::read(&text);
            all.extend(read.map_err(|source| ReadError::File { path, source })?);
        }
        if all.is_empty() {
            let path = directory.to_owned();
            return Err(ReadError::Empty { path });
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_of_this_crate_is_served() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
        let read = Recorded::read_directory(&directory).unwrap();
        assert_eq!(read.len(), crate::samples().len());
    }

    #[test]
    fn says_what_is_missing() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
        let empty = Recorded::read_directory(&directory.join("src")).unwrap_err();
        assert!(matches!(empty, ReadError::Empty { .. }), "{empty}");
        let none = Recorded::read_directory(&directory.join("none")).unwrap_err();
        assert!(none.to_string().ends_with("none cannot be read"), "{none}");
    }
}
