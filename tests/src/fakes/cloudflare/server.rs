//! Requests over HTTP: quota, credential, permission, and then what was asked for.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State as Extracted;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::auth::{self, Caller, Grant};
use super::record::Record;
use super::store::Held;
use super::wire::IdFirst;
use super::{FaultKind, LoggedRequest, Shared, State};

/// An error as the API shows it.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    chain: Option<(i64, String)>,
    code: i64,
    message: String,
    status: u16,
}

impl Problem {
    pub(super) fn new(status: u16, code: i64, message: &str) -> Self {
        Self {
            chain: None,
            code,
            message: message.to_owned(),
            status,
        }
    }

    pub(super) fn chained(status: u16, outer: (i64, &str), inner: (i64, &str)) -> Self {
        Self {
            chain: Some((inner.0, inner.1.to_owned())),
            ..Self::new(status, outer.0, outer.1)
        }
    }

    fn body(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message});
        if let (Some((code, message)), Some(error)) = (&self.chain, error.as_object_mut()) {
            let chain = json!([{"code": code, "message": message}]);
            error.insert("error_chain".to_owned(), chain);
        }
        json!({"success": false, "errors": [error], "messages": [], "result": null})
    }
}

/// What a request gets.
enum Good {
    Json(Value),
    Text(String),
}

impl Good {
    fn result(result: Value) -> Self {
        Self::Json(json!({"success": true, "errors": [], "messages": [], "result": result}))
    }
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new().fallback(serve).with_state(shared)
}

async fn serve(
    Extracted(shared): Extracted<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (caller, path) = uri
        .path()
        .split_once("/client/v4")
        .unwrap_or((uri.path(), ""));
    let claimed = auth::claimed(&headers);
    let mut logged = LoggedRequest {
        batch: match path.ends_with("/batch") {
            true => count_of(&body),
            false => 0,
        },
        body: String::from_utf8_lossy(&body).into_owned(),
        caller: caller.trim_start_matches('/').to_owned(),
        codes: Vec::new(),
        credential: claimed[claimed.len().saturating_sub(6)..].to_owned(),
        method: method.to_string(),
        path: path.to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        status: 0,
    };
    let mut state = shared.state();
    let own = auth::quota(&shared.options, &claimed);
    let ruling = state.quotas.rule(&claimed, own);
    let fault = match ruling.allowed {
        true => state.strike(method.as_str(), path),
        false => None,
    };
    if let Some(FaultKind::Answer(status, body)) = fault {
        logged.status = status;
        state.log.push(logged);
        let status = StatusCode::from_u16(status).expect("a status");
        return (status, body).into_response();
    }
    let lost = matches!(fault, Some(FaultKind::LoseAnswer));
    if let Some(fault) = fault {
        race(&mut state, fault);
    }
    let result = match ruling.allowed {
        true => answer(&shared, &mut state, &method, path, &logged, &headers, &body),
        false => Err(Problem::new(
            429,
            971,
            "Please wait and consider throttling your request speed",
        )),
    };
    state.store.publish();
    let status = match &result {
        Ok(_) => 200,
        Err(problem) => {
            let inner = problem.chain.iter().map(|(code, _)| *code);
            logged.codes = std::iter::once(problem.code).chain(inner).collect();
            problem.status
        }
    };
    logged.status = if lost { 0 } else { status };
    state.log.push(logged);
    drop(state);
    if lost {
        // A body that breaks off closes the connection.
        let broken = Err::<Bytes, io::Error>(io::ErrorKind::ConnectionReset.into());
        return Response::new(Body::from_stream(futures::stream::iter([broken])));
    }
    let mut response = match result {
        Ok(Good::Json(value)) => axum::Json(IdFirst(&value)).into_response(),
        Ok(Good::Text(text)) => text.into_response(),
        Err(problem) => axum::Json(problem.body()).into_response(),
    };
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in ruling.headers {
        let value = value.parse().expect("a header");
        response.headers_mut().insert(name, value);
    }
    response
}

/// What somebody else does just before.
fn race(state: &mut State, fault: FaultKind) {
    match fault {
        FaultKind::RaceAdd {
            content,
            name,
            zone,
        } => {
            let id = state.store.zone_named(&zone).expect("a zone").id.clone();
            let record = json!({"type": "TXT", "name": name, "content": content, "ttl": 120});
            state.store.create(&id, &record).expect("a good record");
        }
        FaultKind::RaceRemove { name, zone } => {
            let there = state.store.records_of(&zone).into_iter();
            for record in there.filter(|r| r.name == name && r.kind == "TXT") {
                state.store.remove_everywhere(&record.id);
            }
        }
        FaultKind::Answer(..) | FaultKind::LoseAnswer => {}
    }
}

fn count_of(body: &[u8]) -> usize {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let lists = ["deletes", "patches", "puts", "posts"].into_iter();
    lists
        .filter_map(|key| body.get(key)?.as_array().map(Vec::len))
        .sum()
}

fn answer(
    shared: &Shared,
    state: &mut State,
    method: &Method,
    path: &str,
    logged: &LoggedRequest,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Good, Problem> {
    if path == "/user/tokens/verify" {
        let status = auth::verify(&shared.options, headers)?;
        let mut result = json!({"id": "e".repeat(32), "status": status});
        if status == "expired" {
            result["expires_on"] = json!("2026-01-01T00:00:00Z");
        }
        return Ok(Good::result(result));
    }
    let caller = auth::authenticate(&shared.options, headers)?;
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let params = parameters(&logged.query);
    match (method.as_str(), segments.as_slice()) {
        ("GET", ["zones"]) => list_zones(state, &caller, &params),
        (_, ["zones", id, rest @ ..]) => {
            if !is_id(id) {
                return Err(unroutable(path));
            }
            let forbidden = match rest {
                [] => Problem::new(403, 9109, "Unauthorized to access requested resource"),
                _ => Problem::new(403, 10000, "Authentication error"),
            };
            let Some(held) = state.store.zone(id).cloned() else {
                return Err(match caller {
                    Caller::User => Problem::new(404, 1001, "Invalid zone identifier"),
                    Caller::Token(_) => forbidden,
                });
            };
            let grant = match (rest, method) {
                ([], _) => Grant::ZoneRead,
                (_, &Method::GET) => Grant::DnsRead,
                _ => Grant::DnsEdit,
            };
            if !caller.may(held.zone.name(), grant) {
                return Err(forbidden);
            }
            let json = || {
                let kind = headers.get("content-type").and_then(|v| v.to_str().ok());
                serde_json::from_slice::<Value>(body)
                    .ok()
                    .filter(|v| {
                        v.is_object() && kind.is_some_and(|k| k.starts_with("application/json"))
                    })
                    .ok_or_else(|| Problem::new(400, 6007, "Malformed JSON in request body"))
            };
            match (method.as_str(), rest) {
                ("GET", []) => Ok(Good::result(held.json())),
                ("GET", ["dns_records"]) => list_records(&held, &params),
                ("POST", ["dns_records"]) => state
                    .store
                    .create(id, &json()?)
                    .map(|record| Good::result(record.json())),
                ("GET", ["dns_records", "export"]) => Ok(Good::Text(held.export())),
                ("POST", ["dns_records", "batch"]) if !shared.options.without_batches => {
                    state.store.batch(id, &json()?).map(Good::result)
                }
                (_, ["dns_records", record]) if !is_id(record) => Err(unroutable(path)),
                ("GET", ["dns_records", record]) => held
                    .records
                    .iter()
                    .find(|r| r.id == *record)
                    .map(|r| Good::result(r.json()))
                    .ok_or_else(|| Problem::new(404, 81044, "Record does not exist.")),
                ("PATCH", ["dns_records", record]) => state
                    .store
                    .replace(id, record, &json()?, true)
                    .map(|record| Good::result(record.json())),
                ("PUT", ["dns_records", record]) => state
                    .store
                    .replace(id, record, &json()?, false)
                    .map(|record| Good::result(record.json())),
                ("DELETE", ["dns_records", record]) => state
                    .store
                    .delete(id, record)
                    .map(|record| Good::result(json!({"id": record.id}))),
                _ => Err(unroutable(path)),
            }
        }
        _ => Err(unroutable(path)),
    }
}

fn list_zones(
    state: &State,
    caller: &Caller,
    params: &BTreeMap<String, String>,
) -> Result<Good, Problem> {
    known(
        params,
        &[
            "account.id",
            "account.name",
            "direction",
            "match",
            "name",
            "order",
            "page",
            "per_page",
            "status",
            "type",
        ],
    )?;
    if !caller.may_anywhere(Grant::ZoneRead) {
        return Err(Problem::new(
            403,
            9109,
            "Unauthorized to access requested resource",
        ));
    }
    let wanted = |key: &str, value: &Value| {
        params
            .get(key)
            .is_none_or(|wanted| value.as_str() == Some(wanted.as_str()))
    };
    let mut zones: Vec<&Held> = state
        .store
        .zones()
        .iter()
        .filter(|held| caller.may(held.zone.name(), Grant::ZoneRead))
        .filter(|held| {
            let json = held.json();
            wanted("name", &json["name"]) && wanted("status", &json["status"])
        })
        .collect();
    zones.sort_by_key(|held| held.zone.name().to_owned());
    paged(
        zones.iter().map(|held| held.json()).collect(),
        params,
        20,
        50,
    )
}

fn list_records(held: &Held, params: &BTreeMap<String, String>) -> Result<Good, Problem> {
    const FIELDS: [&str; 3] = ["comment", "content", "name"];
    const WAYS: [&str; 4] = ["contains", "endswith", "exact", "startswith"];
    let mut keys: Vec<String> = ["direction", "match", "order", "page", "per_page", "type"]
        .map(str::to_owned)
        .to_vec();
    keys.extend(FIELDS.map(str::to_owned));
    keys.extend(
        FIELDS
            .iter()
            .flat_map(|field| WAYS.map(|way| format!("{field}.{way}"))),
    );
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    known(params, &keys)?;
    let any = params.get("match").is_some_and(|m| m == "any");
    let matches = |record: &Record| {
        let mut tests = params.iter().filter_map(|(key, wanted)| {
            let (field, way) = key.split_once('.').unwrap_or((key, "exact"));
            let value = match field {
                "comment" => record
                    .comment
                    .clone()
                    .unwrap_or_default()
                    .to_ascii_lowercase(),
                "content" => record.content.to_ascii_lowercase(),
                "name" => record.name.clone(),
                "type" => record.kind.to_ascii_lowercase(),
                _ => return None,
            };
            let wanted = wanted.to_ascii_lowercase();
            Some(match way {
                "contains" => value.contains(&wanted),
                "endswith" => value.ends_with(&wanted),
                "startswith" => value.starts_with(&wanted),
                _ => value == wanted,
            })
        });
        match any {
            true => tests.any(|hit| hit),
            false => tests.all(|hit| hit),
        }
    };
    let mut records: Vec<&Record> = held.records.iter().filter(|r| matches(r)).collect();
    records.sort_by_key(|r| (r.kind.clone(), r.name.clone(), r.content.clone()));
    if params.get("direction").is_some_and(|d| d == "desc") {
        records.reverse();
    }
    let json = records.iter().map(|r| r.json()).collect();
    paged(json, params, 100, 5_000_000)
}

fn paged(
    all: Vec<Value>,
    params: &BTreeMap<String, String>,
    default: usize,
    most: usize,
) -> Result<Good, Problem> {
    let number = |key: &str, default: usize| match params.get(key) {
        None => Ok(default),
        Some(text) => text
            .parse::<usize>()
            .ok()
            .filter(|n| *n >= 1)
            .ok_or_else(|| Problem::new(400, 1004, &format!("{key} is no number"))),
    };
    let page = number("page", 1)?;
    let per_page = number("per_page", default)?;
    if per_page > most {
        let words = format!("per_page must be at most {most}");
        return Err(Problem::new(400, 1004, &words));
    }
    let total = all.len();
    let result: Vec<Value> = all
        .into_iter()
        .skip((page - 1) * per_page)
        .take(per_page)
        .collect();
    Ok(Good::Json(json!({
        "success": true,
        "errors": [],
        "messages": [],
        "result_info": {
            "page": page,
            "per_page": per_page,
            "count": result.len(),
            "total_count": total,
            "total_pages": total.div_ceil(per_page),
        },
        "result": result,
    })))
}

fn known(params: &BTreeMap<String, String>, keys: &[&str]) -> Result<(), Problem> {
    match params.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => Err(Problem::new(
            400,
            0,
            &format!("the fake knows no parameter {key}"),
        )),
        None => Ok(()),
    }
}

fn parameters(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key), decoded(value))
        })
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let text = String::from_utf8_lossy(&digits).into_owned();
                bytes.push(u8::from_str_radix(&text, 16).unwrap_or(b'?'));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn unroutable(path: &str) -> Problem {
    let words =
        format!("Could not route to /client/v4{path}, perhaps your object identifier is invalid?");
    Problem::chained(400, (7003, &words), (7000, "No route for that URI"))
}

fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}
