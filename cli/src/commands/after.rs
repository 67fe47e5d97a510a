//! What is said once certificates are there: where, until when, what next.

use std::fmt::Write;

use dnseal_core::issue::Issued;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;

use crate::commands::again::Again;
use crate::commands::list::some;
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
        "top_issuer": issued.version.top_issuer,
        "key": issued.version.spec.key,
        "left_out": issued.version.left_out,
        "serial": issued.version.serial,
        "not_before": issued.version.not_before,
        "not_after": issued.version.not_after,
        "renew_at": in_seconds(issued.renew_at),
        "files": files(issued),
        "stats": stats.json_of(&issued.id),
    })
}

/// The same for people.
pub(super) fn text(
    issued: &[Issued],
    stats: &Stats,
    printer: Printer,
    again: Option<&Again>,
) -> String {
    let now = Timestamp::now();
    let mut text = String::new();
    for certificate in issued {
        text.push_str(&one(certificate, now));
        text.push('\n');
    }
    // Who keeps what was there has read the rest when it was issued.
    if let Some(again) = again
        && !printer.quiet
        && let Some(first) = issued.iter().find(|certificate| certificate.issued_now)
    {
        text.push_str(&next_steps(first, issued.len(), again));
    }
    if printer.verbose > 0 {
        let _ = writeln!(text, "\n{}", stats.summary());
    }
    text
}

/// What to put into the web server, and how to renew.
fn next_steps(first: &Issued, count: usize, again: &Again) -> String {
    let (all, them) = match count {
        1 => ("", "it"),
        _ => (", for each of them as for the first", "them"),
    };
    let full = first.files.fullchain.display();
    let key = match first.version.has_key() && first.files.has_keys {
        true => first.files.privkey.display().to_string(),
        false => "YOUR-KEY".to_owned(),
    };
    let mut servers = Table::untitled();
    servers.row(["nginx".to_owned(), format!("ssl_certificate {full};")]);
    servers.row([String::new(), format!("ssl_certificate_key {key};")]);
    servers.row(["Apache".to_owned(), format!("SSLCertificateFile {full}")]);
    servers.row([String::new(), format!("SSLCertificateKeyFile {key}")]);
    servers.row(["HAProxy".to_owned(), "in a crt-store section:".to_owned()]);
    servers.row([String::new(), format!("load crt {full} key {key}")]);
    format!(
        "In the web server{all}:\n{}\n`dnseal renew` renews {them}, as asked for now: let a timer or cron run it every few hours; it says nothing while nothing is due.{}\n{}",
        servers.render("  "),
        match again.by_person {
            true =>
                " It ends with 10 then and prints the records that a person has to set; the run after that goes on.",
            false => "",
        },
        again.text(),
    )
}

/// One certificate: names, validity, files.
pub(super) fn one(issued: &Issued, now: Timestamp) -> String {
    let version = &issued.version;
    let mut text = match issued.issued_now {
        true => format!("issued {} (version {})\n", issued.id, version.number),
        false => format!(
            "kept {} (version {}), which is fresh\n",
            issued.id, version.number
        ),
    };
    let mut table = Table::untitled();
    table.row(["names", &some(&version.names)]);
    for left in &version.left_out {
        let what = format!("{}: {}", left.name, left.reason);
        table.row(["left out".to_owned(), what]);
    }
    // Of several CAs, nobody knows which one it was.
    if version.spec.directories.len() > 1 {
        table.row([
            "issued by",
            &format!("{} ({})", version.issuer, version.directory),
        ]);
    }
    let until = version.not_after;
    table.row([
        "valid until".to_owned(),
        format!("{} ({})", day(until), in_days(now, until)),
    ]);
    table.row(["renew from".to_owned(), day(issued.renew_at)]);
    let key = match (version.has_key(), issued.files.has_keys) {
        (true, true) => issued.files.privkey.display().to_string(),
        (true, false) => {
            "in the encrypted store; `--live DIR` and deploy targets get it".to_owned()
        }
        (false, _) => "where the signing request was made".to_owned(),
    };
    table.row(["private key".to_owned(), key]);
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

/// Where its files are; the key of a signing request is none of them.
fn files(issued: &Issued) -> Value {
    let mut files = json!(issued.files);
    if !(issued.version.has_key() && issued.files.has_keys)
        && let Some(files) = files.as_object_mut()
    {
        files.insert("privkey".to_owned(), Value::Null);
    }
    files
}

/// Nobody renews by fractions of a second.
pub(super) fn in_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
