//! Every environment variable that this program reads, apart from those of the DNS providers
//! (`dnseal provider show KIND` lists them).
//!
//! A flag beats its variable, and a variable beats the configuration file. An empty variable is no variable.

/// `--account`.
pub(crate) const ACCOUNT: &str = "DNSEAL_ACCOUNT";
/// The private key of the account: PEM, a JWK, or PKCS#8 in base64.
pub(crate) const ACCOUNT_KEY: &str = "DNSEAL_ACCOUNT_KEY";
/// A file that holds it.
pub(crate) const ACCOUNT_KEY_FILE: &str = "DNSEAL_ACCOUNT_KEY_FILE";
/// `--agree-tos`: `1`, `true` or `yes`.
pub(crate) const AGREE_TOS: &str = "DNSEAL_AGREE_TOS";
/// `--ca`.
pub(crate) const CA: &str = "DNSEAL_CA";
/// `--caa`.
pub(crate) const CAA: &str = "DNSEAL_CAA";
/// `--ca-root`, one file.
pub(crate) const CA_ROOT: &str = "DNSEAL_CA_ROOT";
/// `--concurrency`.
pub(crate) const CONCURRENCY: &str = "DNSEAL_CONCURRENCY";
/// `--challenge-alias`, several separated by commas.
pub(crate) const CHALLENGE_ALIAS: &str = "DNSEAL_CHALLENGE_ALIAS";
/// `--config`.
pub(crate) const CONFIG: &str = "DNSEAL_CONFIG";
/// `--delegation`.
pub(crate) const DELEGATION: &str = "DNSEAL_DELEGATION";
/// `--dir`.
pub(crate) const DIR: &str = "DNSEAL_DIR";
/// `--doh`, several separated by commas.
pub(crate) const DOH: &str = "DNSEAL_DOH";
/// `--eab-hmac-key`.
pub(crate) const EAB_HMAC_KEY: &str = "DNSEAL_EAB_HMAC_KEY";
/// `--eab-hmac-key-file`.
pub(crate) const EAB_HMAC_KEY_FILE: &str = "DNSEAL_EAB_HMAC_KEY_FILE";
/// `--eab-kid`.
pub(crate) const EAB_KID: &str = "DNSEAL_EAB_KID";
/// `--email`.
pub(crate) const EMAIL: &str = "DNSEAL_EMAIL";
/// `--fallback-wait`.
pub(crate) const FALLBACK_WAIT: &str = "DNSEAL_FALLBACK_WAIT";
/// `--family`.
pub(crate) const FAMILY: &str = "DNSEAL_FAMILY";
/// `--key-type`.
pub(crate) const KEY_TYPE: &str = "DNSEAL_KEY_TYPE";
/// `--log-format`.
pub(crate) const LOG_FORMAT: &str = "DNSEAL_LOG_FORMAT";
/// `--metrics`.
pub(crate) const METRICS: &str = "DNSEAL_METRICS";
/// `--live`.
pub(crate) const LIVE: &str = "DNSEAL_LIVE";
/// What to trace on standard error, as `tracing` filters: `debug`, `hyper=trace`.
pub(crate) const LOG: &str = "DNSEAL_LOG";
/// `--log-file`.
pub(crate) const LOG_FILE: &str = "DNSEAL_LOG_FILE";
/// `--nameserver`, several separated by commas.
pub(crate) const NAMESERVER: &str = "DNSEAL_NAMESERVER";
/// `--output`.
pub(crate) const OUTPUT: &str = "DNSEAL_OUTPUT";
/// `--preferred-chain`.
pub(crate) const PREFERRED_CHAIN: &str = "DNSEAL_PREFERRED_CHAIN";
/// `--preferred-profile`.
pub(crate) const PREFERRED_PROFILE: &str = "DNSEAL_PREFERRED_PROFILE";
/// `--profile`.
pub(crate) const PROFILE: &str = "DNSEAL_PROFILE";
/// `--propagation`.
pub(crate) const PROPAGATION: &str = "DNSEAL_PROPAGATION";
/// `--propagation-timeout`.
pub(crate) const PROPAGATION_TIMEOUT: &str = "DNSEAL_PROPAGATION_TIMEOUT";
/// `--provider`.
pub(crate) const PROVIDER: &str = "DNSEAL_PROVIDER";
/// `--quorum`.
pub(crate) const QUORUM: &str = "DNSEAL_QUORUM";
/// `--renew-before`.
pub(crate) const RENEW_BEFORE: &str = "DNSEAL_RENEW_BEFORE";
/// `--resolver`, several separated by commas.
pub(crate) const RESOLVER: &str = "DNSEAL_RESOLVER";
/// `--set`, one `KEY=VALUE` a line.
pub(crate) const SET: &str = "DNSEAL_SET";
/// `--settle`.
pub(crate) const SETTLE: &str = "DNSEAL_SETTLE";
/// `--staging`.
pub(crate) const STAGING: &str = "DNSEAL_STAGING";
/// `--store`.
pub(crate) const STORE: &str = "DNSEAL_STORE";
/// The key or passphrase of an encrypted store.
pub(crate) const STORE_KEY: &str = "DNSEAL_STORE_KEY";
/// A file that holds it.
pub(crate) const STORE_KEY_FILE: &str = "DNSEAL_STORE_KEY_FILE";
/// The one that an encrypted store is to get.
pub(crate) const STORE_NEW_KEY: &str = "DNSEAL_STORE_NEW_KEY";
/// A file that holds that one.
pub(crate) const STORE_NEW_KEY_FILE: &str = "DNSEAL_STORE_NEW_KEY_FILE";

/// What other ACME clients call [`EAB_HMAC_KEY`].
pub(crate) const ACME_EAB_HMAC_KEY: &str = "ACME_EAB_HMAC_KEY";
/// What other ACME clients call [`EAB_KID`].
pub(crate) const ACME_EAB_KID: &str = "ACME_EAB_KID";

/// Set and not empty: no colour (<https://no-color.org>).
pub(crate) const NO_COLOR: &str = "NO_COLOR";
/// `dumb`: no colour and no moving lines.
pub(crate) const TERM: &str = "TERM";

/// Set where standard error goes to systemd's journal, which writes down the time.
pub(crate) const JOURNAL_STREAM: &str = "JOURNAL_STREAM";
/// Where the supervisor listens (sd_notify(3)).
pub(crate) const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";
/// Which process the supervisor watches.
pub(crate) const WATCHDOG_PID: &str = "WATCHDOG_PID";
/// How long the supervisor waits for a sign of life, in microseconds.
pub(crate) const WATCHDOG_USEC: &str = "WATCHDOG_USEC";

/// Where the home of the user is.
pub(crate) const HOME: &str = "HOME";
/// Where the user's configuration is, `$HOME/.config` unless it is set.
pub(crate) const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";
/// Where the user's state is, `$HOME/.local/state` unless it is set.
pub(crate) const XDG_STATE_HOME: &str = "XDG_STATE_HOME";

/// The variable `name`, unless it is unset or empty.
pub(crate) fn get(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
