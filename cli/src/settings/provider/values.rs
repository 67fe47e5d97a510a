//! What a provider is told, and by whom: flags, configuration, environment.

use std::path::Path;

use dnseal_providers::Form;
use dnseal_providers::Kind;
use dnseal_providers::Setting;
use dnseal_providers::Settings;
use dnseal_providers::Value;
use secrecy::ExposeSecret;

use crate::args::ProviderArgs;
use crate::config::Config;
use crate::config::Place;
use crate::config::Provider;
use crate::config::Secret;
use crate::env_vars;
use crate::error::CliError;
use crate::input;

/// What a provider is told, from all sources.
pub(super) fn gather(
    name: &str,
    kind: &'static Kind,
    configured: Option<(&Config, &Provider)>,
    set: Vec<(String, String)>,
    warnings: &mut Vec<(String, String)>,
) -> Result<Settings, CliError> {
    let mut settings = Settings::new();
    for (key, text) in set {
        let form = kind.setting(&key).map_or(Form::Text, |s| s.form);
        let text = match form {
            Form::File => {
                warnings.extend(readable_by_others(Path::new(&text)));
                let path = Path::new(&text);
                let content = input::read_text(path).map_err(CliError::io("read", path))?;
                content.to_string()
            }
            _ => text,
        };
        settings.insert(canonical(kind, &key), Value::new(form, text));
    }
    if let Some((config, configured)) = configured {
        let mut written = Settings::new();
        for (key, secret) in &configured.settings {
            let form = kind.setting(key).map_or(Form::Text, |s| s.form);
            if let (Secret::File(path), Form::File | Form::Secret) = (secret, form) {
                warnings.extend(readable_by_others(path));
            }
            let path = match (secret, form, config.source.as_ref()) {
                // Only the plugin knows that it is the path of a file, and it has been asked since.
                (Secret::Literal(path), Form::File, Some(source)) => {
                    let path = source.resolve(path.expose_secret());
                    warnings.extend(readable_by_others(&path));
                    Some(Secret::File(path))
                }
                _ => None,
            };
            let secret = path.as_ref().unwrap_or(secret);
            let text = secret.resolve().map_err(|source| {
                let what = format!("`{key}` of provider `{name}`");
                let place = key
                    .split('.')
                    .fold(Place::value(["providers", name]), |place, word| {
                        place.at(word)
                    });
                let message = format!("cannot read the secret for {what}: {source}");
                let hint = source.hint().map(str::to_owned);
                config
                    .error_at(&place, message, hint)
                    .map_or_else(|| CliError::Secret { what, source }, CliError::Config)
            })?;
            written.insert(
                canonical(kind, key),
                Value::new(form, text.expose_secret().to_owned()),
            );
        }
        settings.fill_from(written);
    }
    warnings.extend(
        files_from_env(kind)
            .iter()
            .filter_map(|path| readable_by_others(Path::new(path))),
    );
    let read = |path: &str| input::read_text(Path::new(path)).map(|text| text.to_string());
    let environment =
        Settings::from_env(kind, &env_vars::get, &read).map_err(|source| CliError::Settings {
            name: name.to_owned(),
            source,
        })?;
    settings.fill_from(environment);
    Ok(settings)
}

/// The files with secrets that the environment names.
fn files_from_env(kind: &Kind) -> Vec<String> {
    let of_setting = |setting: &Setting| {
        setting.env.iter().find_map(|name| match setting.form {
            Form::File => env_vars::get(name),
            Form::Secret => env_vars::get(&format!("{name}_FILE")),
            _ => None,
        })
    };
    kind.settings.iter().filter_map(of_setting).collect()
}

/// A warning about a file with a secret that everybody on this machine may read.
#[cfg(unix)]
fn readable_by_others(path: &Path) -> Option<(String, String)> {
    use std::os::unix::fs::MetadataExt;

    // Container engines mount secrets there for everybody in the container.
    if path.starts_with("/run/secrets") {
        return None;
    }
    let metadata = std::fs::metadata(path).ok()?;
    let mode = metadata.mode() & 0o7777;
    let message = format!(
        "{} holds a secret, and everybody on this machine may read it: its mode is {mode:04o}",
        path.display()
    );
    (metadata.is_file() && mode & 0o004 != 0)
        .then(|| (message, format!("`chmod o-rwx {}`", path.display())))
}

#[cfg(not(unix))]
fn readable_by_others(_: &Path) -> Option<(String, String)> {
    None
}

/// One key for a setting that has several, so that each source can override the other's.
pub(super) fn canonical(kind: &Kind, key: &str) -> String {
    kind.setting(key)
        .map_or(key, |setting| match setting.is_map() {
            true => key,
            false => setting.key,
        })
        .to_owned()
}

/// The secrets whose files were noted when the certificate was issued. One that is gone is for the environment to replace.
pub(super) fn read_secret_files(
    args: &ProviderArgs,
    set: &mut Vec<(String, String)>,
    warnings: &mut Vec<(String, String)>,
) {
    for (key, path) in &args.secret_files {
        match input::read_text(path) {
            Ok(text) => {
                warnings.extend(readable_by_others(path));
                set.push((key.clone(), text.trim_end().to_owned()));
            }
            Err(error) => warnings.push((
                format!(
                    "{} held `{key}` when the certificate was issued, and cannot be read: {error}",
                    path.display()
                ),
                "put it back, or issue once more with another".to_owned(),
            )),
        }
    }
}

pub(in crate::settings) fn set_values(
    args: &ProviderArgs,
) -> Result<Vec<(String, String)>, CliError> {
    let from_environment = env_vars::get(env_vars::SET).unwrap_or_default();
    let words: Vec<&str> = match args.set.is_empty() {
        true => from_environment
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect(),
        false => args.set.iter().map(String::as_str).collect(),
    };
    words
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            // The word may be a secret whose key was forgotten.
            _ => Err(CliError::usage(
                "a value of `--set` is not of the form KEY=VALUE",
                "write for example `--set server=ns1.example.com`",
            )),
        })
        .collect()
}
