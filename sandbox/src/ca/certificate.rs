//! Certificates: download with alternate chains (RFC 8555 section 7.4.2), and revocation (section 7.6).

use http::StatusCode;
use serde::Deserialize;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    fault::Tamper,
    issue,
    jws::{self, Jws},
    problem::{ErrorKind, Problem},
    reply::Reply,
    server::{Inner, Signer},
    state::{IssuedEntry, Revocation},
};

/// What subscribers may say: unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation.
const REASONS: [u8; 5] = [0, 1, 3, 4, 5];

const KEY_COMPROMISE: u8 = 1;

#[derive(Deserialize)]
struct Revoke {
    certificate: String,
    reason: Option<i64>,
}

impl Inner {
    /// Chain 0 is the default and has no number in its URL.
    pub(super) fn certificate_url(&self, id: u64, chain: usize) -> String {
        match chain {
            0 => format!("{}/acme/cert/{id}", self.base),
            _ => format!("{}/acme/cert/{id}/{chain}", self.base),
        }
    }

    pub(super) fn certificate(
        &self,
        account: u64,
        id: u64,
        chain: usize,
    ) -> Result<Reply, Problem> {
        let (leaf, issuers) = {
            let state = self.state();
            let entry = state
                .certificates
                .get(&id)
                .ok_or_else(|| Problem::not_found(format!("there is no certificate {id}")))?;
            if entry.account != account {
                return Err(Problem::unauthorized(format!(
                    "certificate {id} belongs to another account"
                )));
            }
            let issuers = self.hierarchy.chain_pem(chain).ok_or_else(|| {
                Problem::not_found(format!("there is no alternate chain {chain}"))
            })?;
            let tamper = self.faults().tamper;
            (self.leaf(entry, tamper)?, issuers)
        };
        let mut pem = format!("{leaf}{issuers}");
        if self.faults().tamper == Some(Tamper::Truncated) {
            pem.truncate(pem.len() / 2);
        }
        let mut reply = Reply::pem(pem);
        for other in (0..=self.hierarchy.alternates()).filter(|other| *other != chain) {
            reply = reply.with_header(
                "link",
                format!("<{}>;rel=\"alternate\"", self.certificate_url(id, other)),
            );
        }
        Ok(reply)
    }

    /// The first certificate of a chain, as it should be or as a fault wants it.
    fn leaf(&self, entry: &IssuedEntry, tamper: Option<Tamper>) -> Result<String, Problem> {
        let failed = |err: rcgen::Error| {
            Problem::internal(format!("failed to make a wrong certificate: {err}"))
        };
        let good = certificate_pem(&entry.der);
        match tamper {
            None | Some(Tamper::Truncated) => Ok(good),
            Some(Tamper::PrivateKey) => {
                Ok(good + &issue::throwaway_key().map_err(failed)?.serialize_pem())
            }
            Some(Tamper::ForeignLeaf) => {
                let key = issue::throwaway_key().map_err(failed)?;
                self.hierarchy
                    .issue(&key, &entry.names, entry.not_before, entry.not_after)
                    .map(|leaf| certificate_pem(&leaf.der))
                    .map_err(failed)
            }
            Some(Tamper::OtherNames) => {
                let internal = |err: String| {
                    Problem::internal(format!("own certificate does not parse: {err}"))
                };
                let (_, parsed) = X509Certificate::from_der(&entry.der)
                    .map_err(|err| internal(err.to_string()))?;
                let key = rcgen::SubjectPublicKeyInfo::from_der(parsed.public_key().raw)
                    .map_err(failed)?;
                let names = ["other-names.example".to_owned()];
                self.hierarchy
                    .issue(&key, &names, entry.not_before, entry.not_after)
                    .map(|leaf| certificate_pem(&leaf.der))
                    .map_err(failed)
            }
        }
    }

    /// By the account that ordered it, by an account that is authorized for all of its names, or by its own key.
    pub(super) fn revoke(&self, signer: &Signer, jws: &Jws) -> Result<Reply, Problem> {
        let payload: Revoke = jws.json()?;
        let der = jws::decode(&payload.certificate, "certificate")?;
        let (rest, parsed) = X509Certificate::from_der(&der)
            .map_err(|err| Problem::malformed(format!("certificate: {err}")))?;
        if !rest.is_empty() {
            return Err(Problem::malformed("octets follow the certificate"));
        }
        let now = self.now();
        let mut state = self.state();
        let Some(entry) = state.certificates.values().find(|entry| entry.der == der) else {
            return Err(Problem::not_found("certificate was not issued by this CA"));
        };
        let by_key = match signer {
            Signer::Key(key) if key.is_key_of(parsed.public_key()) => true,
            Signer::Key(_) => {
                return Err(Problem::unauthorized(
                    "key that signed the request is not the key of the certificate",
                ));
            }
            Signer::Account(account, _) if *account == entry.account => false,
            Signer::Account(account, _) => {
                let missing = entry
                    .names
                    .iter()
                    .find(|name| !state.is_authorized(*account, name, now));
                if let Some(name) = missing {
                    return Err(Problem::unauthorized(format!(
                        "account did not order the certificate, and has no valid authorization for {name}"
                    )));
                }
                false
            }
        };
        let reason = match payload.reason {
            None => None,
            Some(code) => match u8::try_from(code) {
                Ok(code) if REASONS.contains(&code) => Some(code),
                _ => {
                    return Err(Problem::new(
                        ErrorKind::BadRevocationReason,
                        format!("reason {code} is not allowed, use one of {REASONS:?}"),
                    ));
                }
            },
        };
        if entry.revoked.is_some() {
            return Err(Problem::new(
                ErrorKind::AlreadyRevoked,
                "certificate is revoked already",
            ));
        }
        let id = entry.id;
        if let Some(entry) = state.certificates.get_mut(&id) {
            entry.revoked = Some(Revocation {
                at: now,
                // Who has the key and not the account shows that the key is in other hands.
                reason: if by_key { Some(KEY_COMPROMISE) } else { reason },
            });
        }
        Ok(Reply::empty(StatusCode::OK))
    }
}

fn certificate_pem(der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", der), config)
}
