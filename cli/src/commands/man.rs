//! `dnseal man [DIR]`.

use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man;
use serde_json::json;

use crate::args::Cli;
use crate::error::CliError;
use crate::render::Report;
use crate::render::plural;

pub(super) fn run(dir: Option<&Path>) -> Result<Report, CliError> {
    let command = Cli::command();
    let Some(dir) = dir else {
        let mut page = Vec::new();
        Man::new(command)
            .render(&mut page)
            .map_err(CliError::io("render", "dnseal.1"))?;
        let page = String::from_utf8_lossy(&page).into_owned();
        let json = json!({ "page": page });
        return Ok(Report::new(page, json));
    };
    std::fs::create_dir_all(dir).map_err(CliError::io("make the directory", dir))?;
    clap_mangen::generate_to(command, dir).map_err(CliError::io("write man pages to", dir))?;
    let pages = pages(dir)?;
    Ok(Report::new(
        format!("{} in {}", plural(pages.len(), "man page"), dir.display()),
        json!({ "directory": dir, "pages": pages }),
    ))
}

/// Our pages in `dir`.
fn pages(dir: &Path) -> Result<Vec<String>, CliError> {
    let entries = std::fs::read_dir(dir).map_err(CliError::io("list", dir))?;
    let mut pages: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("dnseal") && name.ends_with(".1"))
        .collect();
    pages.sort();
    Ok(pages)
}
