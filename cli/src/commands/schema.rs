//! `dnseal schema`.

use crate::config::schema;
use crate::render::Report;

pub(super) fn run() -> Report {
    let schema = schema();
    Report::new(format!("{schema:#}"), schema)
}
