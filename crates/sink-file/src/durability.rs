//! Whether what is written to a directory outlives the container.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Where a directory's files live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Durability {
    /// On a file system that outlives the process and its container, as far as the kernel tells:
    /// a volume whose host throws it away later (Kubernetes' `emptyDir`) looks the same.
    Durable,
    /// In memory, or in the writable layer of a container.
    Ephemeral {
        /// Its type, for example `overlay`.
        filesystem: String,
    },
}

/// File systems that end with the container or the machine's uptime.
const EPHEMERAL: [&str; 6] = ["overlay", "aufs", "tmpfs", "ramfs", "devtmpfs", "rootfs"];

/// What the mount table says of a path. The path need not exist: its nearest ancestor counts.
/// Durable where there is no mount table to read, which is not on Linux.
///
/// <https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html>
pub fn durability(path: &Path) -> Durability {
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    match file_system(&table, &existing(path)) {
        Some(name) if EPHEMERAL.contains(&name.as_str()) => {
            Durability::Ephemeral { filesystem: name }
        }
        _ => Durability::Durable,
    }
}

/// The path without links, up to the part of it that exists, and the rest as written.
fn existing(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    path.ancestors()
        .find_map(|ancestor| ancestor.canonicalize().ok())
        .unwrap_or(path)
}

/// The type of the file system mounted at the longest prefix of `path`, the last one where several
/// are mounted at one place.
fn file_system(table: &[u8], path: &Path) -> Option<String> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(mount)
        .filter(|(point, _)| path.starts_with(point))
        .max_by_key(|(point, _)| point.as_os_str().len())
        .map(|(_, name)| name)
}

/// `36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw`: the mount point is the fifth
/// field, the type the first after the lone dash.
fn mount(line: &[u8]) -> Option<(PathBuf, String)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let point = unescape(fields.nth(4)?);
    fields.find(|field| *field == b"-")?;
    let name = String::from_utf8_lossy(fields.next()?).into_owned();
    Some((point, name))
}

/// Space, tab, newline and backslash stand as `\ooo`, octal.
fn unescape(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let code = (byte == b'\\')
            .then(|| std::str::from_utf8(tail.get(..3)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        path.push(code.unwrap_or(byte));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
1 0 0:1 / / rw,relatime shared:1 master:2 - overlay overlay rw,lowerdir=/a\n\
2 1 8:1 / /var/lib/vodbridge rw - ext4 /dev/sda1 rw\n\
3 1 0:5 / /run rw shared:3 - tmpfs tmpfs rw\n\
4 1 8:2 / /mnt/with\\040space rw - xfs /dev/sdb rw\n\
5 1 0:6 / /mnt/twice rw - ext4 /dev/sdc rw\n\
6 5 0:7 / /mnt/twice rw - tmpfs tmpfs rw\n";

    #[test]
    fn the_longest_and_last_mount_counts() {
        for (path, name) in [
            ("/etc", "overlay"),
            ("/var/lib/vodbridge/archive", "ext4"),
            ("/var/lib/vodbridge2", "overlay"),
            ("/run/x", "tmpfs"),
            ("/mnt/with space/x", "xfs"),
            ("/mnt/twice", "tmpfs"),
        ] {
            assert_eq!(
                file_system(TABLE, Path::new(path)).as_deref(),
                Some(name),
                "{path}"
            );
        }
        assert_eq!(file_system(b"", Path::new("/")), None);
    }

    #[test]
    fn a_missing_directory_is_where_its_parent_is() {
        assert_eq!(
            durability(Path::new("/dev/shm/none/such")),
            durability(Path::new("/dev/shm")),
        );
        assert!(matches!(
            durability(Path::new("/dev/shm")),
            Durability::Ephemeral { .. }
        ));
    }
}
