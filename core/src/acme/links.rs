//! `Link` headers (RFC 8288): alternate chains, terms of service, where a rate limit is explained.
//!
//! A server may send several headers, several links in one, relative targets, and parameters in any case or order.

use url::Url;

use crate::web::printable;

/// The links of one response, resolved against its URL.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Links(Vec<Link>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct Link {
    target: String,
    relations: Vec<String>,
}

impl Links {
    /// The targets of every link with this relation, in the server's order.
    pub fn all<'a>(&'a self, relation: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |link| link.relations.iter().any(|r| r == relation))
            .map(|link| link.target.as_str())
    }

    /// The target of the first link with this relation.
    pub fn first(&self, relation: &str) -> Option<String> {
        self.all(relation).next().map(str::to_owned)
    }

    pub(super) fn parse<'a>(values: impl Iterator<Item = &'a str>, base: &str) -> Self {
        let base = Url::parse(base).ok();
        Self(
            values
                .flat_map(|value| split_outside(value, ','))
                .filter_map(|link| Link::parse(link, base.as_ref()))
                .collect(),
        )
    }
}

impl Link {
    fn parse(text: &str, base: Option<&Url>) -> Option<Self> {
        let (target, parameters) = text.trim().strip_prefix('<')?.split_once('>')?;
        let target = match base {
            // An absolute target stays byte for byte what the server wrote, because a JWS signs it.
            Some(base) if Url::parse(target).is_err() => base.join(target).ok()?.to_string(),
            _ => printable(target),
        };
        let relations = split_outside(parameters, ';')
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("rel"))
            .map(|(_, value)| value.trim().trim_matches('"').to_ascii_lowercase())?
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        Some(Self { target, relations })
    }
}

/// Splits at `separator` where it stands neither in quotes nor in angle brackets.
fn split_outside(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut bracketed = false;
    text.split(move |c| {
        match c {
            '"' if !bracketed => quoted = !quoted,
            '<' if !quoted => bracketed = true,
            '>' if !quoted => bracketed = false,
            _ => {}
        }
        c == separator && !quoted && !bracketed
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_values_lists_and_relative_targets() {
        let links = Links::parse(
            [
                r#"<https://ca.example/dir>;rel="index""#,
                r#"</cert/1/alternate/1>; title="a, b; c"; rel=alternate, <https://ca.example/c/2?a=1,2;b>;REL="Alternate next""#,
                "garbage, <unclosed; rel=alternate",
                "<https://ca.example/none>",
            ]
            .into_iter(),
            "https://ca.example:14000/cert/1",
        );
        assert_eq!(
            links.all("alternate").collect::<Vec<_>>(),
            [
                "https://ca.example:14000/cert/1/alternate/1",
                "https://ca.example/c/2?a=1,2;b"
            ]
        );
        assert_eq!(links.first("index").unwrap(), "https://ca.example/dir");
        assert_eq!(links.first("up"), None);
    }
}
