//! What those mean who write the words of another client: certbot, lego or acme.sh.

use clap::error::ContextKind;
use clap::error::ContextValue;
use clap::error::ErrorKind;

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
