//! Record sets and hosted zones as the service keeps them: their order, their spelling, what their values may be.

use dnseal_sandbox::dns::{Data, Record};

/// A record set, with values as the API writes them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecordSet {
    /// Whether it answers with several of the sets of its name (`MultiValueAnswer`).
    pub multivalue: bool,
    /// The owner name with its final dot, in small letters.
    pub name: String,
    /// What tells it from other sets of the name and type, under a routing policy.
    pub set_identifier: Option<String>,
    /// The TTL in seconds.
    pub ttl: i64,
    /// The type, such as `TXT`.
    pub rtype: String,
    /// The values.
    pub values: Vec<String>,
    /// The weight, under that routing policy.
    pub weight: Option<i64>,
}

impl RecordSet {
    /// A simple record set.
    pub fn new(name: &str, rtype: &str, ttl: i64, values: &[&str]) -> Self {
        Self {
            multivalue: false,
            name: canonical(name),
            set_identifier: None,
            ttl,
            rtype: rtype.to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
            weight: None,
        }
    }

    /// A TXT record set; values are put in quotes, and must need no escapes.
    pub fn txt(name: &str, ttl: i64, values: &[&str]) -> Self {
        let quoted: Vec<String> = values.iter().map(|value| format!("\"{value}\"")).collect();
        let quoted: Vec<&str> = quoted.iter().map(String::as_str).collect();
        Self::new(name, "TXT", ttl, &quoted)
    }

    /// The same as one of several sets that are answered with together.
    #[must_use]
    pub fn multivalue(mut self, set_identifier: &str) -> Self {
        self.multivalue = true;
        self.set_identifier = Some(set_identifier.to_owned());
        self
    }

    pub(super) fn key(&self) -> SetKey {
        SetKey {
            name: reversed(&self.name),
            rtype: self.rtype.clone(),
            set_identifier: self.set_identifier.clone().unwrap_or_default(),
        }
    }

    /// Whether a DELETE that looks like `other` may delete this one: values count, their order does not.
    pub(super) fn matches(&self, other: &Self) -> bool {
        let sorted = |set: &Self| {
            let mut values = set.values.clone();
            values.sort_unstable();
            values
        };
        self.ttl == other.ttl && self.weight == other.weight && sorted(self) == sorted(other)
    }

    /// What is wrong with the values, as the service says it.
    pub(super) fn problem(&self) -> Option<String> {
        if self.values.is_empty() {
            return Some(format!(
                "Invalid request: Missing field 'ResourceRecords' in Change with [Action=CREATE, Name={}, Type={}]",
                self.name, self.rtype
            ));
        }
        for (number, value) in self.values.iter().enumerate() {
            if self.values.iter().take(number).any(|other| other == value) {
                return Some(format!("Duplicate Resource Record: '{value}'"));
            }
            if self.rtype == "TXT"
                && let Err(problem) = txt_strings(value)
            {
                return Some(format!(
                    "Invalid Resource Record: 'FATAL problem: {problem} encountered with '{value}''"
                ));
            }
        }
        let most = i64::from(i32::MAX);
        (!(0..=most).contains(&self.ttl)).then(|| format!("Invalid TTL: {}", self.ttl))
    }

    /// The records that a name server answers with.
    pub(super) fn records(&self) -> Vec<Record> {
        let ttl = u32::try_from(self.ttl).unwrap();
        let name = unescaped(&self.name);
        let data = self.values.iter().filter_map(|value| {
            Some(match self.rtype.as_str() {
                "A" => Data::A(value.parse().unwrap()),
                "CNAME" => Data::Cname(value.clone()),
                "NS" => Data::Ns(value.clone()),
                // Any octets, where a zone's own text could hold characters only.
                "TXT" => Data::Other {
                    rtype: 16,
                    rdata: txt_strings(value)
                        .unwrap()
                        .into_iter()
                        .flat_map(|string| {
                            let mut wire = vec![u8::try_from(string.len()).unwrap()];
                            wire.extend(string);
                            wire
                        })
                        .collect(),
                },
                _ => return None,
            })
        });
        data.map(|data| Record::new(name.clone(), ttl, data))
            .collect()
    }
}

/// In which order record sets are listed.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct SetKey {
    pub(super) name: String,
    pub(super) rtype: String,
    pub(super) set_identifier: String,
}

/// A name as the service keeps it: small letters, a final dot, everything unusual as an octal escape.
pub(super) fn canonical(name: &str) -> String {
    let name = unescaped(name).to_ascii_lowercase();
    let mut text = String::new();
    for octet in name.strip_suffix('.').unwrap_or(&name).bytes() {
        match octet {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => text.push(char::from(octet)),
            _ => text.push_str(&format!("\\{octet:03o}")),
        }
    }
    text.push('.');
    text
}

/// Labels in reverse, each with a dot, so that a string's order is the service's: `com.example.www.`
pub(super) fn reversed(name: &str) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.rsplit('.').map(|label| format!("{label}.")).collect()
}

fn unescaped(name: &str) -> String {
    let mut text = String::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let escape = rest.strip_prefix('\\').and_then(|after| after.get(..3));
        match escape.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(octet) => {
                text.push(char::from(octet));
                rest = &rest[4..];
            }
            None => {
                text.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    text
}

/// The octets of each string of a TXT value.
fn txt_strings(value: &str) -> Result<Vec<Vec<u8>>, &'static str> {
    const UNQUOTED: &str = "InvalidCharacterString (Value should be enclosed in quotation marks)";
    if value.len() > 4000 {
        return Err("TXTRDATATooLong (Value is longer than 4000 characters)");
    }
    let mut strings = Vec::new();
    let mut rest = value;
    while !rest.is_empty() {
        let mut string = Vec::new();
        let mut chars = rest.strip_prefix('"').ok_or(UNQUOTED)?.chars();
        loop {
            match chars.next().ok_or(UNQUOTED)? {
                '"' => break,
                '\\' => {
                    let digits: String = chars.clone().take(3).collect();
                    let octal =
                        digits.len() == 3 && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
                    match u8::from_str_radix(&digits, 8) {
                        Ok(octet) if octal => {
                            string.push(octet);
                            chars.nth(2);
                        }
                        _ => string.extend(chars.next().ok_or(UNQUOTED)?.to_string().bytes()),
                    }
                }
                it if it.is_ascii() && !it.is_ascii_control() => {
                    string.extend(it.to_string().bytes())
                }
                _ => return Err("UnsupportedCharacter (Value contains unsupported characters)"),
            }
        }
        if string.len() > 255 {
            return Err("CharacterStringTooLong (Value is too long)");
        }
        strings.push(string);
        rest = chars.as_str().trim_start_matches(' ');
    }
    match strings.is_empty() {
        true => Err(UNQUOTED),
        false => Ok(strings),
    }
}
