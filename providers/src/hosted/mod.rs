//! The contracts by which other tools let a script or a server of the user's write values: whoever has one goes on using it.

pub(crate) mod acme_dns;
pub mod acmesh;
pub(crate) mod certbot;
pub(crate) mod dehydrated;
pub(crate) mod exec;
pub(crate) mod http;
pub(crate) mod httpreq;
mod script;

use std::time::Duration;

/// How far apart a service is written that replaces the oldest of a few values, as acme-dns does: it knows their age in seconds, and
/// of two that came in the same one it may replace either.
const APART: Duration = Duration::from_millis(1100);
