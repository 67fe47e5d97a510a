//! The HTTPS side: connections, routes, and what every request goes through before and after its handler.
//!
//! A request meets the planned faults, then the checks of RFC 8555 section 6 (method, content type, signature, nonce,
//! URL, account), then its handler; on the way out it gets a nonce, the index link and a line in the log. Hyper is used
//! without a framework, because a fault must be able to cut the connection under a request.

use std::{
    convert::Infallible,
    future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use serde_json::{Map, json};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, task::JoinSet, time::timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    LogEntry, StartError,
    builder::{Config, RetryAfter, Terms},
    fault::{Fault, FaultState},
    issue::{Hierarchy, ServerIdentity},
    jws::{Jwk, Jws, KeyRef},
    problem::{ErrorKind, Problem},
    reply::{Reply, http_date},
    route::{Resource, Route, number},
    state::{AccountStatus, State},
    validate::Resolver,
};

/// What stands in `meta.caaIdentities`.
const CAA_IDENTITY: &str = "sandbox.dnseal.test";

/// The largest body that is read. A request for 100 names has about 20 kB.
const BODY_LIMIT: usize = 256 * 1024;

/// What all requests share.
pub(super) struct Inner {
    pub(super) config: Config,
    /// `https://HOST:PORT`.
    pub(super) base: String,
    pub(super) hierarchy: Hierarchy,
    pub(super) resolver: Resolver,
    pub(super) stop: CancellationToken,
    state: Mutex<State>,
    faults: Mutex<FaultState>,
    /// Counts what validations did, for those who wait for one.
    changed: watch::Sender<u64>,
}

impl Inner {
    pub(super) fn new(
        config: Config,
        base: String,
        hierarchy: Hierarchy,
        stop: CancellationToken,
    ) -> Result<Self, StartError> {
        Ok(Self {
            resolver: Resolver::new(&config)?,
            config,
            base,
            hierarchy,
            stop,
            state: Mutex::default(),
            faults: Mutex::default(),
            changed: watch::Sender::new(0),
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.config.clock)()
    }

    /// What changes. A handler that panicked cannot leave half a change behind that matters to a test.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, FaultState> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those who wait in [`settle`](Self::settle).
    pub(super) fn notify(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Waits while something is under way, but no longer than the builder allows.
    async fn settle(&self, under_way: impl Fn(&State) -> bool) {
        if self.config.linger.is_zero() {
            return;
        }
        let mut changed = self.changed.subscribe();
        let wait = async {
            while under_way(&self.state()) {
                if changed.changed().await.is_err() {
                    break;
                }
            }
        };
        // The time being over is no error: the client sees `processing` and polls.
        let _elapsed = timeout(self.config.linger, wait).await;
    }

    pub(super) fn directory_url(&self) -> String {
        format!("{}/directory", self.base)
    }

    pub(super) fn account_url(&self, id: u64) -> String {
        format!("{}/acme/account/{id}", self.base)
    }

    pub(super) fn order_url(&self, id: u64) -> String {
        format!("{}/acme/order/{id}", self.base)
    }

    pub(super) fn authorization_url(&self, id: u64) -> String {
        format!("{}/acme/authz/{id}", self.base)
    }

    pub(super) fn terms(&self) -> Option<String> {
        match &self.config.terms {
            Terms::Own => Some(format!("{}/terms", self.base)),
            Terms::Url(url) => Some(url.clone()),
            Terms::None => None,
        }
    }

    /// The header for answers that show something unfinished.
    pub(super) fn retry_after(&self) -> Option<String> {
        Some(match self.config.retry_after? {
            RetryAfter::Seconds(seconds) => seconds.to_string(),
            RetryAfter::Date(seconds) => http_date(self.now() + Duration::from_secs(seconds)),
        })
    }

    /// RFC 8555 section 7.1.1, with a member that nobody knows, as Let's Encrypt has it.
    fn directory(&self) -> Reply {
        let url = |path: &str| format!("{}/acme/{path}", self.base);
        let mut meta = json!({
            "website": self.base,
            "caaIdentities": [CAA_IDENTITY],
            "externalAccountRequired": self.config.eab_required,
        });
        if let Some(terms) = self.terms() {
            meta["termsOfService"] = terms.into();
        }
        if !self.config.profiles.is_empty() {
            let profiles: Map<_, _> = self
                .config
                .profiles
                .iter()
                .map(|profile| (profile.name.clone(), profile.description.clone().into()))
                .collect();
            meta["profiles"] = profiles.into();
        }
        let unknown = format!("x{:08x}", rand::random::<u32>());
        Reply::json(
            StatusCode::OK,
            &json!({
                "newNonce": url("new-nonce"),
                "newAccount": url("new-account"),
                "newOrder": url("new-order"),
                "revokeCert": url("revoke-cert"),
                "keyChange": url("key-change"),
                "renewalInfo": url("renewal-info"),
                "meta": meta,
                unknown: "https://example.com/members-that-you-do-not-know-are-to-be-ignored",
            }),
        )
    }

    /// Everything between a request and its response, apart from faults of the connection.
    async fn handle(self: &Arc<Self>, request: Request<Incoming>) -> Result<Reply, Problem> {
        let (parts, body) = request.into_parts();
        if !parts.headers.contains_key(header::USER_AGENT) {
            return Err(Problem::malformed("request has no User-Agent header"));
        }
        let path = parts.uri.path();
        let Some(route) = Route::parse(path) else {
            return Err(Problem::not_found(format!("there is nothing at {path}")));
        };
        match (&parts.method, route) {
            (&Method::GET, Route::Directory) => Ok(self.directory()),
            (&Method::HEAD, Route::NewNonce) => Ok(Reply::empty(StatusCode::OK)),
            (&Method::GET, Route::NewNonce) => Ok(Reply::empty(StatusCode::NO_CONTENT)),
            (&Method::GET, Route::RenewalInfo(cert_id)) => self.renewal_info(cert_id),
            (&Method::GET, Route::RevocationList) => self.revocation_list(),
            (&Method::GET, Route::Terms) => {
                let mut reply = Reply::empty(StatusCode::OK)
                    .with_header("content-type", "text/plain; charset=utf-8");
                reply.body =
                    Bytes::from_static(b"This CA is a sandbox. Trust nothing that it signs.\n");
                Ok(reply)
            }
            (&Method::POST, Route::RenewalInfo(_) | Route::RevocationList | Route::Terms)
            | (&Method::GET | &Method::HEAD, _) => Err(method_not_allowed(&parts.method)),
            (&Method::POST, _) => {
                let content_type = parts.headers.get(header::CONTENT_TYPE);
                if content_type.is_none_or(|value| value != "application/jose+json") {
                    return Err(Problem::malformed(
                        "Content-Type must be application/jose+json".to_owned(),
                    )
                    .with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
                }
                let body = Limited::new(body, BODY_LIMIT)
                    .collect()
                    .await
                    .map_err(|err| {
                        Problem::malformed(format!("request body: {err}"))
                            .with_status(StatusCode::PAYLOAD_TOO_LARGE)
                    })?
                    .to_bytes();
                let path = parts
                    .uri
                    .path_and_query()
                    .map_or(path, |path| path.as_str());
                self.post(
                    route,
                    &format!("{}{path}", self.base),
                    parts.uri.query(),
                    &body,
                )
                .await
            }
            (method, _) => Err(method_not_allowed(method)),
        }
    }

    /// A signed request (RFC 8555 section 6.2 to 6.5).
    async fn post(
        self: &Arc<Self>,
        route: Route<'_>,
        url: &str,
        query: Option<&str>,
        body: &[u8],
    ) -> Result<Reply, Problem> {
        let jws = Jws::parse(body)?;
        let signer = self.authenticate(route, url, &jws)?;
        match (route, signer) {
            (Route::NewAccount, Signer::Key(key)) => self.new_account(key, &jws, url),
            (Route::Revoke, signer) => self.revoke(&signer, &jws),
            (Route::Directory, _) => {
                post_as_get(&jws)?;
                Ok(self.directory())
            }
            (Route::NewNonce, _) => {
                post_as_get(&jws)?;
                Ok(Reply::empty(StatusCode::OK))
            }
            (_, Signer::Key(_)) => Err(Problem::malformed(
                "this resource needs a `kid` and not a `jwk`",
            )),
            (Route::NewAccount, Signer::Account(..)) => Err(Problem::malformed(
                "newAccount needs a `jwk` and not a `kid`",
            )),
            (Route::Account(id), Signer::Account(account, _)) => self.account(account, id, &jws),
            (Route::Orders(id), Signer::Account(account, _)) => {
                post_as_get(&jws)?;
                self.account_orders(account, id, query)
            }
            (Route::KeyChange, Signer::Account(account, key)) => {
                self.key_change(account, &key, &jws, url)
            }
            (Route::NewOrder, Signer::Account(account, _)) => self.new_order(account, &jws),
            (Route::Order(id), Signer::Account(account, _)) => {
                post_as_get(&jws)?;
                self.settle(|state| {
                    state
                        .orders
                        .get(&id)
                        .is_some_and(|order| state.is_validating(order))
                })
                .await;
                self.order(account, id)
            }
            (Route::Finalize(id), Signer::Account(account, _)) => self.finalize(account, id, &jws),
            (Route::Authorization(id), Signer::Account(account, _)) => {
                if jws.payload.is_empty() {
                    self.settle(|state| {
                        state
                            .authorizations
                            .get(&id)
                            .is_some_and(|a| a.is_validating())
                    })
                    .await;
                }
                self.authorization(account, id, &jws)
            }
            (
                Route::Challenge {
                    authorization,
                    index,
                },
                Signer::Account(account, _),
            ) => {
                self.answer_challenge(account, authorization, index, &jws)?;
                self.settle(|state| {
                    state
                        .authorizations
                        .get(&authorization)
                        .is_some_and(|a| a.is_validating())
                })
                .await;
                self.challenge(authorization, index)
            }
            (Route::Certificate { id, chain }, Signer::Account(account, _)) => {
                post_as_get(&jws)?;
                self.certificate(account, id, chain)
            }
            (Route::RenewalInfo(_) | Route::RevocationList | Route::Terms, _) => {
                Err(method_not_allowed(&Method::POST))
            }
        }
    }

    fn authenticate(&self, route: Route<'_>, url: &str, jws: &Jws) -> Result<Signer, Problem> {
        jws.header.check_algorithm()?;
        let signer = match jws.header.key()? {
            KeyRef::Jwk(key) => Signer::Key(key),
            KeyRef::Kid(kid) => {
                if route == Route::NewAccount {
                    return Err(Problem::malformed(
                        "newAccount needs a `jwk` and not a `kid`",
                    ));
                }
                let state = self.state();
                let account = kid
                    .strip_prefix(&format!("{}/acme/account/", self.base))
                    .and_then(number)
                    .and_then(|id| state.accounts.get(&id))
                    .ok_or_else(|| {
                        Problem::new(
                            ErrorKind::AccountDoesNotExist,
                            format!("account \"{kid}\" is not one of this CA"),
                        )
                    })?;
                Signer::Account(account.id, account.key.clone())
            }
        };
        jws.verify(signer.key())?;
        self.check_nonce(jws)?;
        jws.header.check_url(url)?;
        if let Signer::Account(id, _) = &signer {
            let state = self.state();
            if state
                .accounts
                .get(id)
                .is_none_or(|account| account.status != AccountStatus::Valid)
            {
                return Err(Problem::unauthorized("account is deactivated")
                    .with_status(StatusCode::UNAUTHORIZED));
            }
        }
        Ok(signer)
    }

    fn check_nonce(&self, jws: &Jws) -> Result<(), Problem> {
        let bad = |detail: String| Problem::new(ErrorKind::BadNonce, detail);
        let Some(nonce) = &jws.header.nonce else {
            return Err(bad("JWS has no anti-replay nonce".to_owned()));
        };
        if !self.state().nonces.redeem(nonce) {
            return Err(bad(format!(
                "JWS has an invalid anti-replay nonce: \"{nonce}\""
            )));
        }
        if self.faults().rejects_nonce() {
            return Err(bad(format!(
                "JWS has an invalid anti-replay nonce: \"{nonce}\" (by request)"
            )));
        }
        Ok(())
    }
}

/// Who signed a request.
#[derive(Debug)]
pub(super) enum Signer {
    Account(u64, Jwk),
    Key(Jwk),
}

impl Signer {
    fn key(&self) -> &Jwk {
        match self {
            Self::Account(_, key) | Self::Key(key) => key,
        }
    }
}

/// Checks that a payload is that of POST-as-GET (RFC 8555 section 6.3).
pub(super) fn post_as_get(jws: &Jws) -> Result<(), Problem> {
    if jws.payload.is_empty() {
        Ok(())
    } else {
        Err(Problem::malformed("POST-as-GET must have an empty payload"))
    }
}

fn method_not_allowed(method: &Method) -> Problem {
    Problem::malformed(format!("method {method} is not allowed here"))
        .with_status(StatusCode::METHOD_NOT_ALLOWED)
}

/// Answers one request, or cuts its connection.
async fn respond(
    inner: Arc<Inner>,
    request: Request<Incoming>,
    cut: CancellationToken,
) -> Response<Full<Bytes>> {
    let started = Instant::now();
    let method = request.method().clone();
    let resource = Route::parse(request.uri().path()).map(Route::resource);
    let mut entry = LogEntry {
        at: inner.now(),
        took: Duration::ZERO,
        method: method.to_string(),
        resource,
        path: request
            .uri()
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default(),
        status: None,
        error: None,
    };
    let fault = resource.and_then(|resource| inner.faults().meet(resource));
    if let Some(Fault::Delay(delay)) = fault {
        tokio::time::sleep(delay).await;
    }
    let mut with_nonce = method == Method::POST || resource == Some(Resource::NewNonce);
    let reply = match fault {
        Some(Fault::DropBefore) => None,
        Some(Fault::Answer(answer)) => {
            with_nonce = answer.replay_nonce;
            Some(Reply::made_up(answer))
        }
        Some(Fault::DropAfter) => {
            entry.error = inner
                .handle(request)
                .await
                .err()
                .map(|problem| problem.kind);
            None
        }
        Some(Fault::Delay(_)) | None => {
            Some(inner.handle(request).await.unwrap_or_else(|problem| {
                tracing::debug!("{} {}: {}", entry.method, entry.path, problem.detail);
                entry.error = Some(problem.kind);
                Reply::problem(&problem)
            }))
        }
    };
    entry.took = started.elapsed();
    entry.status = reply.as_ref().map(|reply| reply.status.as_u16());
    tracing::debug!(method = %entry.method, path = %entry.path, status = ?entry.status, "request");
    inner.state().record(entry);
    let Some(mut reply) = reply else {
        cut.cancel();
        // The connection goes away with this future in it.
        return future::pending().await;
    };
    let refused = reply.status.is_client_error() || reply.status.is_server_error();
    if with_nonce && !(refused && inner.faults().omit_nonce_on_errors) {
        let nonce = inner.state().nonces.issue();
        reply = reply.with_header("replay-nonce", nonce);
    }
    if resource != Some(Resource::Directory) {
        reply = reply.with_header("link", format!("<{}>;rel=\"index\"", inner.directory_url()));
    }
    reply
        .with_header("cache-control", "no-store")
        .into_response()
}

/// Starts to accept connections, until `stop`.
pub(super) fn spawn(
    inner: Arc<Inner>,
    listener: TcpListener,
    identity: ServerIdentity,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, StartError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(identity.chain, identity.key)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    Ok(tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let connection = connect(Arc::clone(&inner), acceptor.clone(), stream, stop.child_token());
                        connections.spawn(async move {
                            if let Err(err) = connection.await {
                                tracing::debug!("connection from {peer}: {err}");
                            }
                        });
                    }
                    Err(err) => tracing::warn!("failed to accept a connection: {err}"),
                },
                Some(_) = connections.join_next() => {}
            }
        }
        connections.shutdown().await;
    }))
}

async fn connect(
    inner: Arc<Inner>,
    acceptor: TlsAcceptor,
    stream: tokio::net::TcpStream,
    cut: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let Some(stream) = cut.run_until_cancelled(acceptor.accept(stream)).await else {
        return Ok(());
    };
    let stream = stream?;
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = {
        let cut = cut.clone();
        service_fn(move |request| {
            let response = respond(Arc::clone(&inner), request, cut.clone());
            async { Ok::<_, Infallible>(response.await) }
        })
    };
    let io = TokioIo::new(stream);
    let served = async {
        if h2 {
            http2::Builder::new(TokioExecutor::new())
                .serve_connection(io, service)
                .await
        } else {
            http1::Builder::new().serve_connection(io, service).await
        }
    };
    match cut.run_until_cancelled(served).await {
        Some(result) => Ok(result?),
        None => Ok(()),
    }
}
