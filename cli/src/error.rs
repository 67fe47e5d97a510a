//! Every way in which a command can fail, with what to do about it and the status that the process ends with.

use std::path::PathBuf;

use dnseal_core::dns::DomainName;
use dnseal_core::dns::NameError;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::TxtValueError;
use dnseal_core::store::CertId;
use dnseal_core::store::CertIdError;
use dnseal_core::store::FileError;
use dnseal_core::store::StoreError;
use dnseal_providers::BuildError;
use dnseal_providers::SettingsError;
use dnseal_providers::UnknownKind;

use crate::config::ConfigError;
use crate::config::SecretError;
use crate::exit_code::ExitCode;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    CertId(#[from] CertIdError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("interrupted")]
    Interrupted(ExitCode),
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("there is no certificate {0} in the store")]
    NoCertificate(CertId),
    #[error("cannot {action} at {owner}")]
    Provider {
        action: &'static str,
        owner: DomainName,
        source: ProviderError,
    },
    #[error("cannot read the secret for {what}")]
    Secret { what: String, source: SecretError },
    #[error("the environment is not what provider `{name}` needs")]
    Settings { name: String, source: SettingsError },
    #[error(transparent)]
    Store(#[from] StoreError),
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

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Build(error) => error.hint(),
            Self::Config(error) => error.hint().map(str::to_owned),
            Self::File(error) => error.hint(),
            Self::Name(error) => error.hint().map(str::to_owned),
            Self::NoCertificate(_) => Some("`dnseal list` shows what is there".to_owned()),
            Self::Provider { source, .. } => source.hint(),
            Self::Settings { source, .. } => source.hint(),
            Self::Store(error) => error.hint(),
            Self::UnknownKind(error) => Some(error.hint()),
            Self::Unexpected { hint, .. } | Self::Usage { hint, .. } => hint.clone(),
            Self::CertId(_)
            | Self::Interrupted(_)
            | Self::Io { .. }
            | Self::Secret { .. }
            | Self::TxtValue(_) => None,
        }
    }

    /// The status that the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Build(_)
            | Self::CertId(_)
            | Self::Config(_)
            | Self::File(_)
            | Self::Io { .. }
            | Self::Name(_)
            | Self::NoCertificate(_)
            | Self::Secret { .. }
            | Self::Settings { .. }
            | Self::TxtValue(_)
            | Self::UnknownKind(_)
            | Self::Usage { .. } => ExitCode::USAGE,
            Self::Interrupted(code) => *code,
            Self::Provider { source, .. } => match source {
                ProviderError::RateLimited { .. } => ExitCode::LATER,
                _ => ExitCode::PROVIDER,
            },
            Self::Store(StoreError::Locked { .. }) => ExitCode::LOCKED,
            Self::Store(StoreError::Cancelled { .. }) => ExitCode::INTERRUPTED,
            Self::Store(StoreError::File(_)) => ExitCode::USAGE,
            Self::Store(_) | Self::Unexpected { .. } => ExitCode::UNEXPECTED,
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
