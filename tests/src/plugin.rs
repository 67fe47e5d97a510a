//! Plugins as a machine has them installed: the examples of this repository, and one that does whatever is wrong.

use std::{
    fmt::Display,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use dnseal_core::dns::DnsProvider;
use dnseal_providers::{
    Context, Form, Kind, Settings, Value,
    plugin::{PluginError, Plugins, describe},
};
use tempfile::TempDir;

/// A directory with plugins.
#[derive(Debug)]
pub struct PluginDir {
    dir: TempDir,
}

impl PluginDir {
    /// The plugins of `examples/plugins`.
    ///
    /// # Panics
    ///
    /// When they cannot be copied.
    pub fn examples() -> Self {
        let plugins = Self::empty();
        let examples = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/plugins"));
        for entry in fs::read_dir(examples).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if name.starts_with("dnseal-provider-") {
                plugins.put(&name, &fs::read_to_string(path).unwrap());
            }
        }
        plugins
    }

    /// No plugins yet.
    ///
    /// # Panics
    ///
    /// When there is no place for a directory.
    pub fn empty() -> Self {
        Self {
            dir: TempDir::with_prefix("dnseal-plugins-").unwrap(),
        }
    }

    /// Puts an executable file there.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn put(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What the plugin `name` says it is.
    ///
    /// # Errors
    ///
    /// When the plugin cannot be used.
    ///
    /// # Panics
    ///
    /// When there is no such plugin.
    pub fn kind(&self, name: &str) -> Result<&'static Kind, PluginError> {
        let plugins = Plugins::in_dirs([self.path().to_owned()]);
        plugins
            .kind(name)
            .unwrap_or_else(|| panic!("there is no plugin `{name}`"))
    }
}

/// A plugin that misbehaves in one of many ways; what it holds is in a file.
#[derive(Debug)]
pub struct Misbehaving {
    dir: PluginDir,
    mode: &'static str,
}

impl Misbehaving {
    /// One that does what `mode` says; `tests/src/misbehaving.py` has the modes.
    pub fn new(mode: &'static str) -> Self {
        let dir = PluginDir::empty();
        dir.put("misbehaving.py", include_str!("misbehaving.py"));
        Self { dir, mode }
    }

    /// What it is started with.
    pub fn command(&self) -> Vec<String> {
        let script = self.dir.path().join("misbehaving.py");
        ["/usr/bin/env", "python3"]
            .map(str::to_owned)
            .into_iter()
            .chain([
                script.display().to_string(),
                self.mode.to_owned(),
                self.state().display().to_string(),
            ])
            .collect()
    }

    /// What it says it is.
    ///
    /// # Errors
    ///
    /// When it cannot be used.
    pub fn kind(&self) -> Result<&'static Kind, PluginError> {
        describe("plugin", self.command())
    }

    /// The provider.
    ///
    /// # Panics
    ///
    /// When it cannot even say what it is.
    pub fn provider(&self, settings: &[(&str, &str)]) -> Arc<dyn DnsProvider> {
        self.provider_in(settings, &Context::default())
    }

    /// The same, telling its log.
    ///
    /// # Panics
    ///
    /// When it cannot even say what it is.
    pub fn provider_in(
        &self,
        settings: &[(&str, &str)],
        context: &Context,
    ) -> Arc<dyn DnsProvider> {
        let command = serde_json::to_string(&self.command()).unwrap();
        let given = [("command", command.as_str()), ("token", "canary-token")];
        let settings: Vec<_> = given.iter().chain(settings).copied().collect();
        build_in(self.kind().unwrap(), &settings, context)
    }

    /// The lines `OWNER VALUE` that it holds, sorted.
    pub fn held(&self) -> Vec<String> {
        let text = fs::read_to_string(self.state()).unwrap_or_default();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// How many processes it has had so far, those that only said what they are included.
    pub fn starts(&self) -> usize {
        let path = self.state().with_extension("starts");
        fs::read_to_string(path).unwrap_or_default().lines().count()
    }

    /// The file with those lines.
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }
}

/// A provider of this kind.
///
/// # Panics
///
/// When the settings are refused.
pub fn build(kind: &'static Kind, settings: &[(&str, impl Display)]) -> Arc<dyn DnsProvider> {
    build_in(kind, settings, &Context::default())
}

/// The same with these surroundings.
///
/// # Panics
///
/// When the settings are refused.
pub fn build_in(
    kind: &'static Kind,
    settings: &[(&str, impl Display)],
    context: &Context,
) -> Arc<dyn DnsProvider> {
    let mut given = Settings::new();
    for (key, value) in settings {
        let form = kind.setting(key).map_or(Form::Text, |setting| setting.form);
        given.insert(*key, Value::new(form, value.to_string()));
    }
    kind.build("test", given, context).unwrap()
}
