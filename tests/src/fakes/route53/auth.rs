//! Signatures (AWS Signature Version 4), computed anew from the request as it came, without any of the SDK's code.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use axum::http::request::Parts;
use jiff::Timestamp;

use super::answer::Refusal;

/// How far a client's clock may be off.
const SKEW: Duration = Duration::from_secs(300);

/// The access key that signed a request.
pub(super) fn signer(
    parts: &Parts,
    body: &[u8],
    keys: &[(String, String)],
) -> Result<String, Refusal> {
    let refuse = |code, message: &str| Err(Refusal::sender(403, code, message));
    let header = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let Some(authorization) = header("authorization") else {
        return refuse(
            "MissingAuthenticationToken",
            "Request is missing Authentication Token",
        );
    };
    let fields = authorization
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .map(fields)
        .unwrap_or_default();
    let (Some(credential), Some(signed), Some(signature), Some(date)) = (
        fields.get("Credential"),
        fields.get("SignedHeaders"),
        fields.get("Signature"),
        header("x-amz-date"),
    ) else {
        return refuse("IncompleteSignature", "Authorization header is incomplete");
    };
    let [id, day, region, service, "aws4_request"] = credential.split('/').collect::<Vec<_>>()[..]
    else {
        return refuse("IncompleteSignature", "Credential is no scope");
    };
    let Some((_, secret)) = keys.iter().find(|(known, _)| known == id) else {
        return refuse(
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
        );
    };
    if region != "us-east-1" || service != "route53" || !date.starts_with(day) {
        return refuse(
            "SignatureDoesNotMatch",
            "Credential should be scoped to a valid region, not another one.",
        );
    }
    for needed in ["host", "x-amz-date"] {
        if !signed.split(';').any(|name| name == needed) {
            return refuse(
                "SignatureDoesNotMatch",
                "'Host' and 'X-Amz-Date' must be signed",
            );
        }
    }
    if skew(date).is_none_or(|skew| skew > SKEW) {
        return refuse("SignatureDoesNotMatch", "Signature expired");
    }

    let mut canonical = format!("{}\n{}\n{}\n", parts.method, parts.uri.path(), query(parts));
    for name in signed.split(';') {
        let value = header(name).unwrap_or_default();
        let value: Vec<&str> = value.split_whitespace().collect();
        canonical.push_str(&format!("{name}:{}\n", value.join(" ")));
    }
    canonical.push_str(&format!("\n{signed}\n{}", hash(body)));
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
        hash(canonical.as_bytes())
    );
    let mut key = mac(format!("AWS4{secret}").as_bytes(), day);
    for part in [region, service, "aws4_request"] {
        key = mac(&key, part);
    }
    match hex(&mac(&key, &to_sign)) == *signature {
        true => Ok(id.to_owned()),
        false => refuse(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        ),
    }
}

fn fields(text: &str) -> BTreeMap<&str, &str> {
    text.split(',')
        .filter_map(|field| field.trim().split_once('='))
        .collect()
}

/// The parameters in the order of their names; clients have escaped them already.
fn query(parts: &Parts) -> String {
    let mut pairs: Vec<(&str, &str)> = parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// How far a date such as `20261121T190000Z` is from now.
fn skew(date: &str) -> Option<Duration> {
    let (day, time) = date.strip_suffix('Z')?.split_once('T')?;
    let (year, month, day) = (day.get(..4)?, day.get(4..6)?, day.get(6..)?);
    let (hour, minute, second) = (time.get(..2)?, time.get(2..4)?, time.get(4..)?);
    let date: Timestamp = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")
        .parse()
        .ok()?;
    Duration::try_from(date.duration_until(Timestamp::now()).abs()).ok()
}

fn mac(key: &[u8], data: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, data.as_bytes()).as_ref().to_vec()
}

fn hash(data: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, data).as_ref())
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
