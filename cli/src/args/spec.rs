//! Flags about what is ordered, beyond names, key type, profile and CA.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;
use serde::Serialize;

use crate::env_vars;

/// What else is asked of a certificate.
#[derive(Clone, Debug, Default, Args, Deserialize, Serialize)]
#[serde(default, rename_all = "kebab-case")]
#[command(next_help_heading = "What is ordered")]
pub(crate) struct SpecArgs {
    /// The CA's profile where it offers it, and none where it does not
    #[arg(
        long, value_name = "PROFILE", conflicts_with = "profile",
        env = env_vars::PREFERRED_PROFILE, hide_env_values = true
    )]
    pub(crate) preferred_profile: Option<String>,

    /// The chain whose top certificate was issued by this common name, where the CA offers it
    #[arg(long, value_name = "NAME", env = env_vars::PREFERRED_CHAIN, hide_env_values = true)]
    pub(crate) preferred_chain: Option<String>,

    /// Make servers staple an OCSP answer; few CAs still take that
    #[arg(long)]
    pub(crate) must_staple: bool,

    /// A signing request, PEM or DER: its names, and its key, which stays where it is
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key_file", "reuse_key", "new_key", "allow_subset", "must_staple"])]
    pub(crate) csr: Option<PathBuf>,

    /// Use this private key, PEM
    #[arg(long, value_name = "FILE", conflicts_with_all = ["reuse_key", "new_key"])]
    pub(crate) key_file: Option<PathBuf>,

    /// Keep the key from version to version
    #[arg(long)]
    pub(crate) reuse_key: bool,

    /// Issue with a new key now, even if a fresh certificate is there or its key is kept
    #[arg(long)]
    #[serde(skip)]
    pub(crate) new_key: bool,

    /// From when it is valid: a date, a time, or a duration from now (`+1d`); few CAs take it
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    pub(crate) not_before: Option<String>,

    /// Until when it is valid, in the same forms; few CAs take it
    #[arg(long, value_name = "WHEN", allow_hyphen_values = true)]
    pub(crate) not_after: Option<String>,

    /// Go on without the names that fail, as long as one remains
    #[arg(long)]
    pub(crate) allow_subset: bool,
}
