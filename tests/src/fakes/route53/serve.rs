//! The API itself: who asks for what, whether they may, and the answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State as Shared};
use axum::http::{Method, Response, Uri};
use jiff::Timestamp;

use super::answer::{Refusal, Xml};
use super::batch::{self, Change, Verb};
use super::sets::{RecordSet, SetKey, canonical, reversed};
use super::state::{HostedZone, State};
use super::{Policy, auth};

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Close the connection instead of an answer, and do nothing.
    Close,
    /// Do what is asked, and close the connection instead of an answer.
    LoseAnswer,
    /// Refuse with this status, code and message, and do nothing.
    Refuse(u16, &'static str, &'static str),
}

/// One request.
#[derive(Clone, Debug)]
pub struct LoggedCall {
    /// The action without `route53:`.
    pub action: &'static str,
    /// When it came.
    pub at: Instant,
    /// The changes of a batch, such as `CREATE a.test. TXT`.
    pub changes: Vec<String>,
    /// The code that it was refused with; empty if it was done.
    pub code: String,
    /// Who signed it.
    pub key_id: String,
    /// Path, query and body: the same for a request that is repeated.
    pub request: String,
}

pub(super) fn router(state: Arc<Mutex<State>>) -> Router {
    Router::new().fallback(handle).with_state(state)
}

async fn handle(Shared(state): Shared<Arc<Mutex<State>>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let mut state = state.lock().unwrap();
    let request = state.id('R');
    let Some(call) = Call::of(&parts.method, &parts.uri) else {
        return Refusal::sender(404, "UnknownOperationException", "no such path").answer(&request);
    };
    let mut logged = LoggedCall {
        action: call.action,
        at: Instant::now(),
        changes: Vec::new(),
        code: String::new(),
        key_id: String::new(),
        request: format!("{} {}", parts.uri, String::from_utf8_lossy(&body)),
    };
    let fault = {
        let index = state
            .faults
            .iter()
            .position(|(action, _)| action == call.action);
        index.map(|index| state.faults.remove(index).1)
    };
    let result = match fault {
        Some(Fault::Close) => Err(Refusal::sender(500, CLOSED, "")),
        Some(Fault::Refuse(status, code, message)) => Err(Refusal::sender(status, code, message)),
        Some(Fault::LoseAnswer) | None => auth::signer(&parts, &body, &state.options.keys)
            .and_then(|key_id| {
                logged.key_id = key_id;
                if !state.within_rate() {
                    return Err(Refusal::sender(400, "Throttling", "Rate exceeded"));
                }
                let body = String::from_utf8_lossy(&body);
                let changes = match call.action {
                    "ChangeResourceRecordSets" => batch::parse(&body)?,
                    _ => Vec::new(),
                };
                logged.changes = changes
                    .iter()
                    .map(|c| format!("{} {} {}", c.verb.name(), c.set.name, c.set.rtype))
                    .collect();
                call.permitted(&state, &changes)?;
                call.answer(&mut state, &changes)
            }),
    };
    logged.code = match &result {
        Ok(_) => String::new(),
        Err(refusal) => refusal.code.to_owned(),
    };
    state.log.push(logged);
    match result {
        _ if fault == Some(Fault::LoseAnswer) => closed(),
        Err(refusal) if refusal.code == CLOSED => closed(),
        Ok(xml) => xml.answer(200, &request),
        Err(refusal) => refusal.answer(&request),
    }
}

/// An answer that breaks off before it has begun.
fn closed() -> Response<Body> {
    let broken = futures::stream::once(async { Err::<&[u8], _>(std::io::Error::other("closed")) });
    Response::new(Body::from_stream(broken))
}

struct Call {
    action: &'static str,
    /// The ID in the path.
    id: String,
    query: HashMap<String, String>,
}

impl Call {
    fn of(method: &Method, uri: &Uri) -> Option<Self> {
        let path = uri
            .path()
            .strip_prefix("/2013-04-01/")?
            .trim_end_matches('/');
        let parts: Vec<&str> = path.split('/').collect();
        let (action, id) = match (method.as_str(), parts.as_slice()) {
            ("GET", ["change", id]) => ("GetChange", *id),
            ("GET", ["hostedzone"]) => ("ListHostedZones", ""),
            ("GET", ["hostedzone", id]) => ("GetHostedZone", *id),
            ("GET", ["hostedzone", id, "rrset"]) => ("ListResourceRecordSets", *id),
            ("GET", ["hostedzonesbyname"]) => ("ListHostedZonesByName", ""),
            ("POST", ["hostedzone", id, "rrset"]) => ("ChangeResourceRecordSets", *id),
            _ => return None,
        };
        let url = reqwest::Url::parse(&format!("http://fake{uri}")).ok()?;
        Some(Self {
            action,
            id: id.to_owned(),
            query: url.query_pairs().into_owned().collect(),
        })
    }

    fn permitted(&self, state: &State, changes: &[Change]) -> Result<(), Refusal> {
        let action = format!("route53:{}", self.action);
        let resource = match self.action {
            "GetChange" => format!("arn:aws:route53:::change/{}", self.id),
            _ if self.id.is_empty() => "*".to_owned(),
            _ => format!("arn:aws:route53:::hostedzone/{}", self.id),
        };
        let least = match self.action {
            "ChangeResourceRecordSets" => changes.iter().all(|change| {
                change.set.rtype == "TXT"
                    && change.set.name.starts_with("_acme-challenge.")
                    && change.verb != Verb::Upsert
            }),
            "ListHostedZonesByName" | "GetChange" | "ListResourceRecordSets" => true,
            _ => false,
        };
        let allowed = least || state.policy == Policy::Everything;
        if allowed && !state.denied.contains(&action) {
            return Ok(());
        }
        let on = match resource.as_str() {
            "*" => String::new(),
            resource => format!(" on resource: {resource}"),
        };
        Err(Refusal::sender(
            403,
            "AccessDenied",
            format!(
                "User: arn:aws:iam::123456789012:user/dnseal is not authorized to perform: {action}{on} because no identity-based policy allows the {action} action"
            ),
        ))
    }

    fn answer(&self, state: &mut State, changes: &[Change]) -> Result<Xml, Refusal> {
        match self.action {
            "ChangeResourceRecordSets" => {
                self.zone(state)?;
                let id = state.change(&self.id, changes)?;
                let mut xml = Xml::new("ChangeResourceRecordSetsResponse");
                change_info(&mut xml, &id, false);
                Ok(xml)
            }
            "GetChange" => {
                let Some(at) = state.changes.get(&self.id) else {
                    return Err(Refusal::sender(
                        404,
                        "NoSuchChange",
                        format!("Could not find resource with ID: {}", self.id),
                    ));
                };
                let done = *at + state.options.propagation <= state.now();
                let mut xml = Xml::new("GetChangeResponse");
                change_info(&mut xml, &self.id, done);
                Ok(xml)
            }
            "GetHostedZone" => {
                let zone = self.zone(state)?;
                let mut xml = Xml::new("GetHostedZoneResponse");
                hosted_zone(&mut xml, &self.id, zone);
                if !zone.private {
                    let servers = zone.sets.values().filter(|set| set.rtype == "NS");
                    xml.open("DelegationSet").open("NameServers");
                    for server in servers.flat_map(|set| &set.values) {
                        // Zones of one name have different servers.
                        xml.leaf("NameServer", format!("{}.{server}", self.id.to_lowercase()));
                    }
                    xml.close("NameServers").close("DelegationSet");
                }
                Ok(xml)
            }
            "ListHostedZones" => self.zones_by_id(state),
            "ListHostedZonesByName" => self.zones_by_name(state),
            _ => self.record_sets(state),
        }
    }

    fn zones_by_id(&self, state: &State) -> Result<Xml, Refusal> {
        let most = self.most(100)?;
        let marker = self.query.get("marker").cloned().unwrap_or_default();
        let mut zones = state.zones.range(marker.clone()..);
        let mut xml = Xml::new("ListHostedZonesResponse");
        xml.open("HostedZones");
        for (id, zone) in zones.by_ref().take(most) {
            hosted_zone(&mut xml, id, zone);
        }
        let next = zones.next();
        xml.close("HostedZones").leaf("Marker", marker);
        xml.leaf("IsTruncated", next.is_some());
        if let Some((id, _)) = next {
            xml.leaf("NextMarker", id);
        }
        xml.leaf("MaxItems", most);
        Ok(xml)
    }

    fn zones_by_name(&self, state: &State) -> Result<Xml, Refusal> {
        let most = self.most(100)?;
        let from_name = self.query.get("dnsname");
        let from_id = self.query.get("hostedzoneid");
        if from_name.is_none() && from_id.is_some() {
            return Err(Refusal::sender(400, "InvalidInput", "dnsname is missing"));
        }
        let mut zones: Vec<(String, &String, &HostedZone)> = state
            .zones
            .iter()
            .map(|(id, zone)| (reversed(&zone.name), id, zone))
            .collect();
        zones.sort_unstable_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        let from = (
            from_name
                .map(|name| reversed(&canonical(name)))
                .unwrap_or_default(),
            from_id.cloned().unwrap_or_default(),
        );
        zones.retain(|(name, id, _)| (name, *id) >= (&from.0, &from.1));
        let mut xml = Xml::new("ListHostedZonesByNameResponse");
        xml.open("HostedZones");
        for (_, id, zone) in zones.iter().take(most) {
            hosted_zone(&mut xml, id, zone);
        }
        xml.close("HostedZones");
        if let Some(name) = from_name {
            xml.leaf("DNSName", canonical(name));
        }
        if let Some(id) = from_id {
            xml.leaf("HostedZoneId", id);
        }
        let next = zones.get(most);
        xml.leaf("IsTruncated", next.is_some());
        if let Some((_, id, zone)) = next {
            xml.leaf("NextDNSName", &zone.name)
                .leaf("NextHostedZoneId", id);
        }
        xml.leaf("MaxItems", most);
        Ok(xml)
    }

    fn record_sets(&self, state: &State) -> Result<Xml, Refusal> {
        let most = self.most(300)?;
        let zone = self.zone(state)?;
        let text = |name: &str| self.query.get(name).cloned();
        if text("type").is_some() && text("name").is_none() {
            return Err(Refusal::sender(
                400,
                "InvalidInput",
                "The input is not valid: type without name",
            ));
        }
        let from = SetKey {
            name: text("name")
                .map(|name| reversed(&canonical(&name)))
                .unwrap_or_default(),
            rtype: text("type").unwrap_or_default(),
            set_identifier: text("identifier").unwrap_or_default(),
        };
        let mut sets = zone.sets.range(from..).map(|(_, set)| set);
        let mut xml = Xml::new("ListResourceRecordSetsResponse");
        xml.open("ResourceRecordSets");
        for set in sets.by_ref().take(most) {
            record_set(&mut xml, set);
        }
        xml.close("ResourceRecordSets");
        let next = sets.next();
        xml.leaf("IsTruncated", next.is_some())
            .leaf("MaxItems", most);
        if let Some(set) = next {
            xml.leaf("NextRecordName", &set.name)
                .leaf("NextRecordType", &set.rtype);
            if let Some(id) = &set.set_identifier {
                xml.leaf("NextRecordIdentifier", id);
            }
        }
        Ok(xml)
    }

    fn zone<'a>(&self, state: &'a State) -> Result<&'a HostedZone, Refusal> {
        state.zones.get(&self.id).ok_or_else(|| {
            Refusal::sender(
                404,
                "NoSuchHostedZone",
                format!("No hosted zone found with ID: {}", self.id),
            )
        })
    }

    fn most(&self, most: usize) -> Result<usize, Refusal> {
        match self.query.get("maxitems").map(|text| text.parse::<usize>()) {
            None => Ok(most),
            Some(Ok(given)) if given > 0 => Ok(given.min(most)),
            Some(_) => Err(Refusal::sender(
                400,
                "InvalidInput",
                "maxitems is no number",
            )),
        }
    }
}

fn hosted_zone(xml: &mut Xml, id: &str, zone: &HostedZone) {
    xml.open("HostedZone")
        .leaf("Id", format!("/hostedzone/{id}"))
        .leaf("Name", &zone.name)
        .leaf("CallerReference", id)
        .open("Config")
        .leaf("PrivateZone", zone.private)
        .close("Config")
        .leaf("ResourceRecordSetCount", zone.sets.len())
        .close("HostedZone");
}

fn record_set(xml: &mut Xml, set: &RecordSet) {
    xml.open("ResourceRecordSet")
        .leaf("Name", &set.name)
        .leaf("Type", &set.rtype);
    if let Some(id) = &set.set_identifier {
        xml.leaf("SetIdentifier", id);
    }
    if let Some(weight) = set.weight {
        xml.leaf("Weight", weight);
    }
    if set.multivalue {
        xml.leaf("MultiValueAnswer", true);
    }
    xml.leaf("TTL", set.ttl).open("ResourceRecords");
    for value in &set.values {
        xml.open("ResourceRecord")
            .leaf("Value", value)
            .close("ResourceRecord");
    }
    xml.close("ResourceRecords").close("ResourceRecordSet");
}

fn change_info(xml: &mut Xml, id: &str, done: bool) {
    xml.open("ChangeInfo")
        .leaf("Id", format!("/change/{id}"))
        .leaf("Status", if done { "INSYNC" } else { "PENDING" })
        .leaf("SubmittedAt", Timestamp::now())
        .close("ChangeInfo");
}

const CLOSED: &str = "(closed)";
