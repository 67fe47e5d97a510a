//! `dnseal show NAME`.

use dnseal_core::store::CertId;
use dnseal_core::store::Head;
use jiff::Timestamp;
use serde_json::json;

use crate::commands::App;
use crate::commands::list;
use crate::error::CliError;
use crate::render::Report;
use crate::render::Table;
use crate::render::day;
use crate::render::in_days;

pub(super) async fn run(app: &App, name: &str) -> Result<Report, CliError> {
    let id: CertId = name.parse()?;
    let head = head(app, &id).await?;
    let mut json = list::summary(app, &head);
    if let Some(object) = json.as_object_mut() {
        object.insert("published".into(), json!(head.published));
        object.insert("order".into(), json!(head.order));
    }
    Ok(Report::new(text(app, &head), json))
}

/// The head of `id`, which must be there.
pub(super) async fn head(app: &App, id: &CertId) -> Result<Head, CliError> {
    let missing = || CliError::NoCertificate(id.clone());
    let store = app.places.open_existing()?.ok_or_else(missing)?;
    let (head, _) = Head::load(&store, id).await?.ok_or_else(missing)?;
    Ok(head)
}

fn text(app: &App, head: &Head) -> String {
    let now = Timestamp::now();
    let names: Vec<String> = head.wanted.names.iter().map(ToString::to_string).collect();
    let mut table = Table::untitled();
    table.row(["name", head.id.as_str()]);
    table.row(["names", &names.join(" ")]);
    table.row(["key", &head.wanted.key_type.to_string()]);
    if let Some(profile) = &head.wanted.profile {
        table.row(["profile", profile]);
    }
    table.row(["CA", &head.wanted.directory]);
    table.row(["account", &head.wanted.account.to_string()]);
    match &head.current {
        Some(version) => {
            table.row(["version", &version.number.to_string()]);
            let issued = day(version.issued);
            table.row(["issued", &format!("{issued} by {}", version.issuer)]);
            let until = day(version.not_after);
            table.row([
                "valid until",
                &format!("{until} ({})", in_days(now, version.not_after)),
            ]);
            table.row(["serial", &version.serial]);
            let dir = app.places.live.join(head.id.as_str());
            table.row(["files", &dir.display().to_string()]);
        }
        None => table.row(["version", "never issued"]),
    }
    if let Some(order) = &head.order {
        table.row(["order in flight", &order.url]);
    }
    for published in &head.published {
        let value = format!("{} at {}", published.value, published.owner);
        table.row(["still in DNS", &value]);
    }
    table.render("")
}
