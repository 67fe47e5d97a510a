//! Taking secrets out of what others say: servers and scripts repeat what they were sent, often in another spelling.
//!
//! A secret is found as it is, percent-encoded, with the escapes of JSON and HTML, in hexadecimal, and in base64 at any offset, so that
//! the `user:password` of HTTP's basic authentication goes as well. [`Redacted`] stands before every provider that the registry makes, so
//! that no error of one gets past it; what cuts texts or logs them itself asks [`Secrets`] before.

mod parts;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use dnseal_core::dns::Applied;
use dnseal_core::dns::Capabilities;
use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Marked;
use dnseal_core::dns::Outcome;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::Receipt;
use dnseal_core::dns::Settlement;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::TxtValue;
use dnseal_core::dns::Zone;
use secrecy::ExposeSecret;
use secrecy::SecretString;

/// What must not be shown.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<[Pattern]>);

struct Pattern {
    /// So much of it at the end of a text is the beginning of it, cut off.
    cut: usize,
    text: SecretString,
    /// Whether it is the inner part of something in base64, all of which goes.
    is_core: bool,
}

impl Secrets {
    pub(crate) fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        let secrets = secrets.into_iter();
        let mut plain: BTreeSet<String> = secrets
            .flat_map(|secret| parts::of(secret.expose_secret()))
            .collect();
        // A secret so short protects nothing, and taking it out would only garble the words.
        plain.retain(|secret| secret.len() >= SHORTEST);
        let mut patterns = Vec::new();
        for secret in &plain {
            let bytes = secret.as_bytes();
            let cores = (0..3).filter_map(|before| core(bytes, before));
            for core in cores.collect::<BTreeSet<String>>() {
                let other = core.replace('+', "-").replace('/', "_");
                if other != core {
                    patterns.push(Pattern::new(other, true));
                }
                patterns.push(Pattern::new(core, true));
            }
            if bytes.len() > SHORTEST {
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                patterns.push(Pattern::new(hex.to_ascii_uppercase(), false));
                patterns.push(Pattern::new(hex, false));
            }
        }
        patterns.extend(plain.into_iter().map(|secret| Pattern::new(secret, false)));
        Self(patterns.into())
    }

    /// The text without secrets in any of these spellings.
    pub(crate) fn scrub(&self, text: &str) -> String {
        let bytes = text.as_bytes();
        let mut found: Vec<(usize, usize)> = Vec::new();
        for pattern in &*self.0 {
            let mut from = 0;
            for (at, c) in text.char_indices() {
                if at < from || !pattern.may_begin_with(c) {
                    continue;
                }
                if let Some(end) = end_of(bytes, at, pattern) {
                    found.push(match pattern.is_core {
                        true => around(bytes, at, end),
                        false => (at, end),
                    });
                    from = end;
                }
            }
        }
        found.sort_unstable();
        let mut clean = String::with_capacity(text.len());
        let mut done = 0;
        for (start, end) in found {
            if end <= done {
                continue;
            }
            if start >= done {
                clean.push_str(text.get(done..start).unwrap_or_default());
                clean.push_str("[redacted]");
            }
            done = end;
        }
        clean.push_str(text.get(done..).unwrap_or_default());
        clean
    }

    fn scrub_all<'a>(&self, texts: impl IntoIterator<Item = &'a mut String>) {
        for text in texts {
            *text = self.scrub(text);
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

impl FromIterator<SecretString> for Secrets {
    fn from_iter<T: IntoIterator<Item = SecretString>>(secrets: T) -> Self {
        Self::new(secrets)
    }
}

impl Pattern {
    fn new(text: String, is_core: bool) -> Self {
        // The first line of several may be harmless; where it is not, it is a pattern by itself.
        let first_line = text.chars().position(|c| c == '\n');
        // And so may the first word of several, such as `secret` in a key file.
        let is_harmless = |c: &char| c.is_ascii_lowercase() || " \t\"'=:".contains(*c);
        let first_words = match text.contains(char::is_whitespace) {
            true => text.chars().take_while(is_harmless).count(),
            false => 0,
        };
        Self {
            cut: first_line.unwrap_or(first_words) + CUT,
            text: text.into(),
            is_core,
        }
    }

    /// Whether some spelling of it does.
    fn may_begin_with(&self, c: char) -> bool {
        let first = self.text.expose_secret().chars().next();
        first == Some(c) || matches!(c, '%' | '+' | '\\' | '&')
    }
}

/// A provider whose words hold no secret of its settings.
#[derive(Debug)]
pub(crate) struct Redacted {
    provider: Arc<dyn DnsProvider>,
    secrets: Secrets,
}

impl Redacted {
    pub(crate) fn new(provider: Arc<dyn DnsProvider>, secrets: Secrets) -> Self {
        Self { provider, secrets }
    }

    fn error(&self, mut error: ProviderError) -> ProviderError {
        match &mut error {
            ProviderError::Credentials { detail, hint, .. }
            | ProviderError::Failed { detail, hint, .. }
            | ProviderError::Misconfigured { detail, hint }
            | ProviderError::Refused { detail, hint, .. } => {
                self.secrets.scrub_all([detail].into_iter().chain(hint));
            }
            ProviderError::Clock { detail, .. }
            | ProviderError::Conflict { detail, .. }
            | ProviderError::RateLimited { detail, .. }
            | ProviderError::Unreachable { detail, .. }
            | ProviderError::Unsupported { detail, .. } => self.secrets.scrub_all([detail]),
            // It holds names alone, and the enum may grow.
            _ => {}
        }
        error
    }
}

#[async_trait]
impl DnsProvider for Redacted {
    fn capabilities(&self) -> Capabilities {
        self.provider.capabilities()
    }

    fn endpoint(&self) -> String {
        self.provider.endpoint()
    }

    async fn zone_of(&self, owner: &DomainName) -> Result<Zone, ProviderError> {
        let zone = self.provider.zone_of(owner).await;
        zone.map_err(|error| self.error(error))
    }

    async fn name_servers(&self, zone: &Zone) -> Result<Vec<DomainName>, ProviderError> {
        let servers = self.provider.name_servers(zone).await;
        servers.map_err(|error| self.error(error))
    }

    async fn alias_for(
        &self,
        asked: &DomainName,
        owner: &DomainName,
    ) -> Result<Option<DomainName>, ProviderError> {
        let alias = self.provider.alias_for(asked, owner).await;
        alias.map_err(|error| self.error(error))
    }

    async fn apply(&self, zone: &Zone, changes: &[TxtChange]) -> Result<Applied, ProviderError> {
        let applied = self.provider.apply(zone, changes).await;
        let mut applied = applied.map_err(|error| self.error(error))?;
        for outcome in &mut applied.outcomes {
            match outcome {
                Outcome::Applied { .. } => {}
                Outcome::Refused { reason } | Outcome::Unknown { reason } => {
                    self.secrets.scrub_all([reason]);
                }
            }
        }
        Ok(applied)
    }

    async fn settled(&self, receipt: &Receipt) -> Result<Settlement, ProviderError> {
        match self.provider.settled(receipt).await {
            Ok(Settlement::AwaitsPerson(what)) => {
                Ok(Settlement::AwaitsPerson(self.secrets.scrub(&what)))
            }
            settled => settled.map_err(|error| self.error(error)),
        }
    }

    async fn values(
        &self,
        zone: &Zone,
        owner: &DomainName,
    ) -> Result<Option<Vec<TxtValue>>, ProviderError> {
        let values = self.provider.values(zone, owner).await;
        values.map_err(|error| self.error(error))
    }

    async fn marked(&self, zone: &Zone) -> Result<Option<Vec<Marked>>, ProviderError> {
        let marked = self.provider.marked(zone).await;
        marked.map_err(|error| self.error(error))
    }
}

/// What is the same in the base64 of everything that has `secret` after a multiple of three octets and `before` more.
fn core(secret: &[u8], before: usize) -> Option<String> {
    let mut octets = vec![0; before];
    octets.extend(secret);
    let text = STANDARD_NO_PAD.encode(&octets);
    // A letter has six bits; the first and the last may be partly of what stands beside the secret.
    let core = text.get((before * 8).div_ceil(6)..octets.len() * 8 / 6)?;
    (core.len() > SHORTEST).then(|| core.to_owned())
}

/// Where the text that begins at `at` and spells `pattern` ends. One that was cut off at the end of `text` counts as well.
fn end_of(text: &[u8], at: usize, pattern: &Pattern) -> Option<usize> {
    let mut places = vec![at];
    for (passed, c) in pattern.text.expose_secret().chars().enumerate() {
        let is_cut = |&&place: &&usize| {
            let rest = text.get(place..).unwrap_or_default();
            rest.is_empty() || rest == "…".as_bytes()
        };
        if passed >= pattern.cut
            && let Some(&place) = places.iter().find(is_cut)
        {
            return Some(place);
        }
        let mut next = Vec::new();
        for &place in &places {
            spellings(text, place, c, &mut next);
        }
        next.sort_unstable();
        next.dedup();
        if next.is_empty() {
            return None;
        }
        places = next;
    }
    places.last().copied()
}

/// Where a spelling of `c` that begins at `at` ends.
fn spellings(text: &[u8], at: usize, c: char, ends: &mut Vec<usize>) {
    let rest = text.get(at..).unwrap_or_default();
    let mut buffer = [0; 4];
    let plain = c.encode_utf8(&mut buffer).as_bytes();
    if rest.starts_with(plain) {
        ends.push(at + plain.len());
    }
    match rest.first() {
        Some(b'%') => {
            let encoded: String = plain.iter().map(|byte| format!("%{byte:02X}")).collect();
            if starts(rest, &encoded) {
                ends.push(at + encoded.len());
            }
        }
        Some(b'+') if c == ' ' => ends.push(at + 1),
        Some(b'\\') => {
            if rest.get(1..).is_some_and(|rest| rest.starts_with(plain)) {
                ends.push(at + 1 + plain.len());
            }
            let letter = match c {
                '\n' => b'n',
                '\r' => b'r',
                '\t' => b't',
                _ => b'u',
            };
            if letter != b'u' && rest.get(1) == Some(&letter) {
                ends.push(at + 2);
            }
            let mut units = [0; 2];
            let units = c.encode_utf16(&mut units);
            let escaped: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            if starts(rest, &escaped) {
                ends.push(at + escaped.len());
            }
        }
        Some(b'&') => {
            let named = match c {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '"' => "&quot;",
                '\'' => "&apos;",
                _ => "",
            };
            let number = u32::from(c);
            for entity in [named, &format!("&#{number};"), &format!("&#x{number:x};")] {
                if !entity.is_empty() && starts(rest, entity) {
                    ends.push(at + entity.len());
                }
            }
        }
        _ => {}
    }
}

fn starts(text: &[u8], word: &str) -> bool {
    text.get(..word.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
}

/// The whole of what is in base64 around a part of it.
fn around(text: &[u8], start: usize, end: usize) -> (usize, usize) {
    let is_letter = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
    let before = text.get(..start).unwrap_or_default();
    let after = text.get(end..).unwrap_or_default();
    let longer = after
        .iter()
        .take_while(|byte| is_letter(byte) || **byte == b'=')
        .count();
    (
        start - before.iter().rev().take_while(is_letter).count(),
        end + longer,
    )
}

const SHORTEST: usize = 3;
/// No word of everyday is so much of a secret by accident.
const CUT: usize = 6;

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use base64::engine::general_purpose::URL_SAFE;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    fn secrets(secret: &str) -> Secrets {
        Secrets::new([SecretString::from(secret)])
    }

    #[test]
    fn secrets_are_found_in_many_spellings() {
        let secret = "S3/cr \"et+ü&";
        let spelled = [
            secret.to_owned(),
            "S3%2Fcr%20%22et%2B%C3%BC%26".to_owned(),
            "S3%2fcr+%22et%2b%c3%bc%26".to_owned(),
            "S3/cr%20%22et+%C3%BC&".to_owned(),
            serde_json::to_string(secret).unwrap(),
            r#"S3\/cr \"et+\u00FC\u0026"#.to_owned(),
            "S3/cr &quot;et+&#252;&amp;".to_owned(),
            STANDARD.encode(secret),
            URL_SAFE.encode(secret),
            STANDARD.encode(format!("u:{secret}")),
            STANDARD.encode(format!("user:{secret}\n")),
            URL_SAFE_NO_PAD.encode(format!("me:{secret}")),
            STANDARD.encode(format!("joe:{secret}")).replace('+', "%2B"),
        ];
        for text in spelled {
            let said = format!("Authorization: Basic {text} was wrong");
            let clean = secrets(secret).scrub(&said);
            let bare = clean.replace('"', "");
            assert_eq!(bare, "Authorization: Basic [redacted] was wrong", "{text}");
        }
    }

    #[test]
    fn other_words_stay() {
        let text = "403 Forbidden: bad authorization am9lOlMzQ1Iz=, see https://a.test/?a=1%20b";
        assert_eq!(secrets("S3CR3Tpw").scrub(text), text);
        assert_eq!(secrets("ad").scrub(text), text, "too short to protect");
        assert_eq!(secrets("").scrub(text), text);
    }

    #[test]
    fn what_was_cut_off_is_found() {
        let secrets = secrets("S3CR3T-0123456789");
        assert_eq!(secrets.scrub("it is S3CR3T-01…"), "it is [redacted]…");
        assert_eq!(secrets.scrub("it is S3CR3T-01"), "it is [redacted]");
        assert_eq!(secrets.scrub("it is S3CR"), "it is S3CR");
        let secrets = self::secrets("key \"k\" {\n  secret \"QUJDREVGR0g=\";\n};\n");
        let words = "the server signs with another secret";
        assert_eq!(secrets.scrub(words), words);
        assert_eq!(
            secrets.scrub("it has secret \"QUJDREVG"),
            "it has [redacted]"
        );
    }

    #[test]
    fn lines_of_a_key_are_secrets() {
        let line = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr8";
        let key = format!("-----BEGIN PRIVATE KEY-----\n{line}\n-----END PRIVATE KEY-----\n");
        let clean = secrets(&key).scrub(&format!("no key: -----BEGIN PRIVATE KEY----- {line}"));
        assert_eq!(clean, "no key: -----BEGIN PRIVATE KEY----- [redacted]");
    }

    #[test]
    fn settings_in_a_file_are_told_without_their_passwords() {
        let secrets = secrets("login = me\npassword = hunter2-secret-9\n");
        assert_eq!(
            secrets.scrub("login failed with password = hunter2-secret-9, login = me"),
            "login failed with [redacted], login = me"
        );
        assert_eq!(
            secrets.scrub("me cannot log in with hunter2-secret-9"),
            "me cannot log in with [redacted]"
        );
    }

    proptest! {
        #[test]
        fn no_encoding_of_a_longer_text_shows_it(
            before in "[ -~]{0,9}",
            secret in "[!-~]{6,20}",
            after in "[ -~]{0,9}",
        ) {
            let whole = format!("{before}{secret}{after}");
            let encoded = STANDARD.encode(&whole);
            let clean = secrets(&secret).scrub(&encoded);
            prop_assert_eq!(clean, "[redacted]");
        }

        #[test]
        fn nothing_panics(secret in ".{0,12}", text in ".{0,60}") {
            secrets(&secret).scrub(&text);
        }
    }
}
