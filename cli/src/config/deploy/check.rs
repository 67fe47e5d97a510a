//! Checks what is written about deployment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use dnseal_core::deploy::Access;
use dnseal_core::deploy::Hook;
use dnseal_core::deploy::HookDirectory;
use dnseal_core::store::CertId;
use dnseal_core::store::Mode;

use super::Content;
use super::File;
use super::Hooks;
use super::Target;
use super::raw;
use crate::config::Certificate;
use crate::config::ConfigError;
use crate::config::Place;
use crate::config::check::Checker;

impl Checker<'_> {
    /// The targets of one list, none of which has the label of another.
    pub(in crate::config) fn targets(
        &self,
        place: &Place,
        raw: Vec<raw::Target>,
        timeout: Duration,
    ) -> Result<Vec<Target>, ConfigError> {
        let mut targets: Vec<Target> = Vec::new();
        for (index, target) in raw.into_iter().enumerate() {
            let place = place.at(index);
            let target = self.target(&place, target, timeout)?;
            if targets.iter().any(|other| other.label == target.label) {
                return Err(self
                    .error(&place, format!("there are two targets `{}`", target.label))
                    .with_hint("give one of them another `name`".to_owned()));
            }
            targets.push(target);
        }
        Ok(targets)
    }

    fn target(
        &self,
        place: &Place,
        raw: raw::Target,
        timeout: Duration,
    ) -> Result<Target, ConfigError> {
        let command = raw::Command {
            run: raw.run,
            shell: raw.shell,
            timeout: raw.timeout,
        };
        let command = match (&command.run, &command.shell) {
            (None, None) => None,
            _ => Some(self.hook(place, command, timeout)?),
        };
        let usual = access(raw.owner, raw.group, raw.mode);
        let files = self.files(&place.at("files"), raw.files, &usual)?;
        let of_command = command.as_ref().map(|hook| hook.shown().to_owned());
        let of_file = files.first().map(|file| file.path.display().to_string());
        let Some(label) = raw.name.or(of_file).or(of_command) else {
            return Err(self
                .error(place, "this target has neither `files` nor a command")
                .with_hint("add for example `run: [systemctl, reload, nginx]`".to_owned()));
        };
        Ok(Target {
            label,
            files,
            command,
            each: raw.each,
        })
    }

    fn files(
        &self,
        place: &Place,
        raw: raw::Files,
        usual: &Access,
    ) -> Result<Vec<File>, ConfigError> {
        let plain = [
            ("key", Content::Key, raw.key),
            ("cert", Content::Cert, raw.cert),
            ("chain", Content::Chain, raw.chain),
            ("fullchain", Content::FullChain, raw.fullchain),
            ("combined", Content::Combined, raw.combined),
        ];
        let mut files: Vec<File> = Vec::new();
        for (key, content, file) in plain {
            let Some(file) = file else { continue };
            let (path, own) = match file {
                raw::File::Path(path) => (path, Access::default()),
                raw::File::Table(table) => {
                    (table.path, access(table.owner, table.group, table.mode))
                }
            };
            files.push(File {
                path: self.path(&place.at(key), &path)?,
                content,
                access: own.or(usual),
            });
        }
        if let Some(pkcs12) = raw.pkcs12 {
            let place = place.at("pkcs12");
            let own = access(pkcs12.owner, pkcs12.group, pkcs12.mode);
            files.push(File {
                path: self.path(&place.at("path"), &pkcs12.path)?,
                content: Content::Pkcs12 {
                    password: self.secret(&place.at("password"), pkcs12.password)?,
                },
                access: own.or(usual),
            });
        }
        for (index, file) in files.iter().enumerate() {
            if files[..index].iter().any(|other| other.path == file.path) {
                let path = file.path.display();
                return Err(self.error(place, format!("two files are written to {path}")));
            }
        }
        Ok(files)
    }

    /// A path to a file; where it is relative it is so to the configuration.
    fn path(&self, place: &Place, text: &str) -> Result<PathBuf, ConfigError> {
        let unknown = text
            .split('{')
            .skip(1)
            .find(|rest| !rest.starts_with("name}"));
        if let Some(rest) = unknown {
            let word = rest.split('}').next().unwrap_or(rest);
            return Err(self
                .error(place, format!("there is no placeholder `{{{word}}}`"))
                .with_hint("`{name}` is the name of the certificate".to_owned()));
        }
        let path = self.source.resolve(text);
        let dots = path
            .components()
            .any(|c| c == std::path::Component::ParentDir);
        if text.is_empty() || text.ends_with('/') || dots {
            return Err(self.error(place, format!("`{text}` is no path of a file")));
        }
        std::path::absolute(&path)
            .map_err(|e| self.error(place, format!("`{text}` is no path of a file: {e}")))
    }

    /// What one certificate writes, no other replaces.
    pub(in crate::config) fn one_writer_a_file(
        &self,
        certificates: &[Certificate],
        usual: &[Target],
    ) -> Result<(), ConfigError> {
        let mut written: BTreeMap<PathBuf, &CertId> = BTreeMap::new();
        for certificate in certificates {
            let targets = certificate.deploy.as_deref().unwrap_or(usual);
            for file in targets.iter().flat_map(|target| &target.files) {
                let path = file.path_of(&certificate.id);
                let id = &certificate.id;
                if let Some(other) = written.insert(path.clone(), id) {
                    let who = match other == id {
                        true => format!("{id} is written twice"),
                        false => format!("both {other} and {id} are written"),
                    };
                    let place = Place::value(["certificates"]).at(id).key();
                    return Err(self
                        .error(&place, format!("{who} to {}", path.display()))
                        .with_hint(
                            "`{name}` in a path is the name of the certificate".to_owned(),
                        ));
                }
            }
        }
        Ok(())
    }

    pub(in crate::config) fn hooks(
        &self,
        place: &Place,
        raw: raw::Hooks,
    ) -> Result<Hooks, ConfigError> {
        let timeout = timeout(&raw);
        let list = |key: &str, commands: Vec<raw::Command>| -> Result<Vec<Hook>, ConfigError> {
            let place = place.at(key);
            let numbered = commands.into_iter().enumerate();
            numbered
                .map(|(index, command)| self.hook(&place.at(index), command, timeout))
                .collect()
        };
        Ok(Hooks {
            pre: list("pre", raw.pre)?,
            deploy: list("deploy", raw.deploy)?,
            post: list("post", raw.post)?,
            directory: raw.directory.map(|path| {
                let path = self.source.resolve(&path);
                HookDirectory {
                    // Scripts are run from elsewhere.
                    path: std::path::absolute(&path).unwrap_or(path),
                    timeout,
                }
            }),
            pass: raw.pass,
        })
    }

    fn hook(
        &self,
        place: &Place,
        raw: raw::Command,
        timeout: Duration,
    ) -> Result<Hook, ConfigError> {
        let timeout = raw.timeout.map_or(timeout, |d| d.0);
        if timeout.is_zero() {
            return Err(self.error(&place.at("timeout"), "no command ends within no time"));
        }
        match (raw.run, raw.shell) {
            (Some(_), Some(_)) => Err(self.error(
                &place.at("shell").key(),
                "a command is `run` or `shell`, not both",
            )),
            (Some(argv), None) => match argv.first() {
                Some(program) if !program.is_empty() => Ok(Hook::program(argv, timeout)),
                _ => Err(self.error(&place.at("run"), "this command has no program")),
            },
            (None, Some(text)) if !text.trim().is_empty() => Ok(Hook::shell(&text, timeout)),
            (None, Some(_)) => Err(self.error(&place.at("shell"), "this command is empty")),
            (None, None) => Err(self
                .error(place, "this command has neither `run` nor `shell`")
                .with_hint("write for example `{ run: [systemctl, reload, nginx] }`".to_owned())),
        }
    }
}

/// What every command may take that says nothing else.
pub(in crate::config) fn timeout(hooks: &raw::Hooks) -> Duration {
    hooks.timeout.map_or(TIMEOUT, |d| d.0)
}

/// Owner, group and mode as they are written.
pub(in crate::config) fn access(
    owner: Option<raw::Name>,
    group: Option<raw::Name>,
    mode: Option<raw::Mode>,
) -> Access {
    Access {
        owner: owner.map(|name| name.0),
        group: group.map(|name| name.0),
        mode: mode.map(|mode| Mode(mode.0)),
    }
}

/// A server that reloads takes seconds; one that is started anew may take a minute.
const TIMEOUT: Duration = Duration::from_secs(120);
