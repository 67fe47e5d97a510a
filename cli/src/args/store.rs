//! Flags of `store`.

use std::path::PathBuf;

use clap::Args;
use clap::Subcommand;

/// What to do about the encryption of the store.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Encrypt the keys of certificates and accounts with DNSEAL_STORE_KEY
    #[command(
        after_help = "Examples:\n  age-keygen -o key.txt\n  DNSEAL_STORE_KEY_FILE=key.txt dnseal store encrypt\n\n\
        An age identity or a passphrase will do, from DNSEAL_STORE_KEY, DNSEAL_STORE_KEY_FILE or `store-key:` in the configuration; \
        every command that orders, renews or deploys wants it from then on. DIR/live holds no private keys any more: deploy targets and a \
        directory named by `--live` get them. Interrupted anywhere, the store works, and the same command goes on."
    )]
    Encrypt(YesArgs),
    /// Write the keys of certificates and accounts as they are
    #[command(after_help = "Example:\n  DNSEAL_STORE_KEY_FILE=key.txt dnseal store decrypt")]
    Decrypt,
    /// Encrypt them with another key
    #[command(
        after_help = "Example:\n  DNSEAL_STORE_KEY_FILE=old.txt dnseal store rekey --new-key-file new.txt\n\n\
        The new key counts from the beginning; interrupted anywhere, the same command goes on."
    )]
    Rekey(RekeyArgs),
    /// Say how the store is encrypted; needs no key
    #[command(after_help = "Example:\n  dnseal store status")]
    Status,
}

/// Arguments of `store encrypt`.
#[derive(Debug, Args)]
pub(crate) struct YesArgs {
    /// Do not ask before private keys are removed from DIR/live
    #[arg(long)]
    pub(crate) yes: bool,
}

/// Arguments of `store rekey`.
#[derive(Debug, Args)]
pub(crate) struct RekeyArgs {
    /// A file that holds the new key (also DNSEAL_STORE_NEW_KEY, DNSEAL_STORE_NEW_KEY_FILE)
    #[arg(long, value_name = "FILE")]
    pub(crate) new_key_file: Option<PathBuf>,
}
