//! What those mean who write the words of another client: certbot, lego or acme.sh.

use std::ffi::OsString;

use clap::CommandFactory;
use clap::error::ContextKind;
use clap::error::ContextValue;
use clap::error::ErrorKind;

use crate::args::Cli;

/// The same error, with the word that is ours where the one that is wrong is somebody else's.
pub(crate) fn with_hints(mut error: clap::Error) -> clap::Error {
    let wrong = match error.kind() {
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        _ => return error,
    };
    let Some(ContextValue::String(word)) = error.get(wrong) else {
        return error;
    };
    let ours = THEIRS.iter().find(|(theirs, _)| theirs == word);
    if let Some((theirs, ours)) = ours {
        let hint = format!("what other clients call `{theirs}` is `dnseal {ours}` here");
        error.insert(
            ContextKind::Suggested,
            ContextValue::StyledStrs(vec![hint.into()]),
        );
    }
    error
}

/// The same error, whose usage is that of the command. clap makes one of its own that demands whatever the environment gives already.
pub(crate) fn with_usage(
    mut error: clap::Error,
    words: impl IntoIterator<Item = OsString>,
) -> clap::Error {
    if error.get(ContextKind::Usage).is_some() {
        let mut root = Cli::command();
        root.build();
        let mut command = &root;
        let mut is_value = false;
        for word in words {
            let word = word.to_str().unwrap_or_default();
            if is_value {
                is_value = false;
                continue;
            }
            is_value = command.get_arguments().any(|argument| {
                argument.get_action().takes_values()
                    && argument
                        .get_long()
                        .map(|long| format!("--{long}"))
                        .as_deref()
                        == Some(word)
            });
            command = command.find_subcommand(word).unwrap_or(command);
        }
        let usage = command.clone().render_usage();
        error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
    }
    error
}

/// Their words and our commands.
const THEIRS: &[(&str, &str)] = &[
    ("--cron", "renew"),
    ("--info", "show"),
    ("--install-cert", "deploy"),
    ("--issue", "issue"),
    ("--list", "list"),
    ("--register-account", "account register"),
    ("--remove", "delete"),
    ("--renew", "renew"),
    ("--renew-all", "renew"),
    ("--revoke", "revoke"),
    ("--run-deploy-hooks", "renew --dry-run --run-hooks"),
    ("certificates", "list"),
    ("certonly", "issue"),
    ("certs", "list"),
    ("dnshelp", "provider list"),
    ("install", "deploy"),
    ("ls", "list"),
    ("obtain", "issue"),
    ("plugins", "provider list"),
    ("reconfigure", "issue"),
    ("register", "account register"),
    ("remove", "delete"),
    ("rm", "delete"),
    ("show_account", "account show"),
    ("unregister", "account deactivate"),
    ("update_account", "account update"),
];

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn the_usage_demands_nothing_that_is_given_already() {
        let words = ["dnseal", "--config", "x.yaml", "dns", "list"];
        let error = Cli::try_parse_from(words).unwrap_err();
        let text = with_usage(error, words.map(OsString::from)).to_string();
        assert!(
            text.contains("Usage: dnseal dns list [OPTIONS] <OWNER>"),
            "{text}"
        );
        assert!(!text.contains("--config"), "{text}");
    }
}
