//! What a script of acme.sh says about itself: the block `dns_NAME_info='…'`, and what can be seen in its functions.
//!
//! The text is read and never run.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// The block, taken apart.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Header {
    pub(super) description: Vec<String>,
    pub(super) docs: String,
    pub(super) options: Vec<ScriptOption>,
    pub(super) site: String,
    pub(super) title: String,
}

/// One variable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ScriptOption {
    pub(super) help: String,
    pub(super) name: String,
}

impl Header {
    /// The header of the script called `script`; nothing where it has none.
    pub(super) fn parse(script: &str, text: &str) -> Self {
        let mut header = Self::default();
        let Some(block) = block(script, text) else {
            return header;
        };
        let mut lines = block.lines();
        header.title = shown(lines.next().unwrap_or_default());
        let mut part = Part::Description;
        for line in lines {
            match (line.strip_prefix(' '), line.split_once(':')) {
                (Some(line), _) => match part {
                    Part::Description => header.description.push(shown(line)),
                    Part::Options => header.options.extend(ScriptOption::parse(line)),
                    Part::Other => {}
                },
                (None, Some(("Options" | "OptionsAlt", _))) => part = Part::Options,
                (None, Some((key, value))) => {
                    part = Part::Other;
                    match key {
                        "Docs" => header.docs = address(value),
                        "Site" => header.site = address(value),
                        _ => {}
                    }
                }
                (None, None) => {}
            }
        }
        // Some stand among the alternatives, too.
        let mut known = BTreeSet::new();
        header.options.retain(|o| known.insert(o.name.clone()));
        header
    }
}

impl ScriptOption {
    fn parse(line: &str) -> Option<Self> {
        let (name, help) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        is_variable(name).then(|| Self {
            help: shown(help),
            name: name.to_owned(),
        })
    }

    /// Whether its value may be shown: an address, a port, a zone. Of all others nobody knows.
    pub(super) fn is_public(&self) -> bool {
        let last = self.name.rsplit('_').next().unwrap_or_default();
        PUBLIC.iter().any(|word| last.eq_ignore_ascii_case(word))
    }
}

/// Whether a shell could have a variable of that name.
pub(super) fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// What a script takes when it is told to remove a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Removal {
    /// Whatever stands at the name, or the first that it finds.
    More,
    /// Nothing: later values push earlier ones out.
    Nothing,
    /// The value, as far as can be seen.
    Value,
}

impl Removal {
    /// What the function of the script that removes does. One that never looks at the value that it is to remove takes more.
    ///
    /// What is logged does not count, and functions that it calls do.
    pub(super) fn of(script: &str, text: &str) -> Self {
        let functions = functions(text);
        let start = format!("{script}_rm");
        let body = functions.get(start.as_str()).map_or(&[][..], Vec::as_slice);
        let sets = |line: &&str| {
            line.split_once('=')
                .is_some_and(|(name, _)| is_variable(name))
        };
        let said = |line: &&str| line.is_empty() || *line == ":" || line.starts_with("return");
        if body
            .iter()
            .all(|line| said(line) || (sets(line) && !line.contains('(')))
        {
            return Self::Nothing;
        }
        let mut names = BTreeSet::new();
        for line in body {
            match assigned_second(line) {
                Some(name) => drop(names.insert(name)),
                None if mentions(line, "2") => return Self::Value,
                None => {}
            }
        }
        let mut reached: BTreeSet<&str> = [start.as_str()].into();
        let mut next = vec![start.as_str()];
        while let Some(name) = next.pop() {
            for line in functions.get(name).into_iter().flatten() {
                let is_own = assigned_second(line).is_some_and(|n| names.contains(n));
                if !is_own && names.iter().any(|name| mentions(line, name)) {
                    return Self::Value;
                }
                let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                for (known, _) in words.filter_map(|word| functions.get_key_value(word)) {
                    if reached.insert(known) {
                        next.push(known);
                    }
                }
            }
        }
        Self::More
    }
}

/// What stands between the quotes of `dns_NAME_info='…'`.
fn block<'t>(script: &str, text: &'t str) -> Option<&'t str> {
    let begin = format!("{script}_info='");
    let at = text.match_indices(&begin).map(|(at, _)| at);
    let at = at.filter(|&at| {
        text.get(..at)
            .is_some_and(|t| t.is_empty() || t.ends_with('\n'))
    });
    let rest = text.get(at.min()? + begin.len()..)?;
    rest.get(..rest.find('\'')?)
}

/// The lines of each function that do something.
fn functions(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut functions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        if let Some((name, _)) = line.split_once("()")
            && is_variable(name.trim())
            && !line.starts_with(' ')
        {
            current = Some(name.trim());
            functions.entry(name.trim()).or_default();
        } else if line == "}" {
            current = None;
        } else if let Some(body) = current.and_then(|name| functions.get_mut(name)) {
            let line = line.trim();
            let is_said = SAID.iter().any(|word| line.starts_with(word));
            if !is_said && !line.starts_with('#') {
                body.push(line);
            }
        }
    }
    functions
}

/// The variable that the line sets to the second argument.
fn assigned_second(line: &str) -> Option<&str> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim_start_matches("local ").trim();
    let value = value.trim_matches(['"', ';', ' ']);
    (is_variable(name) && matches!(value, "$2" | "${2}")).then_some(name)
}

/// Whether the line expands the variable.
fn mentions(line: &str, name: &str) -> bool {
    line.match_indices('$').any(|(at, _)| {
        let rest = line.get(at + 1..).unwrap_or_default();
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        rest.strip_prefix(name)
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
    })
}

/// On one line, and nothing that a terminal would obey.
fn shown(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).collect()
}

fn address(text: &str) -> String {
    match shown(text) {
        text if text.is_empty() || text.contains("://") => text,
        text => format!("https://{text}"),
    }
}

enum Part {
    Description,
    Options,
    Other,
}

/// The last words of variables that hold no secret.
const PUBLIC: [&str; 8] = [
    "host", "hostname", "port", "region", "server", "servers", "ttl", "zone",
];
/// What acme.sh's functions for messages begin with.
const SAID: [&str; 5] = ["_debug", "_err", "_info", "_log", "_secure_debug"];

#[cfg(test)]
mod tests {
    use super::*;

    const CF: &str = r#"#!/usr/bin/env sh
# shellcheck disable=SC2034
dns_cf_info='CloudFlare
 More about it.
Site: CloudFlare.com
Docs: github.com/acmesh-official/acme.sh/wiki/dnsapi#dns_cf
Options:
 CF_Key API Key
 CF_Email Your account email
OptionsAlt:
 CF_Token API Token
 CF_Key API Key again
Author: Somebody <a@b.test>
'

dns_cf_rm() {
  fulldomain=$1
  txtvalue="$2"
  _debug "$txtvalue"
  remove "$fulldomain"
}

remove() {
  _rest DELETE "$1/$txtvalue"
}
"#;

    #[test]
    fn a_header_is_taken_apart() {
        let header = Header::parse("dns_cf", CF);
        assert_eq!(header.title, "CloudFlare");
        assert_eq!(header.site, "https://CloudFlare.com");
        assert!(header.docs.ends_with("dnsapi#dns_cf"));
        assert_eq!(header.description, ["More about it."]);
        let names: Vec<&str> = header.options.iter().map(|o| o.name.as_str()).collect();
        assert_eq!(names, ["CF_Key", "CF_Email", "CF_Token"]);
        assert_eq!(header.options[0].help, "API Key");
        assert_eq!(Header::parse("dns_other", CF), Header::default());
        assert_eq!(
            Header::parse("dns_x", "dns_x_info='open"),
            Header::default()
        );
    }

    #[test]
    fn a_script_that_ignores_the_value_is_known() {
        let of = |text: &str| Removal::of("dns_cf", text);
        assert_eq!(of(CF), Removal::Value);
        assert_eq!(of(&CF.replace("$1/$txtvalue", "$1")), Removal::More);
        let direct = CF.replace("remove \"$fulldomain\"", "rm \"$1\" \"$2\"");
        assert_eq!(of(&direct), Removal::Value);
        // Another variable that begins alike.
        let other = CF.replace("$1/$txtvalue", "$1/$txtvalues");
        assert_eq!(of(&other), Removal::More);
        let idle = CF.replace("  remove \"$fulldomain\"\n", "");
        assert_eq!(of(&idle), Removal::Nothing);
        assert_eq!(Removal::of("dns_none", CF), Removal::Nothing);
    }

    #[test]
    fn what_may_be_shown_is_known_to_be_no_secret() {
        let option = |name: &str| ScriptOption {
            help: String::new(),
            name: name.to_owned(),
        };
        assert!(option("NSUPDATE_SERVER_PORT").is_public());
        assert!(!option("CF_Token").is_public());
        assert!(!option("PDNS_Url").is_public());
    }
}
