//! The job files of `examples/ci`, run step by step as their runners would, against real servers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dnseal_core::acme::AccountKey;
use dnseal_tests::{Shop, dnseal};
use secrecy::ExposeSecret;
use serde_yaml::Value;
use tempfile::TempDir;

use crate::written;

const STORE_KEY: &str = "correct horse battery staple";

/// A runner with a disk of its own for each job, and a cache between them.
struct Runner {
    shop: Shop,
    account_key: String,
    cache: TempDir,
}

/// What a job had and left.
struct Job {
    /// Where it was checked out.
    workspace: PathBuf,
    temp: PathBuf,
    /// What its steps printed.
    said: String,
    _disk: TempDir,
}

type Env = BTreeMap<String, String>;

impl Runner {
    fn new() -> Option<Self> {
        let shop = Shop::open()?;
        let key = AccountKey::generate().unwrap().to_pem();
        Some(Self {
            shop,
            account_key: key.expose_secret().to_owned(),
            cache: TempDir::with_prefix("dnseal-cache-").unwrap(),
        })
    }

    /// What somebody has set in the settings of the project.
    fn secrets(&self) -> Env {
        let shop = &self.shop;
        let server = shop.nameserver().to_string();
        [
            ("DNSEAL_ACCOUNT_KEY", self.account_key.as_str()),
            ("DNSEAL_STORE_KEY", STORE_KEY),
            ("RFC2136_NAMESERVER", &server),
            ("RFC2136_TSIG_KEY", &shop.key.name),
            ("RFC2136_TSIG_SECRET", &shop.key.secret_base64),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
    }

    /// What every process on the runner has: its own variables, and where the servers of this test are.
    fn machine(&self, job: &Job) -> Env {
        let path = std::env::var("PATH").unwrap();
        let bin = dnseal().parent().unwrap().display().to_string();
        let shop = &self.shop;
        [
            ("PATH", format!("{bin}:{path}")),
            ("HOME", job.temp.display().to_string()),
            ("CI", "true".to_owned()),
            ("CERTIFICATE", "example.test".to_owned()),
            ("DNSEAL_CA", shop.pebble.directory_url()),
            (
                "DNSEAL_CA_ROOT",
                shop.pebble.ca_pem_path().display().to_string(),
            ),
            ("DNSEAL_NAMESERVER", shop.nameserver().to_string()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    fn job(&self) -> Job {
        let disk = TempDir::with_prefix("dnseal-job-").unwrap();
        let job = Job {
            workspace: disk.path().join("work"),
            temp: disk.path().join("temp"),
            said: String::new(),
            _disk: disk,
        };
        fs::create_dir(&job.workspace).unwrap();
        fs::create_dir(&job.temp).unwrap();
        job
    }

    /// The cache is packed and unpacked with the rights of the files, as both runners do.
    fn fetch(&self, job: &Job) {
        copy(self.cache.path(), &job.workspace);
    }

    fn keep(&self, job: &Job, paths: &str) {
        assert_eq!(paths.trim(), ".dnseal/store");
        fs::remove_dir_all(self.cache.path()).unwrap();
        fs::create_dir(self.cache.path()).unwrap();
        let from = job.workspace.join(".dnseal");
        copy(&from, &self.cache.path().join(".dnseal"));
    }

    /// What others may read of it is of no use to them.
    fn cache_tells_nothing(&self) {
        assert!(self.cache.path().join(".dnseal/store/seal.json").exists());
        assert!(!written(self.cache.path(), "PRIVATE KEY"));
        let begin = self.account_key.lines().nth(1).unwrap();
        assert!(!written(self.cache.path(), begin));
        assert!(!written(self.cache.path(), &self.shop.key.secret_base64));
    }

    fn orders(&self) -> usize {
        self.shop.pebble.count("POST", "/order-plz")
    }
}

impl Job {
    fn step(&mut self, shell: &[&str], line: &str, env: &Env) {
        let output = Command::new(shell[0])
            .args(&shell[1..])
            .arg(line)
            .current_dir(&self.workspace)
            .env_clear()
            .envs(env)
            .output()
            .unwrap();
        let said = format!(
            "$ {line}\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.status.success(), "{said}");
        self.said.push_str(&said);
    }
}

fn copy(from: &Path, to: &Path) {
    if from.exists() {
        let copied = Command::new("cp")
            .arg("-a")
            .arg(format!("{}/.", from.display()))
            .arg(to)
            .output();
        let copied = copied.unwrap();
        assert!(copied.status.success(), "{copied:?}");
    }
}

fn example(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/ci")
        .join(name);
    serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn strings(value: &Value) -> Env {
    let Some(map) = value.as_mapping() else {
        return Env::new();
    };
    map.iter()
        .map(|(name, value)| {
            (
                name.as_str().unwrap().to_owned(),
                value.as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

/// `${{ … }}`, as far as the example uses it.
fn expanded(text: &str, contexts: &Env) -> String {
    let mut text = text.to_owned();
    while let Some(begin) = text.find("${{") {
        let end = begin + text[begin..].find("}}").unwrap();
        let name = text[begin + 3..end].trim().to_owned();
        let value = contexts.get(&name).unwrap_or_else(|| panic!("no {name}"));
        text.replace_range(begin..end + 2, value);
    }
    text
}

fn github(runner: &Runner) -> Job {
    let workflow = example("github.yml");
    let mut job = runner.job();
    let mut contexts: Env = [
        (
            "github.workspace".to_owned(),
            job.workspace.display().to_string(),
        ),
        ("github.run_id".to_owned(), "1".to_owned()),
    ]
    .into();
    for (name, value) in runner.secrets() {
        contexts.insert(format!("secrets.{name}"), value.clone());
        contexts.insert(format!("vars.{name}"), value);
    }
    let spec = &workflow["jobs"]["renew"];
    let github_env = job.temp.join("github_env");
    fs::write(&github_env, "").unwrap();
    let mut base: Env = strings(&spec["env"]);
    base.extend(runner.machine(&job));
    base.insert("RUNNER_TEMP".to_owned(), job.temp.display().to_string());
    base.insert("GITHUB_ENV".to_owned(), github_env.display().to_string());
    for step in spec["steps"].as_sequence().unwrap() {
        match step["uses"].as_str() {
            Some(uses) if uses.starts_with("actions/cache/restore@") => {
                runner.fetch(&job);
                continue;
            }
            Some(uses) if uses.starts_with("actions/cache/save@") => {
                runner.keep(&job, step["with"]["path"].as_str().unwrap());
                continue;
            }
            Some(other) => panic!("{other}"),
            None => {}
        }
        let mut env = base.clone();
        for line in fs::read_to_string(&github_env).unwrap().lines() {
            let (name, value) = line.split_once('=').unwrap();
            env.insert(name.to_owned(), value.to_owned());
        }
        env.extend(strings(&step["env"]));
        let env = env
            .iter()
            .map(|(name, value)| (name.clone(), expanded(value, &contexts)));
        let env: Env = env.collect();
        job.step(&["bash", "-e", "-c"], step["run"].as_str().unwrap(), &env);
    }
    job
}

fn gitlab(runner: &Runner) -> Job {
    let pipeline = example("gitlab-ci.yml");
    let mut job = runner.job();
    let spec = &pipeline["certificates"];
    assert_eq!(spec["cache"]["when"], "always");
    runner.fetch(&job);
    let mut env: Env = strings(&spec["variables"]);
    let project = job.workspace.display().to_string();
    for value in env.values_mut() {
        *value = value.replace("$CI_PROJECT_DIR", &project);
    }
    for (name, value) in runner.secrets() {
        match name.as_str() {
            // Of type "File": the variable holds a path.
            "DNSEAL_ACCOUNT_KEY" | "DNSEAL_STORE_KEY" => {
                let path = job.temp.join(&name);
                fs::write(&path, value).unwrap();
                env.insert(format!("{name}_FILE"), path.display().to_string());
            }
            _ => drop(env.insert(name, value)),
        }
    }
    env.extend(runner.machine(&job));
    env.insert("CI_PROJECT_DIR".to_owned(), project);
    let lines = |key: &str| -> String {
        let lines = spec[key].as_sequence().unwrap().iter();
        let lines: Vec<&str> = lines.map(|line| line.as_str().unwrap()).collect();
        lines.join("\n")
    };
    // One shell for both, and another one for what comes after; a runner's umask lets everybody write.
    let script = format!(
        "umask 0000\n{}\n{}",
        lines("before_script"),
        lines("script")
    );
    job.step(&["sh", "-e", "-c"], &script, &env);
    let live = PathBuf::from(&env["DNSEAL_LIVE"]);
    assert!(live.join("example.test/privkey.pem").exists());
    job.step(&["sh", "-c"], &lines("after_script"), &env);
    assert!(!live.exists());
    let paths = spec["cache"]["paths"][0].as_str().unwrap();
    runner.keep(&job, paths);
    job
}

#[test]
fn the_workflow_for_github_issues_and_then_keeps() {
    let Some(runner) = Runner::new() else { return };
    let first = github(&runner);
    assert!(
        first.said.contains("issued example.test (version 1)"),
        "{}",
        first.said
    );
    assert!(first.temp.join("tls/example.test/privkey.pem").exists());
    assert!(!written(&first.workspace, "PRIVATE KEY"));
    runner.cache_tells_nothing();
    assert_eq!(runner.orders(), 1);

    let second = github(&runner);
    assert!(second.said.contains("kept example.test"), "{}", second.said);
    assert!(second.temp.join("tls/example.test/privkey.pem").exists());
    assert_eq!(runner.orders(), 1);
    runner.cache_tells_nothing();
}

#[test]
fn the_pipeline_for_gitlab_issues_and_then_keeps() {
    let Some(runner) = Runner::new() else { return };
    let first = gitlab(&runner);
    assert!(
        first.said.contains("issued example.test (version 1)"),
        "{}",
        first.said
    );
    runner.cache_tells_nothing();
    let second = gitlab(&runner);
    assert!(second.said.contains("kept example.test"), "{}", second.said);
    assert_eq!(runner.orders(), 1);
}
