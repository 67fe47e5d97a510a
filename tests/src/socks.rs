//! A SOCKS5 proxy (RFC 1928) without authentication, as `ssh -D` is one.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// A running proxy; it ends with the runtime.
#[derive(Clone, Debug)]
pub struct Socks {
    addr: SocketAddr,
    /// What it answers instead of connecting.
    refusal: Option<u8>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Socks {
    /// One that connects to IPv4 addresses and to no names, or says `refusal` (RFC 1928 section 6) instead.
    pub async fn start(refusal: Option<u8>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let socks = Self {
            addr: listener.local_addr().unwrap(),
            refusal,
            requests: Arc::default(),
        };
        let serving = socks.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let serving = serving.clone();
                // A client that goes away is no failure of the proxy.
                tokio::spawn(async move { serving.serve(client).await.ok() });
            }
        });
        socks
    }

    /// What to set as `HTTPS_PROXY`; names are resolved by the proxy.
    pub fn url(&self) -> String {
        format!("socks5h://{}", self.addr)
    }

    /// Whom clients asked it to reach, as `HOST:PORT`.
    pub fn requests(&self) -> Vec<String> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let [version, methods] = read(&mut client).await?;
        assert_eq!(version, 5);
        let mut offered = vec![0; usize::from(methods)];
        client.read_exact(&mut offered).await?;
        client.write_all(&[5, 0]).await?;

        let [_, command, _, kind] = read(&mut client).await?;
        assert_eq!(command, 1, "only CONNECT is asked for");
        let host = match kind {
            1 => Ipv4Addr::from(read::<4>(&mut client).await?).to_string(),
            3 => {
                let [length] = read(&mut client).await?;
                let mut name = vec![0; usize::from(length)];
                client.read_exact(&mut name).await?;
                String::from_utf8_lossy(&name).into_owned()
            }
            _ => return reply(&mut client, 8).await,
        };
        let port = u16::from_be_bytes(read(&mut client).await?);
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(format!("{host}:{port}"));
        let address = host.parse::<Ipv4Addr>();
        match (self.refusal, address) {
            (Some(code), _) => reply(&mut client, code).await,
            (None, Err(_)) => reply(&mut client, 4).await,
            (None, Ok(address)) => match TcpStream::connect((address, port)).await {
                Err(_) => reply(&mut client, 5).await,
                Ok(mut server) => {
                    reply(&mut client, 0).await?;
                    copy_bidirectional(&mut client, &mut server).await.map(drop)
                }
            },
        }
    }
}

async fn read<const N: usize>(client: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut octets = [0; N];
    client.read_exact(&mut octets).await?;
    Ok(octets)
}

async fn reply(client: &mut TcpStream, code: u8) -> io::Result<()> {
    client.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await
}
