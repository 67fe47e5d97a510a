//! What is said once certificates are there: where, until when, what next.

use std::fmt::Write;
use std::path::Path;

use dnseal_core::issue::Issued;
use dnseal_providers::Form;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;

use crate::config::REDACTED;
use crate::render::Printer;
use crate::render::Stats;
use crate::render::Table;
use crate::render::day;
use crate::render::in_days;

/// The document about one certificate.
pub(super) fn json(issued: &Issued, stats: &Stats) -> Value {
    json!({
        "name": issued.id,
        "names": issued.version.names,
        "issued_now": issued.issued_now,
        "version": issued.version.number,
        "key_type": issued.version.key_type,
        "profile": issued.version.profile,
        "directory": issued.version.directory,
        "issuer": issued.version.issuer,
        "serial": issued.version.serial,
        "not_before": issued.version.not_before,
        "not_after": issued.version.not_after,
        "renew_at": issued.renew_at,
        "renewal_scheduled": false,
        "files": issued.files,
        "stats": stats.json_of(&issued.id),
    })
}

/// The same for people.
pub(super) fn text(issued: &[Issued], stats: &Stats, printer: Printer) -> String {
    let now = Timestamp::now();
    let mut text = String::new();
    for certificate in issued {
        text.push_str(&one(certificate, now));
        text.push('\n');
    }
    // Who keeps what was there has read the rest when it was issued.
    if let Some(first) = issued.iter().find(|certificate| certificate.issued_now) {
        text.push_str(&next_steps(first, issued.len()));
    }
    if printer.verbose > 0 {
        let _ = writeln!(text, "\n{}", stats.summary());
    }
    text
}

/// What to put into the web server, and how to renew.
fn next_steps(first: &Issued, count: usize) -> String {
    let (all, them) = match count {
        1 => ("", "it"),
        _ => (", for each of them as for the first", "them"),
    };
    let full = first.files.fullchain.display();
    let key = first.files.privkey.display();
    let mut servers = Table::untitled();
    servers.row(["nginx".to_owned(), format!("ssl_certificate {full};")]);
    servers.row([String::new(), format!("ssl_certificate_key {key};")]);
    servers.row(["Apache".to_owned(), format!("SSLCertificateFile {full}")]);
    servers.row([String::new(), format!("SSLCertificateKeyFile {key}")]);
    servers.row(["HAProxy".to_owned(), "in a crt-store section:".to_owned()]);
    servers.row([String::new(), format!("load crt {full} key {key}")]);
    format!(
        "In the web server{all}:\n{}\nNothing renews {them} by itself yet: let a timer or cron run the same command every day; it keeps what is fresh.\n  {}\n",
        servers.render("  "),
        cron_line(std::env::args().skip(1)),
    )
}

/// One certificate: names, validity, files.
pub(super) fn one(issued: &Issued, now: Timestamp) -> String {
    let version = &issued.version;
    let names: Vec<String> = version.names.iter().map(ToString::to_string).collect();
    let mut text = match issued.issued_now {
        true => format!("issued {} (version {})\n", issued.id, version.number),
        false => format!(
            "kept {} (version {}), which is fresh\n",
            issued.id, version.number
        ),
    };
    let mut table = Table::untitled();
    table.row(["names", &names.join(" ")]);
    let until = version.not_after;
    table.row([
        "valid until".to_owned(),
        format!("{} ({})", day(until), in_days(now, until)),
    ]);
    table.row(["renew from".to_owned(), day(issued.renew_at)]);
    table.row([
        "private key".to_owned(),
        issued.files.privkey.display().to_string(),
    ]);
    table.row([
        "certificate".to_owned(),
        issued.files.cert.display().to_string(),
    ]);
    table.row(["chain".to_owned(), issued.files.chain.display().to_string()]);
    table.row([
        "both".to_owned(),
        issued.files.fullchain.display().to_string(),
    ]);
    text.push_str(&table.render("  "));
    text
}

/// This command as a line for cron, without secrets, and without what should not happen every day.
fn cron_line(arguments: impl Iterator<Item = String>) -> String {
    let program = std::env::current_exe()
        .ok()
        .map_or_else(|| "dnseal".to_owned(), |path| path.display().to_string());
    let mut words = vec![quoted(&program)];
    let mut before = String::new();
    let mut is_relative = false;
    for word in arguments {
        if ONCE.contains(&word.as_str()) {
            continue;
        }
        let value = word
            .split_once('=')
            .map_or(word.as_str(), |(_, value)| value);
        is_relative |= !value.starts_with('/') && Path::new(value).exists();
        words.push(quoted(&without_secret(&before, &word)));
        before = word;
    }
    let here = match std::env::current_dir() {
        Ok(dir) if is_relative => format!("cd {} && ", quoted(&dir.display().to_string())),
        _ => String::new(),
    };
    format!("17 3 * * *  {here}{}", words.join(" "))
}

fn without_secret(before: &str, word: &str) -> String {
    if before == "--eab-hmac-key" {
        return REDACTED.to_owned();
    }
    if word.starts_with("--eab-hmac-key=") {
        return format!("--eab-hmac-key={REDACTED}");
    }
    let (flag, setting) = match word.strip_prefix("--set=") {
        Some(setting) => ("--set=", setting),
        None if before == "--set" => ("", word),
        None => return word.to_owned(),
    };
    let is_secret = |key: &str| {
        dnseal_providers::kinds()
            .iter()
            .filter_map(|kind| kind.setting(key))
            .any(|setting| setting.form == Form::Secret)
    };
    match setting.split_once('=') {
        Some((key, _)) if is_secret(key) => format!("{flag}{key}={REDACTED}"),
        _ => word.to_owned(),
    }
}

/// A word as a shell reads it back; `%` is cron's own.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+[]".contains(c);
    let word = word.replace('%', "\\%");
    match !word.is_empty() && word.chars().all(plain) {
        true => word,
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// Flags for one run only.
const ONCE: &[&str] = &["--force", "--replace-names"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_for_cron_has_no_secret() {
        let words = [
            "issue",
            "*.a.test",
            "--eab-hmac-key",
            "-canary",
            "--set",
            "tsig.secret=canary",
            "--force",
            "--eab-hmac-key=canary",
            "--set=tsig.secret=canary",
        ];
        let line = cron_line(words.iter().map(|w| (*w).to_owned()));
        assert!(!line.contains("canary"), "{line}");
        assert!(line.contains("issue '*.a.test'"), "{line}");
        assert!(!line.contains("--force"), "{line}");
    }
}
