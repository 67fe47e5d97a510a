//! One call in one process after the other, in a private directory that has acme.sh's configuration files in it.
//!
//! The process loads the user's acme.sh as a library, as acme.sh's own tests of its scripts do. It gets the settings as variables,
//! no other variable of ours, and nobody to answer its questions.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use dnseal_core::dns::Action;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::TxtValue;
use dnseal_core::event::Events;
use dnseal_core::store::FileError;
use dnseal_core::store::Scratch;
use dnseal_core::store::UserIds;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use tokio::process::Command;

use crate::hosted::acmesh::KIND_NAME;
use crate::hosted::acmesh::header::Header;
use crate::hosted::acmesh::kept::Kept;
use crate::program;
use crate::program::Call;
use crate::program::Ended;
use crate::program::Log;
use crate::program::trust;
use crate::redact::Secrets;

/// A script, and what it needs to be run.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) env: Vec<(String, SecretString)>,
    pub(super) library: PathBuf,
    pub(super) log: Log,
    pub(super) name: String,
    pub(super) script: PathBuf,
    pub(super) timeout: Duration,
    pub(super) user: Option<UserIds>,
}

/// What a script says, without the values of variables that are not known to be public.
pub(super) fn log(env: &[(String, SecretString)], header: &Header, events: Events) -> Log {
    let is_secret = |name: &String, value: &SecretString| match header
        .options
        .iter()
        .find(|option| option.name == *name)
    {
        Some(option) => !option.is_public(),
        None => Log::may_be_secret(value),
    };
    let secrets: Secrets = env
        .iter()
        .filter(|(name, value)| is_secret(name, value))
        .map(|(_, value)| value.clone())
        .collect();
    Log::new(KIND_NAME, events, secrets)
}

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Errand<'a> {
    pub(super) action: Action,
    /// Whose configuration is meant, as acme.sh has one for each certificate.
    pub(super) domain: &'a str,
    pub(super) owner: &'a DomainName,
    pub(super) value: &'a TxtValue,
}

impl Host {
    pub(super) fn endpoint(&self) -> String {
        format!("acme.sh's {}", self.name)
    }

    /// Makes one call; what the script saves is in `kept` afterwards, also where it failed.
    pub(super) async fn run(
        &self,
        errand: Errand<'_>,
        kept: &mut Kept,
    ) -> Result<(), ProviderError> {
        // Their owner may have changed since.
        self.check().map_err(|error| ProviderError::Refused {
            detail: error.to_string(),
            endpoint: self.endpoint(),
            hint: error.hint(),
        })?;
        let room = match kept.room.take() {
            Some(room) => room,
            None => self.room(kept).await?,
        };
        let of_domain = kept.domains.get(errand.domain).cloned().unwrap_or_default();
        let room = self.prepare(room, of_domain).await?;
        let call = Call {
            endpoint: self.endpoint(),
            log: &self.log,
            timeout: self.timeout,
        };
        let ended = call.run(self.command(errand, &room)).await;
        self.take_back(&room, errand.domain, kept)
            .map_err(|error| self.unfit(&error))?;
        kept.room = Some(room);
        match ended? {
            ended if ended.status.success() => Ok(()),
            ended => Err(self.failure(&ended)),
        }
    }

    /// Whether root, this user or the one that runs it are the only ones who can have changed the scripts.
    pub(super) fn check(&self) -> Result<(), trust::TrustError> {
        let user = self.user.map(|ids| ids.user);
        trust::check_file_of(&self.library, user)?;
        trust::check_file_of(&self.script, user)
    }

    async fn room(&self, kept: &Kept) -> Result<Room, ProviderError> {
        let account = kept.account.clone();
        let (library, script, user) = (self.library.clone(), self.script.clone(), self.user);
        self.blocking(move || {
            let scratch = Scratch::new(user)?;
            scratch.write(ACCOUNT, account.expose_secret().as_bytes())?;
            // Another user need not be able to read where they are.
            let here = |file: &Path, name: &str| match user {
                Some(_) => {
                    let text = std::fs::read(file).map_err(|error| FileError::Io {
                        action: "read",
                        path: file.to_owned(),
                        source: error,
                    })?;
                    scratch.write(name, &text)?;
                    Ok(scratch.path().join(name))
                }
                None => Ok::<_, FileError>(file.to_owned()),
            };
            let library = here(&library, "acme.sh")?;
            let script = here(&script, "script.sh")?;
            Ok(Room {
                library,
                scratch,
                script,
            })
        })
        .await
    }

    async fn prepare(&self, room: Room, of_domain: SecretString) -> Result<Room, ProviderError> {
        self.blocking(move || {
            let wanted = of_domain.expose_secret().as_bytes();
            if room.scratch.read(DOMAIN)?.unwrap_or_default() != wanted {
                room.scratch.write(DOMAIN, wanted)?;
            }
            Ok(room)
        })
        .await
    }

    async fn blocking(
        &self,
        work: impl FnOnce() -> Result<Room, FileError> + Send + 'static,
    ) -> Result<Room, ProviderError> {
        match tokio::task::spawn_blocking(work).await {
            Ok(made) => made.map_err(|error| self.unfit(&error)),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn command(&self, errand: Errand<'_>, room: &Room) -> Command {
        let mut command = Command::new("/bin/sh");
        let verb = match errand.action {
            Action::Add => "add",
            Action::Remove => "rm",
        };
        command
            .arg("-c")
            .arg(SHIM)
            .arg(&room.library)
            .arg(&room.script)
            .arg(format!("{}_{verb}", self.name))
            .arg(errand.owner.as_str())
            .arg(errand.value.to_string());
        program::contain(&mut command);
        let dir = room.scratch.path();
        for name in [
            "HOME",
            "LE_CONFIG_HOME",
            "LE_TEMP_DIR",
            "LE_WORKING_DIR",
            "TMPDIR",
        ] {
            command.env(name, dir);
        }
        command
            .env("ACCOUNT_CONF_PATH", dir.join(ACCOUNT))
            .env("DOMAIN_CONF", dir.join(DOMAIN))
            .env("DOMAIN_PATH", dir)
            .env("NO_TIMESTAMP", "1")
            .current_dir(dir);
        if let Some(home) = self.library.parent() {
            command.env("_SCRIPT_HOME", home);
        }
        for (name, value) in &self.env {
            command.env(name, value.expose_secret());
        }
        #[cfg(unix)]
        if let Some(ids) = self.user {
            // The other groups of this process are left behind, too.
            command.uid(ids.user).gid(ids.group);
        }
        command
    }

    fn take_back(&self, room: &Room, domain: &str, kept: &mut Kept) -> Result<(), FileError> {
        let read = |name: &str| -> Result<SecretString, FileError> {
            let content = room.scratch.read(name)?.unwrap_or_default();
            Ok(String::from_utf8_lossy(&content).into_owned().into())
        };
        kept.account = read(ACCOUNT)?;
        let of_domain = read(DOMAIN)?;
        match of_domain.expose_secret().trim().is_empty() {
            true => drop(kept.domains.remove(domain)),
            false => drop(kept.domains.insert(domain.to_owned(), of_domain)),
        }
        Ok(())
    }

    fn unfit(&self, error: &FileError) -> ProviderError {
        ProviderError::Misconfigured {
            detail: format!("{} has no place to run in: {error}", self.endpoint()),
            hint: error.hint(),
        }
    }

    /// Whether a shell that misses this misses something of acme.sh's: its functions begin like that, and no program does.
    fn is_function(&self, name: &str) -> bool {
        name.starts_with('_') || name.starts_with(&self.name)
    }

    /// What went wrong, as far as acme.sh's own messages tell it.
    fn failure(&self, ended: &Ended) -> ProviderError {
        let endpoint = self.endpoint();
        let detail = ended.words(LINES);
        let find = |what: &str| ended.said.iter().find(|line| line.contains(what));
        if find("Neither curl nor wget").is_some() {
            return ProviderError::Misconfigured {
                detail: format!("{endpoint} needs curl or wget, and found neither: {detail}"),
                hint: Some(format!(
                    "install curl; it is looked for in {}, or in what `env.PATH` names",
                    program::SEARCH_PATH
                )),
            };
        }
        let missing = ended.said.iter().find_map(|line| missing(line));
        if let Some(function) = missing.filter(|name| self.is_function(name)) {
            return ProviderError::Misconfigured {
                detail: format!(
                    "{endpoint} needs the function `{function}`, which {} does not have: {detail}",
                    self.library.display()
                ),
                hint: Some(
                    "install the whole of acme.sh, in a version that the script is for; `home` says where it is"
                        .to_owned(),
                ),
            };
        }
        if let Some(program) = missing {
            return ProviderError::Misconfigured {
                detail: format!(
                    "{endpoint} needs the program `{program}`, which is not there: {detail}"
                ),
                hint: Some(format!(
                    "install `{program}`; it is looked for in {}, or in what `env.PATH` names",
                    program::SEARCH_PATH
                )),
            };
        }
        let code = |site: &str| {
            let line = ended.said.iter().rev().find(|line| line.contains(site))?;
            line.rsplit(' ').next()?.parse::<u32>().ok()
        };
        // https://curl.se/libcurl/c/libcurl-errors.html, and the exit statuses in wget's manual.
        match (code("libcurl-errors.html"), code("Exit-Status.html")) {
            (Some(5 | 6 | 7 | 28 | 52 | 55 | 56 | 92), _) | (_, Some(4)) => {
                ProviderError::Unreachable { detail, endpoint }
            }
            (Some(35 | 51 | 58 | 59 | 60 | 66 | 77), _) | (_, Some(5)) => ProviderError::Refused {
                detail,
                endpoint,
                hint: Some(
                    "the service's certificate is not trusted: `env.CA_BUNDLE` names a file with more roots"
                        .to_owned(),
                ),
            },
            _ => ProviderError::Refused {
                detail,
                endpoint,
                hint: Some("`-v` shows everything that it says".to_owned()),
            },
        }
    }
}

/// A directory for the calls of one batch, and the files to be run.
#[derive(Debug)]
pub(super) struct Room {
    library: PathBuf,
    scratch: Scratch,
    script: PathBuf,
}

/// The program that a shell has not found.
fn missing(line: &str) -> Option<&str> {
    let line = line
        .strip_suffix(": not found")
        .or_else(|| line.strip_suffix(": command not found"))?;
    line.rsplit([' ', ':'])
        .next()
        .filter(|name| !name.is_empty())
}

const ACCOUNT: &str = "account.conf";
const DOMAIN: &str = "domain.conf";
/// Scripts say what is wrong on one line, and what to do about it on the next.
const LINES: usize = 3;
const SHIM: &str = include_str!("shim.sh");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named() {
        for (line, name) in [
            (
                "/usr/share/acme.sh/acme.sh: 44: nsupdate: not found",
                "nsupdate",
            ),
            ("sh: line 12: jq: command not found", "jq"),
        ] {
            assert_eq!(missing(line), Some(name));
        }
        assert_eq!(missing("record not found"), None);
        assert_eq!(missing("the zone: not found at all"), None);
    }
}
