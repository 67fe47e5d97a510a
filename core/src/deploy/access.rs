//! Owner, group and mode of files that servers read, by name as people write them.
//!
//! Names are looked up when they are needed: in the files of this machine, and through `getent` where users come from elsewhere, so
//! that a statically linked binary knows them too.

use std::process::Command;
use std::process::Stdio;

use serde::Serialize;

use crate::store::Mode;
use crate::store::UserIds;

/// Owner, group and mode as far as they are wished; what is not said is kept from the file that was there.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Access {
    /// The name or number of a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The name or number of a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The mode of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

impl Access {
    /// What is not said here is as in `other`.
    pub fn or(&self, other: &Self) -> Self {
        Self {
            owner: self.owner.clone().or_else(|| other.owner.clone()),
            group: self.group.clone().or_else(|| other.group.clone()),
            mode: self.mode.or(other.mode),
        }
    }

    /// Whether nothing is wished.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Owner and group as numbers.
    pub(crate) fn resolve(&self) -> Result<Ids, AccessError> {
        Ok(Ids {
            owner: look_up(Database::User, self.owner.as_deref())?,
            group: look_up(Database::Group, self.group.as_deref())?,
        })
    }
}

/// Owner and group as numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids {
    pub(crate) owner: Option<u32>,
    pub(crate) group: Option<u32>,
}

/// Why a file cannot be given to somebody.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// No such group.
    #[error("there is no group `{name}` on this machine")]
    NoGroup {
        /// The name.
        name: String,
    },
    /// No such user.
    #[error("there is no user `{name}` on this machine")]
    NoUser {
        /// The name.
        name: String,
    },
}

impl AccessError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let (what, name) = match self {
            Self::NoGroup { name } => ("group", name),
            Self::NoUser { name } => ("passwd", name),
        };
        Some(format!("`getent {what} {name}` has to find it"))
    }
}

/// The user called `name`, or with that number, and the group that the user is in by default.
pub fn user_ids(name: &str) -> Result<UserIds, AccessError> {
    let found = search(Database::User, name, |lines| {
        lines.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            match fields.as_slice() {
                [known, _, user, group, ..] if *known == name || *user == name => Some(UserIds {
                    user: user.parse().ok()?,
                    group: group.parse().ok()?,
                }),
                _ => None,
            }
        })
    });
    found.ok_or_else(|| AccessError::NoUser {
        name: name.to_owned(),
    })
}

#[derive(Clone, Copy)]
enum Database {
    Group,
    User,
}

fn look_up(database: Database, name: Option<&str>) -> Result<Option<u32>, AccessError> {
    let Some(name) = name else { return Ok(None) };
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    let found = search(database, name, |lines| find(lines, name));
    let missing = || {
        let name = name.to_owned();
        match database {
            Database::Group => AccessError::NoGroup { name },
            Database::User => AccessError::NoUser { name },
        }
    };
    found.map(Some).ok_or_else(missing)
}

/// What `find` finds in the file of this machine, or in what `getent` says.
fn search<T>(database: Database, name: &str, find: impl Fn(&str) -> Option<T>) -> Option<T> {
    let (file, word) = match database {
        Database::Group => ("/etc/group", "group"),
        Database::User => ("/etc/passwd", "passwd"),
    };
    let local = std::fs::read_to_string(file).unwrap_or_default();
    find(&local).or_else(|| {
        let output = Command::new("getent")
            .args([word, name])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        find(&String::from_utf8_lossy(&output.stdout))
    })
}

/// The third field of the line that begins with `name`, which is the number in both files.
fn find(lines: &str, name: &str) -> Option<u32> {
    lines.lines().find_map(|line| {
        let mut fields = line.split(':');
        match fields.next() == Some(name) {
            true => fields.nth(1)?.parse().ok(),
            false => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_numbers() {
        let lines = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/:/bin/false\nbroken\n";
        assert_eq!(find(lines, "web"), Some(33));
        assert_eq!(find(lines, "we"), None);
        let access = Access {
            owner: Some("4711".into()),
            group: Some("no such group".into()),
            mode: None,
        };
        let error = access.resolve().unwrap_err();
        assert!(matches!(error, AccessError::NoGroup { .. }), "{error}");
        let root = UserIds { user: 0, group: 0 };
        assert_eq!(user_ids("root").unwrap(), root);
        assert_eq!(user_ids("0").unwrap(), root);
        assert!(user_ids("no such user").is_err());
    }
}
