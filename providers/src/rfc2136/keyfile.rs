//! Key files as BIND's `tsig-keygen` writes them and `nsupdate -k` reads them.
//!
//! `key "acme-key" { algorithm hmac-sha256; secret "…"; };`, any number of them among comments (`//`, `#`, `/* */`).
//! Other statements of named.conf are passed over, so that a file with `server` blocks does as well.

use std::fmt;

use secrecy::SecretString;

/// One `key` statement; nothing of it is checked.
pub(super) struct KeyStatement {
    pub(super) algorithm: Option<String>,
    pub(super) name: String,
    pub(super) secret: SecretString,
}

impl fmt::Debug for KeyStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStatement")
            .field("name", &self.name)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// The keys of a file, in its order; at least one.
pub(super) fn parse(text: &str) -> Result<Vec<KeyStatement>, KeyFileError> {
    let mut tokens = Tokens { rest: text };
    let mut keys = Vec::new();
    while let Some(token) = tokens.next()? {
        match token {
            Token::Word("key") => keys.push(statement(&mut tokens)?),
            Token::Open => skip_block(&mut tokens)?,
            _ => {}
        }
    }
    match keys.is_empty() {
        true => Err(KeyFileError::NoKey),
        false => Ok(keys),
    }
}

/// Why a file is no key file; never shows what is in it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum KeyFileError {
    #[error("it holds no `key \"NAME\" {{ … }};`")]
    NoKey,
    #[error("key `{0}` has no `secret`")]
    NoSecret(String),
    #[error("it is not written as BIND writes key files: {0}")]
    Syntax(&'static str),
}

fn statement(tokens: &mut Tokens<'_>) -> Result<KeyStatement, KeyFileError> {
    let name = match tokens.next()? {
        Some(Token::Word(name)) => name.to_owned(),
        _ => return Err(KeyFileError::Syntax("a name must follow `key`")),
    };
    if tokens.next()? != Some(Token::Open) {
        return Err(KeyFileError::Syntax("`{` must follow the name of a key"));
    }

    let (mut algorithm, mut secret) = (None, None);
    loop {
        let slot = match tokens.next()? {
            Some(Token::Close) => break,
            Some(Token::End) => continue,
            Some(Token::Word("algorithm")) => &mut algorithm,
            Some(Token::Word("secret")) => &mut secret,
            Some(_) => {
                return Err(KeyFileError::Syntax(
                    "a key has `algorithm` and `secret` only",
                ));
            }
            None => return Err(KeyFileError::Syntax("`}` is missing")),
        };
        match (tokens.next()?, tokens.next()?) {
            (Some(Token::Word(value)), Some(Token::End)) => *slot = Some(value.to_owned()),
            _ => {
                return Err(KeyFileError::Syntax(
                    "one value and `;` must follow `algorithm` and `secret`",
                ));
            }
        }
    }
    match secret {
        Some(secret) => Ok(KeyStatement {
            algorithm,
            name,
            secret: secret.into(),
        }),
        None => Err(KeyFileError::NoSecret(name)),
    }
}

fn skip_block(tokens: &mut Tokens<'_>) -> Result<(), KeyFileError> {
    let mut depth = 1_usize;
    while depth > 0 {
        match tokens.next()? {
            Some(Token::Open) => depth += 1,
            Some(Token::Close) => depth -= 1,
            Some(_) => {}
            None => return Err(KeyFileError::Syntax("`}` is missing")),
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Token<'a> {
    Close,
    End,
    Open,
    Word(&'a str),
}

struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    fn next(&mut self) -> Result<Option<Token<'a>>, KeyFileError> {
        self.skip_blanks()?;
        let mut chars = self.rest.chars();
        let Some(first) = chars.next() else {
            return Ok(None);
        };
        let token = match first {
            '{' => Token::Open,
            '}' => Token::Close,
            ';' => Token::End,
            '"' => {
                let Some((word, rest)) = chars.as_str().split_once('"') else {
                    return Err(KeyFileError::Syntax("a closing `\"` is missing"));
                };
                self.rest = rest;
                return Ok(Some(Token::Word(word)));
            }
            _ => {
                let end = self
                    .rest
                    .find(|c: char| c.is_whitespace() || matches!(c, '{' | '}' | ';' | '"' | '#'))
                    .unwrap_or(self.rest.len());
                // An unquoted secret may hold `//`, so that comments end words only after a blank.
                let (word, rest) = self.rest.split_at(end);
                if word.is_empty() {
                    return Err(KeyFileError::Syntax("a word is missing"));
                }
                self.rest = rest;
                return Ok(Some(Token::Word(word)));
            }
        };
        self.rest = chars.as_str();
        Ok(Some(token))
    }

    fn skip_blanks(&mut self) -> Result<(), KeyFileError> {
        loop {
            self.rest = self.rest.trim_start();
            let line_comment = self.rest.starts_with("//") || self.rest.starts_with('#');
            if line_comment {
                self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
            } else if let Some(comment) = self.rest.strip_prefix("/*") {
                let Some((_, rest)) = comment.split_once("*/") else {
                    return Err(KeyFileError::Syntax("a closing `*/` is missing"));
                };
                self.rest = rest;
            } else {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn what_tsig_keygen_writes_is_read() {
        let keys = parse(
            "// made by hand\n\
             key \"acme-key\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0\";\n};\n\
             # an older one\n\
             key old. { secret a//b=; algorithm HMAC-SHA1 ; }; /* end */",
        )
        .unwrap();
        let [first, second] = keys.as_slice() else {
            panic!("{keys:?}");
        };
        assert_eq!(first.name, "acme-key");
        assert_eq!(first.algorithm.as_deref(), Some("hmac-sha256"));
        assert_eq!(first.secret.expose_secret(), "c2VjcmV0");
        assert_eq!(second.name, "old.");
        assert_eq!(second.secret.expose_secret(), "a//b=");
        assert!(!format!("{keys:?}").contains("c2VjcmV0"));
    }

    #[test]
    fn other_statements_are_passed_over() {
        let keys = parse(
            "options { key-directory \"/x\"; inner { a; }; };\n\
             key k { algorithm hmac-sha512; secret \"eA==\"; };\n\
             server 192.0.2.1 { keys { k; }; };",
        )
        .unwrap();
        assert_eq!(keys.len(), 1);
    }

    #[test]
    fn what_is_no_key_file_says_why() {
        for (text, part) in [
            ("", "holds no"),
            ("acme-key:c2VjcmV0", "holds no"),
            ("key { secret \"a\"; };", "name must follow"),
            ("key k secret;", "`{` must follow"),
            ("key k { algorithm hmac-sha256; };", "no `secret`"),
            ("key k { secret \"a; };", "closing `\"`"),
            ("key k { secret \"a\"; ", "`}` is missing"),
            ("key k { secret; };", "one value"),
            ("key k { secrets \"a\"; };", "only"),
            ("/* key", "closing `*/`"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "(key|\\{|\\}|;|\"|secret|algorithm|/\\*|\\*/|//|#|\n| |\\PC){0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_written_is_read_back(
            name in "[a-z0-9][a-z0-9.-]{0,20}",
            secret in "[A-Za-z0-9+/]{4,40}={0,2}",
            comment in "[^\n*]{0,20}",
        ) {
            let text = format!("// {comment}\nkey \"{name}\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};");
            let keys = parse(&text).unwrap();
            prop_assert_eq!(keys.len(), 1);
            prop_assert_eq!(&keys[0].name, &name);
            prop_assert_eq!(keys[0].secret.expose_secret(), &secret);
        }
    }
}
