//! Authorizations and their challenges (RFC 8555 sections 7.1.4 and 7.5): what they look like, how a challenge is
//! answered, and how an authorization is given up.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    identifier::Identifier,
    jws::Jws,
    order::whole,
    problem::Problem,
    reply::{Reply, rfc3339},
    server::Inner,
    state::{Authorization, AuthorizationStatus, Challenge, ChallengeStatus, State},
    validate,
};

/// The place of the `dns-01` challenge in the list. The other one has a type that nobody knows.
const DNS_01: usize = 0;
const UNKNOWN: usize = 1;

/// What the unknown challenge is called. It has no token, as with dns-persist-01.
const UNKNOWN_TYPE: &str = "sandbox-unknown-01";

#[derive(Deserialize)]
struct Update {
    status: String,
}

impl Inner {
    /// Makes a pending authorization for a name, which may begin with `*.`.
    pub(super) fn new_authorization(
        &self,
        state: &mut State,
        account: u64,
        name: &str,
        now: Timestamp,
    ) -> u64 {
        let id = state.next_id();
        let domain = name.strip_prefix("*.");
        state.authorizations.insert(
            id,
            Authorization {
                id,
                account,
                domain: domain.unwrap_or(name).to_owned(),
                wildcard: domain.is_some(),
                expires: whole(now + self.config.authz_lifetime),
                deactivated: false,
                challenge: Challenge {
                    token: URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()),
                    status: ChallengeStatus::Pending,
                    validated: None,
                    error: None,
                },
            },
        );
        id
    }

    /// POST-as-GET, or deactivation (RFC 8555 section 7.5.2).
    pub(super) fn authorization(&self, account: u64, id: u64, jws: &Jws) -> Result<Reply, Problem> {
        let now = self.now();
        let mut state = self.state();
        let authorization = state.own_authorization(account, id)?;
        if !jws.payload.is_empty() {
            let update: Update = jws.json()?;
            if update.status != "deactivated" {
                return Err(Problem::malformed(format!(
                    "status of an authorization cannot become \"{}\"",
                    update.status
                )));
            }
            match authorization.status(now) {
                AuthorizationStatus::Pending
                | AuthorizationStatus::Valid
                | AuthorizationStatus::Deactivated => {
                    authorization.deactivated = true;
                }
                status => {
                    return Err(Problem::malformed(format!(
                        "authorization is {status} and cannot be deactivated"
                    )));
                }
            }
        }
        let status = authorization.status(now);
        let mut challenges = Vec::new();
        // Only the challenge that was used stands in a finished one (RFC 8555 section 7.1.4).
        if status == AuthorizationStatus::Pending {
            challenges.push(self.challenge_object(authorization, UNKNOWN));
        }
        challenges.push(self.challenge_object(authorization, DNS_01));
        let mut object = json!({
            "status": status,
            "expires": rfc3339(authorization.expires),
            "identifier": Identifier::dns(authorization.domain.clone()),
            "challenges": challenges,
        });
        // RFC 8555 section 7.1.4: absent unless true.
        if authorization.wildcard {
            object["wildcard"] = true.into();
        }
        let unfinished = status == AuthorizationStatus::Pending;
        Ok(Reply::json(StatusCode::OK, &object)
            .with_retry_after(self.retry_after().filter(|_| unfinished)))
    }

    /// RFC 8555 section 7.5.1: `{}` starts the validation, and a POST-as-GET starts nothing.
    pub(super) fn answer_challenge(
        self: &Arc<Self>,
        account: u64,
        id: u64,
        index: usize,
        jws: &Jws,
    ) -> Result<(), Problem> {
        let now = self.now();
        let mut state = self.state();
        let thumbprint = state
            .accounts
            .get(&account)
            .map(|account| account.key.thumbprint().to_owned())
            .unwrap_or_default();
        let authorization = state.own_authorization(account, id)?;
        if index > UNKNOWN {
            return Err(Problem::not_found(format!(
                "authorization {id} has no challenge {index}"
            )));
        }
        if jws.payload.is_empty() {
            return Ok(());
        }
        if jws.payload != b"{}" {
            return Err(Problem::malformed(
                "payload of the answer to a challenge must be exactly {}",
            ));
        }
        if index == UNKNOWN {
            return Err(Problem::malformed(format!(
                "challenges of type \"{UNKNOWN_TYPE}\" cannot be answered"
            )));
        }
        match (authorization.status(now), authorization.challenge.status) {
            // Answering twice is harmless.
            (AuthorizationStatus::Pending, ChallengeStatus::Processing)
            | (AuthorizationStatus::Valid, _) => {
                return Ok(());
            }
            (AuthorizationStatus::Pending, _) => {}
            (status, _) => {
                return Err(Problem::malformed(format!(
                    "authorization is {status}, its challenge cannot be answered"
                )));
            }
        }
        authorization.challenge.status = ChallengeStatus::Processing;
        if self.faults().stuck_challenges {
            return Ok(());
        }
        // RFC 8555 section 8.4.
        let key_authorization = format!("{}.{thumbprint}", authorization.challenge.token);
        let expected = URL_SAFE_NO_PAD.encode(digest::digest(
            &digest::SHA256,
            key_authorization.as_bytes(),
        ));
        let domain = authorization.domain.clone();
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            let validation = validate::dns_01(&inner.resolver, &domain, &expected);
            if let Some(result) = inner.stop.run_until_cancelled(validation).await {
                inner.validated(id, result);
            }
        });
        Ok(())
    }

    /// Notes what a validation found.
    fn validated(&self, id: u64, result: Result<(), Problem>) {
        let result = match result {
            Ok(()) if self.faults().fails_validation() => Err(Problem::unauthorized(
                "During secondary validation: No TXT record found, by request",
            )),
            other => other,
        };
        let now = self.now();
        if let Some(authorization) = self.state().authorizations.get_mut(&id) {
            let challenge = &mut authorization.challenge;
            match result {
                Ok(()) => {
                    challenge.status = ChallengeStatus::Valid;
                    challenge.validated = Some(now);
                }
                Err(problem) => {
                    tracing::debug!("{}: {}", authorization.domain, problem.detail);
                    challenge.status = ChallengeStatus::Invalid;
                    challenge.error = Some(problem);
                }
            }
        }
        self.notify();
    }

    pub(super) fn challenge(&self, id: u64, index: usize) -> Result<Reply, Problem> {
        let state = self.state();
        let authorization = state
            .authorizations
            .get(&id)
            .ok_or_else(|| Problem::not_found(format!("there is no authorization {id}")))?;
        let object = self.challenge_object(authorization, index);
        let up = format!("<{}>;rel=\"up\"", self.authorization_url(id));
        let unfinished = authorization.is_validating();
        Ok(Reply::json(StatusCode::OK, &object)
            .with_header("link", up)
            .with_retry_after(self.retry_after().filter(|_| unfinished)))
    }

    fn challenge_object(&self, authorization: &Authorization, index: usize) -> Value {
        let url = format!("{}/acme/challenge/{}/{index}", self.base, authorization.id);
        if index == UNKNOWN {
            return json!({ "type": UNKNOWN_TYPE, "url": url, "status": "pending", "issuer-domain-names": [] });
        }
        let challenge = &authorization.challenge;
        let mut object = json!({
            "type": "dns-01",
            "url": url,
            "status": challenge.status,
            "token": challenge.token,
        });
        if let Some(at) = challenge.validated {
            object["validated"] = rfc3339(at).into();
        }
        if let Some(problem) = &challenge.error {
            object["error"] = json!(problem.document());
        }
        object
    }
}

impl State {
    fn own_authorization(&mut self, account: u64, id: u64) -> Result<&mut Authorization, Problem> {
        match self.authorizations.get_mut(&id) {
            Some(authorization) if authorization.account == account => Ok(authorization),
            Some(_) => Err(Problem::unauthorized(format!(
                "authorization {id} belongs to another account"
            ))),
            None => Err(Problem::not_found(format!(
                "there is no authorization {id}"
            ))),
        }
    }
}
