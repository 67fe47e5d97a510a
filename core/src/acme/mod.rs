//! The CA side: RFC 8555 from the directory to the checked certificate chain.
//!
//! A [`Transport`] reaches a server, a [`Client`] is one CA with its directory and nonces, an [`Account`] there makes
//! orders, reads authorizations, answers challenges, finalizes and downloads. A [`CertificateKey`] makes the CSR, and a
//! [`CertificateChain`] is a download that has been checked against key and names. Requests go over one connection
//! where the server can, up to sixteen at once; every failure says what failed, at which server and what it answered.
//! Nothing here knows DNS providers, the store, or a terminal. Only the module `instant` names the crate `instant-acme`.

mod account;
mod answer;
mod ari;
mod authorization;
mod ca;
mod chain;
mod client;
mod csr;
mod directory;
mod eab;
mod eab_by_email;
mod error;
mod instant;
mod jws;
mod key;
mod leaf;
mod lenient_base64;
mod links;
mod manage;
mod nonce;
mod order;
mod order_error;
mod poll;
mod problem;
mod reason;
mod register;
mod retry;
mod retry_after;
mod revoke;
mod signing_key;
mod transport;

pub use account::Account;
pub use account::Download;
pub use ari::RenewalInfo;
pub use authorization::Authorization;
pub use authorization::AuthorizationStatus;
pub use authorization::Challenge;
pub use authorization::ChallengeStatus;
pub use authorization::Failure;
pub use authorization::Pairing;
pub use ca::Ca;
pub use ca::CaError;
pub use ca::KnownCa;
pub(crate) use ca::is_loopback;
pub use chain::CertificateChain;
pub use chain::ChainError;
pub use chain::KeyOf;
pub use client::Client;
pub use csr::Csr;
pub use csr::CsrError;
pub use directory::Directory;
pub use directory::DirectoryError;
pub use directory::Meta;
pub use eab::EabError;
pub use eab::ExternalAccount;
pub use eab_by_email::EabByEmailError;
pub use error::AcmeError;
pub use error::Refusal;
pub use jws::AccountKey;
pub use jws::AccountKeyError;
pub use key::CertificateKey;
pub use key::CertificateKeyError;
pub use key::KeyType;
pub use key::KeyTypeError;
pub use leaf::Leaf;
pub use leaf::LeafError;
pub use links::Links;
pub use manage::AccountDetails;
pub use manage::KeyInUse;
pub use order::NewOrder;
pub use order::Order;
pub use order::OrderStatus;
pub use order_error::OrderError;
pub use poll::Wait;
pub use problem::Problem;
pub use reason::ReasonError;
pub use reason::RevocationReason;
pub use register::AccountError;
pub use register::Registration;
pub use revoke::Revocation;
pub use revoke::RevokeError;
pub use signing_key::SigningKey;
pub use signing_key::SigningKeyError;
pub use transport::Distrust;
pub use transport::ExtraRoot;
pub use transport::Transport;
pub use transport::TransportError;
pub use transport::TransportOptions;
pub use transport::tls_config;
