//! Sockets: binds UDP and TCP to one port, cuts TCP streams into messages (RFC 7766) and hands each message to a
//! service. Requests run concurrently; a slow answer holds up nobody else.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Mutex, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::log::Transport;

/// How often to look for a port that is free for UDP and TCP at every address.
const PORT_TRIES: usize = 64;

/// How long to leave the listener alone after it failed to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A message and where it came from.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) octets: Vec<u8>,
    pub(super) client: SocketAddr,
    pub(super) transport: Transport,
}

/// What to do for it.
#[derive(Debug)]
pub(super) enum Reply {
    Close,
    Send(Vec<u8>),
    Silence,
}

/// Answers messages.
pub(super) trait Service: Send + Sync + 'static {
    fn serve(self: Arc<Self>, request: Inbound) -> impl Future<Output = Reply> + Send;
}

/// Bound sockets, not served yet.
#[derive(Debug)]
pub(super) struct Sockets(Vec<(UdpSocket, TcpListener)>);

impl Sockets {
    /// Binds every address. Addresses with port 0 get one free port, the same for all.
    pub(super) async fn bind(wanted: &[SocketAddr]) -> Result<Self, (SocketAddr, io::Error)> {
        let any = wanted.iter().any(|address| address.port() == 0);
        let mut tries = if any { PORT_TRIES } else { 1 };
        loop {
            match Self::try_bind(wanted).await {
                Err((_, error)) if tries > 1 && error.kind() == io::ErrorKind::AddrInUse => {
                    tries -= 1;
                }
                done => return done,
            }
        }
    }

    async fn try_bind(wanted: &[SocketAddr]) -> Result<Self, (SocketAddr, io::Error)> {
        let mut sockets = Vec::with_capacity(wanted.len());
        let mut port = 0;
        for address in wanted {
            let mut address = *address;
            if address.port() == 0 {
                address.set_port(port);
            }
            let failed = |error| (address, error);
            let tcp = TcpListener::bind(address).await.map_err(failed)?;
            let bound = tcp.local_addr().map_err(failed)?;
            let udp = UdpSocket::bind(bound).await.map_err(failed)?;
            port = bound.port();
            sockets.push((udp, tcp));
        }
        Ok(Self(sockets))
    }

    pub(super) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.0.iter().map(|(udp, _)| udp.local_addr()).collect()
    }

    /// Serves until the token is cancelled.
    pub(super) fn serve<S: Service>(self, service: &Arc<S>) -> Serving {
        let token = CancellationToken::new();
        let mut tasks = Vec::new();
        for (udp, tcp) in self.0 {
            let (service, token) = (Arc::clone(service), token.clone());
            tasks.push(tokio::spawn(async move {
                tokio::select! {
                    () = serve_udp(Arc::new(udp), Arc::clone(&service)) => {}
                    () = serve_tcp(tcp, service) => {}
                    () = token.cancelled() => {}
                }
            }));
        }
        Serving {
            token,
            tasks: Mutex::new(tasks),
        }
    }
}

/// Running listeners. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Serving {
    token: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Serving {
    /// Stops, and returns once the sockets are closed.
    pub(super) async fn shutdown(&self) {
        self.token.cancel();
        for task in self.tasks.lock().await.drain(..) {
            // It can only have been cancelled together with the runtime.
            let _ = task.await;
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

async fn serve_udp<S: Service>(socket: Arc<UdpSocket>, service: Arc<S>) {
    // Dropped with this future, which aborts what still runs.
    let mut running = JoinSet::new();
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        while running.try_join_next().is_some() {}
        // An error here belongs to an earlier response that could not be delivered.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let request = Inbound {
            octets: buffer[..length].to_vec(),
            client,
            transport: Transport::Udp,
        };
        let (socket, service) = (Arc::clone(&socket), Arc::clone(&service));
        running.spawn(async move {
            if let Reply::Send(octets) = service.serve(request).await
                && let Err(error) = socket.send_to(&octets, client).await
            {
                tracing::debug!(%client, %error, "failed to send a response");
            }
        });
    }
}

async fn serve_tcp<S: Service>(listener: TcpListener, service: Arc<S>) {
    let mut running = JoinSet::new();
    loop {
        while running.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, client)) => {
                running.spawn(serve_stream(stream, client, Arc::clone(&service)));
            }
            // Out of file descriptors, mostly, and some connection has to end first.
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_stream<S: Service>(stream: TcpStream, client: SocketAddr, service: Arc<S>) {
    let (mut reader, mut writer) = stream.into_split();
    let (replies, mut outbound) = mpsc::channel(16);
    let read = async move {
        let mut running = JoinSet::new();
        while let Ok(length) = reader.read_u16().await {
            let mut octets = vec![0; usize::from(length)];
            if reader.read_exact(&mut octets).await.is_err() {
                break;
            }
            let request = Inbound {
                octets,
                client,
                transport: Transport::Tcp,
            };
            let (service, replies) = (Arc::clone(&service), replies.clone());
            running.spawn(async move {
                // The receiver is gone only when the connection is.
                let _ = replies.send(service.serve(request).await).await;
            });
            while running.try_join_next().is_some() {}
        }
        // The client is done asking; answer what it asked.
        while running.join_next().await.is_some() {}
    };
    let write = async {
        while let Some(reply) = outbound.recv().await {
            let octets = match reply {
                Reply::Close => return,
                Reply::Silence => continue,
                Reply::Send(octets) => octets,
            };
            let Ok(length) = u16::try_from(octets.len()) else {
                return;
            };
            let mut framed = length.to_be_bytes().to_vec();
            framed.extend(octets);
            if writer.write_all(&framed).await.is_err() {
                return;
            }
        }
    };
    tokio::pin!(write);
    tokio::select! {
        () = &mut write => {}
        // No more replies come, so this ends with the last one.
        () = read => write.await,
    }
}
