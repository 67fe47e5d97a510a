//! Every way in which a command can fail, with what to do about it and the status that the process ends with.

use std::path::PathBuf;
use std::sync::Arc;

use dnseal_core::account::AccountsError;
use dnseal_core::account::ForeignError;
use dnseal_core::acme::AccountError;
use dnseal_core::acme::AcmeError;
use dnseal_core::acme::CaError;
use dnseal_core::acme::CertificateKeyError;
use dnseal_core::acme::CsrError;
use dnseal_core::acme::EabError;
use dnseal_core::acme::LeafError;
use dnseal_core::acme::ReasonError;
use dnseal_core::acme::TransportError;
use dnseal_core::deploy::HookKind;
use dnseal_core::deploy::TargetError;
use dnseal_core::dns::ByHand;
use dnseal_core::dns::DiscoveryError;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::NameError;
use dnseal_core::dns::PlaceError;
use dnseal_core::dns::PropagationError;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::RouteError;
use dnseal_core::dns::TxtValueError;
use dnseal_core::dns::WriteError;
use dnseal_core::issue::ErrorKind;
use dnseal_core::issue::IssueError;
use dnseal_core::revoke::RevocationError;
use dnseal_core::store::AccountIdError;
use dnseal_core::store::CertId;
use dnseal_core::store::CertIdError;
use dnseal_core::store::FileError;
use dnseal_core::store::StoreError;
use dnseal_providers::BuildError;
use dnseal_providers::SettingsError;
use dnseal_providers::UnknownKind;
use dnseal_providers::plugin::PluginError;

use crate::config::ConfigError;
use crate::config::SecretError;
use crate::exit_code::ExitCode;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    AccountId(#[from] AccountIdError),
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Ca(#[from] CaError),
    #[error(transparent)]
    CertId(#[from] CertIdError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot use the signing request {}: {source}", path.display())]
    Csr { path: PathBuf, source: CsrError },
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error(transparent)]
    Eab(#[from] EabError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("a {} hook failed: {source}", kind.as_str())]
    Hook {
        kind: HookKind,
        source: Box<TargetError>,
    },
    #[error("interrupted")]
    Interrupted(ExitCode),
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error("cannot use the key {}: {source}", path.display())]
    KeyFile {
        path: PathBuf,
        source: CertificateKeyError,
    },
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("there is no certificate {0} in the store")]
    NoCertificate(CertId),
    #[error("cannot tell where values for {owner} go: {source}")]
    Place {
        owner: DomainName,
        source: PlaceError,
    },
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error(transparent)]
    Propagation(#[from] PropagationError),
    #[error("cannot {action} {owner}: {source}")]
    Provider {
        action: &'static str,
        owner: DomainName,
        source: ProviderError,
    },
    #[error("cannot use {}: {source}", path.display())]
    Foreign { path: PathBuf, source: ForeignError },
    #[error("cannot use {}: {source}", path.display())]
    Leaf { path: PathBuf, source: LeafError },
    #[error(transparent)]
    Reason(#[from] ReasonError),
    #[error(transparent)]
    Revocation(#[from] RevocationError),
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error("cannot read the secret for {what}: {source}")]
    Secret { what: String, source: SecretError },
    #[error("the environment is not what provider `{name}` needs: {source}")]
    Settings { name: String, source: SettingsError },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot deploy to {target}: {source}")]
    Target {
        target: String,
        source: Arc<TargetError>,
    },
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    TxtValue(#[from] TxtValueError),
    #[error("{message}")]
    Unexpected {
        message: String,
        hint: Option<String>,
    },
    #[error(transparent)]
    UnknownKind(#[from] UnknownKind),
    #[error("{message}")]
    Usage {
        message: String,
        hint: Option<String>,
    },
    /// As [`Self::Propagation`], told to who was watching.
    #[error(transparent)]
    Watched(PropagationError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl CliError {
    /// Arguments that do not fit.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// Why the engine did not do it; `interrupted` is the status of the signal that came, if one did.
    pub(crate) fn issue(error: IssueError, interrupted: Option<ExitCode>) -> Self {
        match (error.kind(), interrupted) {
            (ErrorKind::Cancelled, Some(code)) => Self::Interrupted(code),
            _ => Self::Issue(error),
        }
    }

    /// The same for another certificate that fails for it too.
    pub(crate) fn for_another(&self) -> Self {
        Self::Usage {
            message: self.to_string(),
            hint: self.hint(),
        }
    }

    /// Whether the CA refuses the account, or what stands behind it has lapsed.
    pub(crate) fn is_about_account(&self) -> bool {
        match self {
            Self::Issue(error) => error.is_about_account(),
            _ => false,
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Accounts(error) => error.hint(),
            Self::Revocation(error) => error.hint(),
            Self::Build(error) => error.hint(),
            Self::Ca(error) => error.hint(),
            Self::Config(error) => error.hint().map(str::to_owned),
            Self::Csr { source, .. } => source.hint(),
            Self::Discovery(error) => error.hint(),
            Self::Eab(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::Hook { source, .. } => source.hint(),
            Self::Target { source, .. } => source.hint(),
            Self::Interrupted(_) => Some(
                "run the same command again: it finishes or cleans up what was begun".to_owned(),
            ),
            Self::Issue(error) => error.hint(),
            Self::Name(error) => error.hint().map(str::to_owned),
            Self::NoCertificate(_) => Some("`dnseal list` shows what is there".to_owned()),
            Self::Place { source, .. } => source.hint(),
            Self::Plugin(error) => error.hint(),
            Self::Propagation(error) => error.hint(),
            Self::Provider { source, .. } => source.hint(),
            Self::Route(error) => error.hint(),
            Self::Settings { source, .. } => source.hint(),
            Self::Store(error) => error.hint(),
            Self::Transport(error) => error.hint(),
            Self::UnknownKind(error) => Some(error.hint()),
            Self::Watched(error) => error.diagnosis(),
            Self::Write(error) => error.hint(),
            Self::Unexpected { hint, .. } | Self::Usage { hint, .. } => hint.clone(),
            Self::AccountId(_)
            | Self::Foreign { .. }
            | Self::Leaf { .. }
            | Self::Reason(_)
            | Self::CertId(_)
            | Self::Io { .. }
            | Self::KeyFile { .. }
            | Self::Secret { .. }
            | Self::TxtValue(_) => None,
        }
    }

    /// The status that the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::AccountId(_)
            | Self::Foreign { .. }
            | Self::Leaf { .. }
            | Self::Reason(_)
            | Self::Build(_)
            | Self::Ca(_)
            | Self::CertId(_)
            | Self::Config(_)
            | Self::Csr { .. }
            | Self::Eab(_)
            | Self::File(_)
            | Self::Io { .. }
            | Self::KeyFile { .. }
            | Self::Name(_)
            | Self::NoCertificate(_)
            | Self::Plugin(_)
            | Self::Route(_)
            | Self::Secret { .. }
            | Self::Settings { .. }
            | Self::Transport(_)
            | Self::TxtValue(_)
            | Self::UnknownKind(_)
            | Self::Usage { .. } => ExitCode::USAGE,
            Self::Accounts(error) => of_accounts(error),
            Self::Revocation(error) => of_revocation(error),
            Self::Discovery(_) => ExitCode::PROVIDER,
            Self::Hook { .. } | Self::Target { .. } => ExitCode::DEPLOY,
            Self::Interrupted(code) => *code,
            Self::Issue(error) => match error.kind() {
                ErrorKind::Ca => ExitCode::CA,
                ErrorKind::Cancelled => ExitCode::INTERRUPTED,
                ErrorKind::Locked => ExitCode::LOCKED,
                ErrorKind::NotInPlace => ExitCode::DEPLOY,
                ErrorKind::Person => ExitCode::PERSON,
                ErrorKind::Propagation => ExitCode::NOT_PROPAGATED,
                ErrorKind::Provider => ExitCode::PROVIDER,
                ErrorKind::RateLimited => ExitCode::LATER,
                ErrorKind::Unexpected => ExitCode::UNEXPECTED,
                ErrorKind::Usage => ExitCode::USAGE,
            },
            Self::Place { source, .. } => match source {
                PlaceError::AliasWanted { .. } => ExitCode::PERSON,
                PlaceError::NoAlias { .. } | PlaceError::Route(_) | PlaceError::Wordless { .. } => {
                    ExitCode::USAGE
                }
                PlaceError::Provider(ProviderError::RateLimited { .. }) => ExitCode::LATER,
                _ => ExitCode::PROVIDER,
            },
            Self::Propagation(PropagationError::Cancelled)
            | Self::Watched(PropagationError::Cancelled) => ExitCode::INTERRUPTED,
            Self::Propagation(_) | Self::Watched(_) => ExitCode::NOT_PROPAGATED,
            Self::Provider { source, .. } => match source {
                ProviderError::RateLimited { .. } => ExitCode::LATER,
                _ => ExitCode::PROVIDER,
            },
            Self::Store(error) => of_store(error),
            Self::Unexpected { .. } => ExitCode::UNEXPECTED,
            Self::Write(error) => match error.is_rate_limited() {
                true => ExitCode::LATER,
                false => ExitCode::PROVIDER,
            },
        }
    }

    /// What there is to say in several lines: the table of servers, every name that failed.
    pub(crate) fn detail(&self) -> Option<String> {
        match self {
            Self::Propagation(error)
            | Self::Watched(error)
            | Self::Issue(IssueError::Propagation(error)) => match error {
                PropagationError::NotVisible { report, .. } => Some(report.to_string()),
                _ => None,
            },
            Self::Issue(error) if !error.records().is_empty() => {
                let lines = error.records().into_iter();
                let lines: Vec<String> = lines.map(|record| format!("  {record}")).collect();
                Some(lines.join("\n"))
            }
            Self::Issue(IssueError::Write { errors }) if errors.len() > 1 => {
                let lines: Vec<String> = errors
                    .iter()
                    .map(|(name, error)| format!("  {name}: {error}"))
                    .collect();
                Some(lines.join("\n"))
            }
            Self::Hook { source, .. } => source.output().map(indented),
            Self::Target { source, .. } => source.output().map(indented),
            _ => None,
        }
    }

    /// The records that somebody has to set.
    pub(crate) fn records(&self) -> Vec<ByHand> {
        match self {
            Self::Issue(error) => error.records(),
            _ => Vec::new(),
        }
    }

    /// The place in the configuration file, where it is about one.
    pub(crate) fn config(&self) -> Option<&ConfigError> {
        match self {
            Self::Config(error) => Some(error),
            _ => None,
        }
    }
}

fn of_accounts(error: &AccountsError) -> ExitCode {
    match error {
        AccountsError::Account(
            AccountError::ExternalAccountRequired { .. } | AccountError::TermsNotAgreed { .. },
        ) => ExitCode::USAGE,
        AccountsError::Account(AccountError::Request(error)) => of_request(error),
        AccountsError::Account(_)
        | AccountsError::Directory(_)
        | AccountsError::KeyLost { .. }
        | AccountsError::Unchanged { .. }
        | AccountsError::UnknownKey { .. }
        | AccountsError::Unverified { .. } => error.request().map_or(ExitCode::CA, of_request),
        AccountsError::Cancelled => ExitCode::INTERRUPTED,
        AccountsError::Store(error) => of_store(error),
        _ => ExitCode::USAGE,
    }
}

fn of_revocation(error: &RevocationError) -> ExitCode {
    match error {
        RevocationError::Accounts(error) => of_accounts(error),
        RevocationError::Cancelled => ExitCode::INTERRUPTED,
        RevocationError::Directory(_) | RevocationError::Revoke(_) => {
            error.request().map_or(ExitCode::CA, of_request)
        }
        RevocationError::Store(error) => of_store(error),
        _ => ExitCode::USAGE,
    }
}

fn of_request(error: &AcmeError) -> ExitCode {
    match error {
        AcmeError::Cancelled { .. } => ExitCode::INTERRUPTED,
        error if error.is_rate_limited() => ExitCode::LATER,
        _ => ExitCode::CA,
    }
}

fn of_store(error: &StoreError) -> ExitCode {
    match error {
        StoreError::Locked { .. } => ExitCode::LOCKED,
        StoreError::Cancelled { .. } => ExitCode::INTERRUPTED,
        StoreError::Corrupt { .. }
        | StoreError::File(_)
        | StoreError::Newer { .. }
        | StoreError::Sealed { .. } => ExitCode::USAGE,
        _ => ExitCode::UNEXPECTED,
    }
}

/// What a program wrote, beside what we say.
fn indented(output: &str) -> String {
    let lines: Vec<String> = output.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}
