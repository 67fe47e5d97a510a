//! The contracts by which other tools let a script or a server of the user's write values: whoever has one goes on using it.

pub(crate) mod acme_dns;
pub mod acmesh;
pub(crate) mod certbot;
pub(crate) mod dehydrated;
pub(crate) mod exec;
pub(crate) mod http;
pub(crate) mod httpreq;
mod script;
