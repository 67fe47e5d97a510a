//! What of a secret is one by itself: lines of a key, the passwords in a file of settings, members of a JSON document.
//!
//! A file of credentials has more in it than secrets: names, addresses and URLs, without which no message could be read. So what a
//! key says to be one of those stays, and so does a word of everyday where nothing says that it is secret.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::net::SocketAddr;

use dnseal_core::dns::DomainName;
use serde_json::Value;

use super::SHORTEST;

/// The secret itself, and its parts.
pub(super) fn of(secret: &str) -> BTreeSet<String> {
    let mut parts = BTreeSet::new();
    gather(secret.trim(), &mut parts);
    parts
}

fn gather(secret: &str, parts: &mut BTreeSet<String>) {
    parts.insert(secret.to_owned());
    match serde_json::from_str(secret) {
        Ok(document @ (Value::Array(_) | Value::Object(_))) => members(&document, false, parts),
        _ => lines(secret, parts),
    }
}

/// The members that have the name of a secret, and what is below such a one.
fn members(value: &Value, is_secret: bool, parts: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let is_secret = (is_secret || names_secret(key)) && !names_no_secret(key);
                members(value, is_secret, parts);
            }
        }
        Value::Array(items) => {
            for item in items {
                members(item, is_secret, parts);
            }
        }
        Value::String(text) if is_secret && text.trim().len() >= VALUE => {
            gather(text.trim(), parts);
        }
        Value::Number(number) if is_secret => {
            let text = number.to_string();
            if text.len() >= VALUE {
                parts.insert(text);
            }
        }
        _ => {}
    }
}

fn lines(secret: &str, parts: &mut BTreeSet<String>) {
    let mut is_key = false;
    for line in secret.lines().map(str::trim) {
        if let Some(armor) = line.strip_prefix("-----") {
            is_key = armor.starts_with("BEGIN");
        } else if is_key {
            // All but the headers of RFC 1421, the short last line as well.
            if !line.is_empty() && !line.contains(':') {
                parts.insert(line.to_owned());
            }
        } else {
            one_line(line, parts);
        }
    }
}

/// A line such as `password = hunter2`, `token: "abc"`, `password hunter2`, or a secret and nothing else.
fn one_line(line: &str, parts: &mut BTreeSet<String>) {
    let line = line.strip_prefix("- ").unwrap_or(line).trim();
    let is_section = line.starts_with('[') && line.ends_with(']');
    if is_section || url(line, parts) {
        return;
    }
    in_pairs(line, parts);
    if let Some((key, value)) = line.split_once(['=', ':']) {
        // What stands after a value for people.
        let bare = [" #", " ;"]
            .iter()
            .filter_map(|mark| value.split_once(mark));
        let values = bare.map(|(value, _)| value).chain([value]).map(unquoted);
        let secret: Vec<&str> = values
            .filter(|value| !value.is_empty() && !is_harmless(key, value, parts))
            .collect();
        if secret.is_empty() {
            return;
        }
        let least = match announces_secret(key) {
            true => SHORTEST,
            false => VALUE,
        };
        let long = secret.iter().filter(|value| value.len() >= least);
        parts.extend(long.map(|value| (*value).to_owned()));
    } else if let Some((key, value)) = line.split_once(char::is_whitespace)
        && names_no_secret(key)
        && !value.trim().contains(char::is_whitespace)
    {
        return;
    }
    let is_one_word = !line.contains(char::is_whitespace);
    if line.len() >= LINE || (is_one_word && line.len() >= VALUE) {
        parts.insert(line.to_owned());
    }
}

/// netrc, key files of name servers, and what else has no sign between a word for secrets and one.
fn in_pairs(line: &str, parts: &mut BTreeSet<String>) {
    // There people write what they like.
    if line.starts_with(['#', ';']) || line.starts_with("//") {
        return;
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    for pair in words.windows(2) {
        if let [key, value] = pair {
            let value = unquoted(value);
            // Before a sign it is a key, which is read as one.
            let is_key = key.ends_with([':', '=']) || names_no_secret(key);
            if !is_key && announces_secret(key) && value.len() >= VALUE {
                parts.insert(value.to_owned());
            }
        }
    }
}

/// Whether it is a URL, of which only the password and what has a query are secrets.
fn url(text: &str, parts: &mut BTreeSet<String>) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    if scheme.is_empty()
        || !scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'+')
    {
        return false;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some((user, _)) = authority.rsplit_once('@') {
        // A user without a password may be a token, and is more likely `git`.
        let (password, least) = match user.split_once(':') {
            Some((_, password)) => (password, SHORTEST),
            None => (user, VALUE),
        };
        if password.len() >= least {
            parts.extend([text.to_owned(), password.to_owned()]);
        }
    }
    if let Some((_, query)) = rest.split_once('?') {
        parts.insert(text.to_owned());
        let query = query.split('#').next().unwrap_or_default();
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            if value.len() >= VALUE && !is_harmless(key, value, parts) {
                parts.insert(value.to_owned());
            }
        }
    }
    true
}

/// The text of a value without its quotes, and without the comma behind it.
fn unquoted(text: &str) -> &str {
    let text = text.trim().trim_end_matches([',', ';']).trim();
    let within = ['"', '\''].iter().find_map(|quote| {
        let inner = text.strip_prefix(*quote)?;
        inner.strip_suffix(*quote)
    });
    within.unwrap_or(text)
}

fn is_harmless(key: &str, value: &str, parts: &mut BTreeSet<String>) -> bool {
    let is_url = url(value, parts);
    let is_everyday = value.len() <= WORD && value.bytes().all(|b| b.is_ascii_lowercase());
    let is_open = is_url || is_everyday || is_place(value);
    names_no_secret(key) || (is_open && !names_secret(key))
}

/// Whether it is a name or an address of a host, as in `ns = ns1.example.com`.
fn is_place(value: &str) -> bool {
    let is_address = || value.parse::<IpAddr>().is_ok() || value.parse::<SocketAddr>().is_ok();
    let host = value.strip_suffix('.').unwrap_or(value);
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    let is_name = || {
        let top = host.rsplit_once('.').map(|(_, top)| top);
        host.bytes().all(is_plain)
            && host.parse::<DomainName>().is_ok()
            && top.is_some_and(|top| top.bytes().all(|b| b.is_ascii_lowercase()))
    };
    is_address() || is_name()
}

fn names_secret(key: &str) -> bool {
    let lower = key.to_ascii_lowercase();
    SECRET.iter().any(|word| lower.contains(word))
        || words(key)
            .iter()
            .any(|word| word.ends_with("pass") || SECRET_WORDS.contains(&word.as_str()))
}

/// Whether what stands behind this word is secret, where no sign says so.
fn announces_secret(word: &str) -> bool {
    let is_one = |word: &String| {
        PAIRED_WORDS.contains(&word.as_str()) || PAIRED.iter().any(|part| word.contains(part))
    };
    words(word).iter().any(is_one)
}

/// Whether its last word is one for what everybody may know, such as that of `token_uri` and `clientEmail`.
fn names_no_secret(key: &str) -> bool {
    let words = words(key);
    let is_secret_id = || {
        words
            .iter()
            .any(|word| ["secret", "token"].contains(&word.as_str()))
    };
    match words.last().map(String::as_str) {
        Some("id") => !is_secret_id(),
        Some(word) => {
            let one = word.strip_suffix('s').unwrap_or(word);
            OPEN.contains(&word) || OPEN.contains(&one)
        }
        None => false,
    }
}

/// `clientEmail`, `client_email` and `client-email` are two words.
fn words(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in key.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && was_lower) {
            words.push(String::new());
        }
        was_lower = c.is_lowercase();
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Shorter ones are words of everyday.
const VALUE: usize = 6;
/// The same for what may be several words.
const LINE: usize = 8;
/// `production` is as long.
const WORD: usize = 10;
const SECRET: [&str; 13] = [
    "auth", "bearer", "cookie", "cred", "hmac", "key", "passp", "passw", "private", "pwd", "salt",
    "secret", "token",
];
/// Too short to be looked for within others.
const SECRET_WORDS: [&str; 5] = ["basic", "jwt", "pin", "psk", "pw"];
/// Before a blank; `key` is followed by the name of one.
const PAIRED: [&str; 5] = ["passphrase", "passwd", "password", "secret", "token"];
const PAIRED_WORDS: [&str; 4] = ["basic", "bearer", "pass", "pwd"];
const OPEN: [&str; 31] = [
    "account",
    "address",
    "dir",
    "directory",
    "domain",
    "email",
    "endpoint",
    "file",
    "host",
    "hostname",
    "login",
    "machine",
    "mail",
    "name",
    "nameserver",
    "owner",
    "path",
    "port",
    "project",
    "provider",
    "region",
    "resolver",
    "server",
    "tenant",
    "type",
    "uri",
    "url",
    "user",
    "username",
    "version",
    "zone",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(secret: &str) -> Vec<String> {
        let whole = secret.trim();
        of(secret)
            .into_iter()
            .filter(|part| part != whole)
            .collect()
    }

    #[test]
    fn settings_give_their_secrets_and_keep_their_names() {
        let file = "[default]\nlogin = me\nurl = https://api.example.com/v1\nmode = production\n\
                    password = hunter2-secret-9\n  export TOKEN='s3cr3t' # of June\n\
                    proxy = http://me:pr0xy-pw@proxy.example.com:3128\n";
        assert_eq!(
            parts(file),
            [
                "'s3cr3t' # of June",
                "export TOKEN='s3cr3t' # of June",
                "http://me:pr0xy-pw@proxy.example.com:3128",
                "hunter2-secret-9",
                "password = hunter2-secret-9",
                "pr0xy-pw",
                "s3cr3t",
            ]
        );
    }

    #[test]
    fn what_has_no_sign_is_read_too() {
        assert_eq!(
            parts("machine dns.example.com login me password hunter2-secret"),
            ["hunter2-secret"]
        );
        assert_eq!(parts("me\nhunter2-secret\n"), ["hunter2-secret"]);
        assert_eq!(
            parts("key \"acme\" {\n  secret \"QUJDREVGRw==\";\n};\n# token belongs to them\n"),
            [
                "# token belongs to them",
                "QUJDREVGRw==",
                "key \"acme\" {",
                "secret \"QUJDREVGRw==\";",
            ]
        );
        assert!(parts("Authorization: Bearer abc.def\n\n").contains(&"abc.def".to_owned()));
        assert_eq!(parts("abc:hunter2-secret"), ["hunter2-secret"]);
        assert_eq!(parts("QUJDREVGRw=="), [""; 0]);
    }

    #[test]
    fn places_stay() {
        for line in [
            "nameserver = ns1.example.com",
            "domains = example.com",
            "resolver: 192.0.2.1",
            "ns = [2001:db8::1]:53",
            "token_uri: https://oauth2.example.com/token",
            "password_file: /etc/dns/password",
            "passive: example.com",
            "passive example.com",
        ] {
            let parts = parts(&format!(
                "{line}
x\n"
            ));
            assert!(parts.iter().all(|part| part == line), "{parts:?}");
        }
        assert_eq!(parts("repo = ssh://git@host.test/x\nx"), [""; 0]);
    }

    #[test]
    fn what_is_called_secret_may_be_short_or_in_a_query() {
        for (text, secret) in [
            ("password = abc12\nx", "abc12"),
            (r#"{ "bearer": "abc.def", "x": 1 }"#, "abc.def"),
            (r#"{ "psk": "abcdefg" }"#, "abcdefg"),
            (
                "url = https://h.test/?key=S3CR3T9&zone=example.test\nx",
                "S3CR3T9",
            ),
            ("http://me:pw12@h.test/\nx", "pw12"),
        ] {
            let parts = parts(text);
            assert!(parts.iter().any(|part| part == secret), "{parts:?}");
            assert!(parts.iter().all(|part| part != "example.test"), "{parts:?}");
        }
    }

    #[test]
    fn every_line_of_a_key_is_one() {
        let key = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIB\nQ==\n\
                   -----END RSA PRIVATE KEY-----\n";
        assert_eq!(parts(key), ["MIIB", "Q=="]);
    }

    #[test]
    fn a_document_gives_the_members_that_are_called_secret() {
        let document = r#"{
            "type": "service_account",
            "project_id": "example-project",
            "private_key_id": "0123456789abcdef",
            "private_key": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\nAbCd\n-----END PRIVATE KEY-----\n",
            "client_email": "dns@example-project.iam.gserviceaccount.com",
            "token_uri": "https://oauth2.googleapis.com/token",
            "nested": { "secret_id": "5ec4e7-1d", "apiKey": ["k-123456"] }
        }"#;
        let parts = parts(document);
        let whole = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\nAbCd\n-----END PRIVATE KEY-----";
        assert_eq!(
            parts,
            [whole, "5ec4e7-1d", "AbCd", "MIIEvQIBADANBg", "k-123456"]
        );
    }
}
