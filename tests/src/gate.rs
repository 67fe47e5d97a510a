//! A proxy behind which one name on the Internet is a server of the test's, for programs that know no other address.
//!
//! Whoever connects through it to that name at port 443 meets a certificate for it, under a root of the gate's own, and behind that a
//! plain HTTP server. All other names are refused.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::tls::Authority;

/// A running gate; it ends with the runtime.
#[derive(Debug)]
pub struct Gate {
    addr: SocketAddr,
    dir: TempDir,
}

impl Gate {
    /// Behind it `name` is the HTTP server at `to`.
    ///
    /// # Panics
    ///
    /// When there is no port for it.
    pub async fn start(name: &'static str, to: SocketAddr) -> Self {
        let dir = TempDir::with_prefix("dnseal-gate-").unwrap();
        let root = Authority::new();
        root.write(dir.path(), &[name]);
        std::fs::write(dir.path().join("root.pem"), root.pem()).unwrap();
        let chain = CertificateDer::from_pem_file(dir.path().join("tls.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(dir.path().join("tls.key")).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that goes away ends its own connection.
                tokio::spawn(pass(stream, acceptor.clone(), name, to));
            }
        });
        Self { addr, dir }
    }

    /// What to set as `https_proxy`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The root that clients have to trust.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root.pem")
    }
}

async fn pass(
    mut stream: TcpStream,
    acceptor: TlsAcceptor,
    name: &str,
    to: SocketAddr,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
        head.push(stream.read_u8().await?);
    }
    if !head.starts_with(format!("CONNECT {name}:443 ").as_bytes()) {
        return stream
            .write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
            .await;
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    let mut inner = acceptor.accept(stream).await?;
    let mut server = TcpStream::connect(to).await?;
    copy_bidirectional(&mut inner, &mut server).await?;
    Ok(())
}
