//! A server that says what the test wants it to say.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::SystemTime;

use hickory_proto::op::Message;
use hickory_proto::op::OpCode;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::Name;
use hickory_proto::rr::RData;
use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::rdata::TXT;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;

use crate::rfc2136::tsig::Algorithm;
use crate::rfc2136::tsig::Key;
use crate::rfc2136::tsig::without_signature;

pub(super) struct Fake {
    pub(super) address: String,
    asked: Arc<Mutex<Vec<Message>>>,
}

impl Fake {
    pub(super) async fn start(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(script);
        let log = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&log)));
            }
        });
        Self { address, asked }
    }

    pub(super) fn updates(&self) -> Vec<Message> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|m| m.metadata.op_code == OpCode::Update)
            .cloned()
            .collect()
    }
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<impl Fn(&Asked) -> Reply>,
    log: Arc<Mutex<Vec<Message>>>,
) -> Option<()> {
    let key = Key::new("acme-key", Algorithm::Sha256, &SECRET.into()).unwrap();
    loop {
        let mut octets = vec![0; usize::from(stream.read_u16().await.ok()?)];
        stream.read_exact(&mut octets).await.ok()?;
        let bare = without_signature(&octets).unwrap();
        let message = Message::from_vec(&bare).unwrap();
        let number = {
            let mut log = log.lock().unwrap();
            log.push(message.clone());
            log.len() - 1
        };
        let asked = Asked {
            message,
            number,
            signed: bare.len() < octets.len(),
        };
        let mut answer =
            Message::response(asked.message.metadata.id, asked.message.metadata.op_code);
        answer.queries.clone_from(&asked.message.queries);
        answer.metadata.authoritative = true;
        let (tsig, wire) = match script(&asked) {
            Reply::Close => return None,
            Reply::Silence => continue,
            Reply::Raw(octets) => (None, octets),
            Reply::Unsigned(code) => {
                answer.metadata.response_code = code;
                (None, answer.to_vec().unwrap())
            }
            Reply::Signed(code) => {
                answer.metadata.response_code = code;
                (Some((0, Vec::new())), answer.to_vec().unwrap())
            }
            Reply::Tsig(error, other) => {
                answer.metadata.response_code = ResponseCode::NotAuth;
                (Some((error, other)), answer.to_vec().unwrap())
            }
            Reply::Message(change) => {
                change(&mut answer, asked.name());
                (Some((0, Vec::new())), answer.to_vec().unwrap())
            }
        };
        let mut wire = wire;
        if let Some((error, other)) = tsig.filter(|_| asked.signed) {
            key.sign_answer(&octets, &mut wire, error, &other, SystemTime::now());
        }
        let length = u16::try_from(wire.len()).unwrap();
        stream.write_u16(length).await.ok()?;
        stream.write_all(&wire).await.ok()?;
    }
}

pub(super) struct Asked {
    pub(super) message: Message,
    pub(super) number: usize,
    pub(super) signed: bool,
}

impl Asked {
    pub(super) fn update(&self) -> bool {
        self.message.metadata.op_code == OpCode::Update
    }

    pub(super) fn name(&self) -> &Name {
        self.message.queries[0].name()
    }

    /// Yes to every update, and the same values at every name.
    pub(super) fn zone_with(&self, values: &[&str]) -> Reply {
        if self.update() {
            return Reply::Signed(ResponseCode::NoError);
        }
        let values: Vec<RData> = values.iter().map(|v| txt(v)).collect();
        Reply::message(move |m, owner| {
            for value in &values {
                m.answers.push(record(owner, value.clone()));
            }
        })
    }
}

#[derive(Clone)]
pub(super) enum Reply {
    Close,
    Message(Arc<Edit>),
    Raw(Vec<u8>),
    Signed(ResponseCode),
    Silence,
    Tsig(u16, Vec<u8>),
    Unsigned(ResponseCode),
}

type Edit = dyn Fn(&mut Message, &Name) + Send + Sync;

impl Reply {
    pub(super) fn message(edit: impl Fn(&mut Message, &Name) + Send + Sync + 'static) -> Self {
        Self::Message(Arc::new(edit))
    }

    /// No data, from that zone.
    pub(super) fn soa(apex: &str) -> Self {
        let apex = name(&format!("{apex}."));
        Self::message(move |m, _| {
            m.authorities.push(record(&apex, soa()));
        })
    }
}

pub(super) fn txt(text: &str) -> RData {
    RData::TXT(TXT::new(vec![text.to_owned()]))
}

pub(super) fn soa() -> RData {
    RData::SOA(SOA::new(
        name("ns.invalid."),
        name("h.invalid."),
        1,
        60,
        60,
        60,
        1,
    ))
}

pub(super) fn record(owner: &Name, data: RData) -> Record {
    Record::from_rdata(owner.clone(), 1, data)
}

pub(super) fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

pub(super) const SECRET: &str = "c2VjcmV0LW9mLXRoZS10ZXN0";
