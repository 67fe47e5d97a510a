//! What went wrong with a call, in the contract's words: who may not do what, who asks to wait, what was refused.
//!
//! The SDK's own messages bury the server's words; here they come first. A right that is missing is told with the IAM action, the
//! resource and a policy that grants it and nothing else.

use std::error::Error;
use std::fmt::Display;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_route53::error::ProvideErrorMetadata;
use aws_sdk_route53::error::SdkError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use dnseal_core::dns::ProviderError;

use crate::route53::policy;

/// What a failed request means for the next one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// Another change of the zone is under way; the same request can be repeated soon.
    Busy,
    /// It would fail again.
    GiveUp,
    /// Too many requests of the account; everybody has to slow down.
    SlowDown,
    /// No answer, or one that tells of trouble at the server.
    TryAgain,
}

impl Next {
    pub(super) fn after<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Self {
        match error {
            SdkError::ServiceError(answer) => match code(error) {
                "PriorRequestNotComplete" => Self::Busy,
                "Throttling"
                | "ThrottlingException"
                | "RequestLimitExceeded"
                | "TooManyRequestsException"
                | "SlowDown"
                | "BandwidthLimitExceeded" => Self::SlowDown,
                _ if answer.raw().status().as_u16() == 429 => Self::SlowDown,
                _ if answer.raw().status().is_server_error() => Self::TryAgain,
                _ => Self::GiveUp,
            },
            SdkError::TimeoutError(_) => Self::TryAgain,
            SdkError::DispatchFailure(failure) if failure.is_timeout() || failure.is_io() => {
                Self::TryAgain
            }
            SdkError::ResponseError(answer) => match answer.raw().status().is_client_error() {
                true => Self::GiveUp,
                false => Self::TryAgain,
            },
            _ => Self::GiveUp,
        }
    }
}

/// The server's word for an error; empty where it did not answer.
pub(super) fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> &str {
    error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code)
        .unwrap_or_default()
}

/// The server's words.
pub(super) fn words<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> String {
    let message = error.as_service_error().and_then(|e| e.message());
    let message = message.map(|words| words.trim_end_matches('.'));
    match (message, code(error)) {
        (Some(message), "") => message.to_owned(),
        (Some(message), code) => format!("{code}: {message}"),
        (None, "") => error.raw_response().map_or_else(
            || "no words at all".to_owned(),
            |answer| format!("HTTP status {}", answer.status().as_u16()),
        ),
        (None, code) => code.to_owned(),
    }
}

/// What is asked, for what a refusal has to say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The IAM action without `route53:`.
    pub(super) action: &'static str,
    pub(super) endpoint: &'a str,
    /// The profile that credentials come from, where one is set.
    pub(super) profile: Option<&'a str>,
    /// The hosted zone, where the request is about one.
    pub(super) zone: Option<&'a str>,
}

impl Asked<'_> {
    /// The contract's error for one of the SDK's.
    pub(super) fn failed<E>(&self, error: &SdkError<E, HttpResponse>) -> ProviderError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        if let Some(unsigned) = cause::<CredentialsError>(error) {
            return self.unsigned(unsigned);
        }
        let endpoint = self.endpoint.to_owned();
        if error
            .raw_response()
            .is_some_and(|answer| answer.status().is_success())
        {
            return ProviderError::Unreachable {
                detail: "what came is no answer of this API, but perhaps of a proxy or login page in between".to_owned(),
                endpoint,
            };
        }
        let detail = words(error);
        match (Next::after(error), code(error)) {
            (Next::SlowDown | Next::Busy, _) => ProviderError::RateLimited {
                detail,
                endpoint,
                retry_after: None,
            },
            (Next::TryAgain, _) => ProviderError::Unreachable {
                detail: match error {
                    SdkError::ServiceError(_) => detail,
                    _ => innermost(error),
                },
                endpoint,
            },
            (Next::GiveUp, "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation") => {
                ProviderError::Credentials {
                    hint: Some(policy::hint(self.action, self.zone, &detail)),
                    detail,
                    endpoint,
                }
            }
            (Next::GiveUp, code) if UNTRUSTED.contains(&code) => ProviderError::Credentials {
                hint: Some(advice(code).to_owned()),
                detail,
                endpoint,
            },
            (Next::GiveUp, "NoSuchHostedZone") => ProviderError::Misconfigured {
                detail: format!(
                    "{endpoint} holds no hosted zone {} in this account: {detail}",
                    self.zone.unwrap_or_default()
                ),
                hint: Some("look the ID up with `aws route53 list-hosted-zones`".to_owned()),
            },
            (Next::GiveUp, _) => ProviderError::Refused {
                detail: match error {
                    SdkError::ServiceError(_) => detail,
                    _ => innermost(error),
                },
                endpoint,
                hint: None,
            },
        }
    }

    fn unsigned(&self, error: &CredentialsError) -> ProviderError {
        // The chain says a line for each place where it has looked.
        let detail = chain(error).join(": ").replace(NOT_ENABLED, "");
        let lines: Vec<&str> = detail.lines().map(str::trim).collect();
        let detail = lines.join("; ").replace(":; ", ": ");
        let (from, hint) = match self.profile {
            Some(profile) => (
                format!("from the profile `{profile}`"),
                format!("look at it with `aws configure list --profile {profile}`"),
            ),
            None => (
                "from any of the places where the AWS tools look".to_owned(),
                HOW_TO_SIGN.to_owned(),
            ),
        };
        match error {
            CredentialsError::ProviderTimedOut(_) => ProviderError::Unreachable {
                detail: format!("there were no AWS credentials {from} in time: {detail}"),
                endpoint: self.endpoint.to_owned(),
            },
            _ => ProviderError::Misconfigured {
                detail: format!("there are no AWS credentials {from}: {detail}"),
                hint: Some(hint),
            },
        }
    }
}

/// The first cause of that type.
fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// An error with its causes, without those that only repeat what the next one says.
fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if let Some(last) = texts.last_mut().filter(|last| last.contains(&text)) {
            *last = text;
        } else {
            texts.push(text);
        }
        next = error.source();
    }
    texts
}

/// The deepest causes, which are those that say something: `tcp connect error: connection refused`.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut texts = chain(error);
    let from = texts.len().saturating_sub(2);
    texts.split_off(from).join(": ")
}

/// What the SDK says before each reason.
const NOT_ENABLED: &str = "the credential provider was not enabled: ";

fn advice(code: &str) -> &'static str {
    match code {
        "ExpiredToken" | "ExpiredTokenException" => {
            "the session is over: log in again, or let a role or profile renew it"
        }
        "SignatureDoesNotMatch" | "InvalidSignatureException" => {
            "the secret access key does not belong to the access key, or the clock of this machine is wrong"
        }
        "InvalidAccessKeyId" | "InvalidClientTokenId" | "UnrecognizedClientException" => {
            "there is no such active access key: compare it with `aws iam list-access-keys`, or make another one"
        }
        "RequestExpired" | "RequestTimeTooSkewed" => "set the clock of this machine",
        _ => HOW_TO_SIGN,
    }
}

impl Display for Next {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Busy => "another change is under way",
            Self::GiveUp => "refused",
            Self::SlowDown => "too many requests",
            Self::TryAgain => "no good answer",
        })
    }
}

/// Codes that say that the signature, and not the right, is at fault.
const UNTRUSTED: [&str; 14] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "OptInRequired",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];
const HOW_TO_SIGN: &str = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or `profile`, or run where a role gives credentials (EC2, ECS, EKS)";
