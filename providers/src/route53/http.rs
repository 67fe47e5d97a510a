//! The AWS SDK's way out: the client that everything else of dnseal uses, so that one proxy and one set of roots hold for all.
//!
//! The SDK is built without a client of its own and cannot go around this one. Only the metadata services of a machine or a
//! container are asked directly, because a proxy would answer for its own machine.

use std::error::Error;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::HttpClient;
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::http::HttpConnectorFuture;
use aws_smithy_runtime_api::client::http::HttpConnectorSettings;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use dnseal_core::web::NoAnswer;

/// Makes connectors over one client.
#[derive(Clone, Debug)]
pub(super) struct Http {
    direct: reqwest::Client,
    outer: reqwest::Client,
}

impl Http {
    pub(super) fn new(outer: reqwest::Client) -> Self {
        Self {
            direct: reqwest::Client::builder()
                .no_deflate()
                .no_gzip()
                .no_proxy()
                .build()
                .unwrap_or_else(|_| outer.clone()),
            outer,
        }
    }
}

impl HttpClient for Http {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let given = [settings.connect_timeout(), settings.read_timeout()];
        // The SDK gives no time for reading unless somebody asks for one.
        let timeout = match given {
            [_, None] => ANSWER_TIMEOUT,
            [connect, Some(read)] => connect.unwrap_or_default() + read,
        };
        SharedHttpConnector::new(Connector {
            http: self.clone(),
            timeout,
        })
    }
}

#[derive(Debug)]
struct Connector {
    http: Http,
    timeout: Duration,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (http, timeout) = (self.http.clone(), self.timeout);
        HttpConnectorFuture::new(async move {
            let request = converted(request, timeout).map_err(ConnectorError::user)?;
            let client = match request.url().host_str() {
                Some(host) if METADATA.contains(&host) => &http.direct,
                _ => &http.outer,
            };
            let answer = client.execute(request).await.map_err(failed)?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            let body = answer.bytes().await.map_err(failed)?;
            let mut answer = http::Response::new(SdkBody::from(body));
            *answer.status_mut() = status;
            *answer.headers_mut() = headers;
            HttpResponse::try_from(answer).map_err(|e| ConnectorError::other(e.into(), None))
        })
    }
}

type BoxError = Box<dyn Error + Send + Sync>;

fn converted(request: HttpRequest, timeout: Duration) -> Result<reqwest::Request, BoxError> {
    let (head, body) = request.try_into_http1x()?.into_parts();
    let octets = body
        .bytes()
        .ok_or("a request of a length that is not known")?;
    let request = http::Request::from_parts(head, reqwest::Body::from(octets.to_vec()));
    let mut request = reqwest::Request::try_from(request)?;
    *request.timeout_mut() = Some(timeout);
    Ok(request)
}

fn failed(error: reqwest::Error) -> ConnectorError {
    let reason = NoAnswer::of(&error);
    match error.is_timeout() {
        true => ConnectorError::timeout(reason.into()),
        false => ConnectorError::io(reason.into()),
    }
}

/// As long as the API may think about one request; it takes less than a second for most, and is asked again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Instance metadata and the credential services of ECS and EKS.
const METADATA: [&str; 5] = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "[fd00:ec2::254]",
    "[fd00:ec2::23]",
];
