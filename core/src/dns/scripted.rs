//! A few name servers on loopback addresses, scripted by tests and asked over real sockets.
//!
//! All of them listen on one port that is free at every address, as real ones do. A server holds zones as text lines,
//! misbehaves as told, and remembers every question.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use hickory_proto::op::Edns;
use hickory_proto::op::Message;
use hickory_proto::op::MessageType;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::Name;
use hickory_proto::rr::RData;
use hickory_proto::rr::Record;
use hickory_proto::rr::RecordType;
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::rdata::CAA;
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::rdata::NS;
use hickory_proto::rr::rdata::NULL;
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::rdata::TXT;
use hickory_proto::serialize::binary::BinEncodable;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::UdpSocket;

use crate::dns::DomainName;
use crate::dns::query::Asker;
use crate::dns::query::AskerOptions;
use crate::event::Events;

/// Servers at 127.0.53.1, .2 and so on, all on one port.
pub(super) struct Net {
    pub(super) port: u16,
    servers: Vec<Server>,
}

/// One server; clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Apex to owner name to records.
    zones: BTreeMap<String, BTreeMap<String, Vec<RData>>>,
    manner: Manner,
    log: Vec<Asked>,
    serial: u32,
}

/// How a server behaves.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Manner {
    /// As it should.
    #[default]
    Good,
    /// Follows aliases into other zones it holds, and adds their SOA to what is not there.
    Following,
    /// Never sets AA, and answers everything it has.
    Lame,
    /// Answers from a flat list as a resolver does, without AA.
    Resolver,
    /// Answers everything with this code.
    Rcode(ResponseCode),
    /// Takes questions and says nothing.
    Silent,
    /// Answers nothing over UDP.
    TcpOnly,
    /// Answers over UDP with TC and nothing else.
    Truncating,
    /// Leaves the SOA out of negative answers.
    WithoutSoa,
    /// FORMERR, without OPT, to whoever sends OPT.
    WithoutEdns,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) rtype: RecordType,
    pub(super) recursive: bool,
    pub(super) tcp: bool,
}

impl Net {
    pub(super) async fn new(servers: usize) -> Self {
        'port: loop {
            let mut sockets = Vec::new();
            let mut port = 0;
            for n in 1..=servers {
                let ip = IpAddr::from(Ipv4Addr::new(127, 0, 53, u8::try_from(n).unwrap()));
                let Ok(tcp) = TcpListener::bind((ip, port)).await else {
                    continue 'port;
                };
                port = tcp.local_addr().unwrap().port();
                let Ok(udp) = UdpSocket::bind((ip, port)).await else {
                    continue 'port;
                };
                sockets.push((tcp, udp));
            }
            let servers = sockets
                .into_iter()
                .map(|(tcp, udp)| Server::start(tcp, udp))
                .collect();
            return Self { port, servers };
        }
    }

    /// The nth server, counted from 1 as its address is.
    pub(super) fn server(&self, n: usize) -> &Server {
        &self.servers[n - 1]
    }

    pub(super) fn asker(&self) -> Asker {
        self.asker_with(Duration::from_secs(2), Events::silent())
    }

    pub(super) fn asker_with(&self, limit: Duration, events: Events) -> Asker {
        let options = AskerOptions {
            port: self.port,
            udp_timeout: limit,
            tcp_timeout: limit,
            recursive_timeout: limit,
            ..AskerOptions::default()
        };
        Asker::new(options, events)
    }
}

impl Server {
    fn start(tcp: TcpListener, udp: UdpSocket) -> Self {
        let server = Self {
            address: udp.local_addr().unwrap(),
            state: Arc::default(),
        };
        server.state.lock().unwrap().serial = 1;
        tokio::spawn(server.clone().serve_udp(udp));
        tokio::spawn(server.clone().serve_tcp(tcp));
        server
    }

    pub(super) fn behave(&self, manner: Manner) {
        self.state.lock().unwrap().manner = manner;
    }

    /// Adds a zone; each line is `owner TYPE data` with absolute names.
    pub(super) fn zone(&self, apex: &str, lines: &[&str]) {
        let mut state = self.state.lock().unwrap();
        let zone = state.zones.entry(apex.to_owned()).or_default();
        zone.entry(apex.to_owned()).or_default();
        for line in lines {
            let (owner, data) = record(line);
            zone.entry(owner).or_default().push(data);
        }
        state.serial += 1;
    }

    pub(super) fn log(&self) -> Vec<Asked> {
        self.state.lock().unwrap().log.clone()
    }

    pub(super) fn asked_for(&self, name: &str) -> bool {
        self.log().iter().any(|asked| asked.name == name)
    }

    async fn serve_udp(self, socket: UdpSocket) {
        let mut buffer = vec![0; 4096];
        loop {
            let Ok((length, peer)) = socket.recv_from(&mut buffer).await else {
                continue;
            };
            if let Some(answer) = self.answer(&buffer[..length], false) {
                let _ = socket.send_to(&answer, peer).await;
            }
        }
    }

    async fn serve_tcp(self, listener: TcpListener) {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else {
                continue;
            };
            let server = self.clone();
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u16().await {
                    let mut buffer = vec![0; usize::from(length)];
                    if stream.read_exact(&mut buffer).await.is_err() {
                        return;
                    }
                    if let Some(answer) = server.answer(&buffer, true) {
                        let length = u16::try_from(answer.len()).unwrap();
                        let framed = [&length.to_be_bytes()[..], &answer].concat();
                        let _ = stream.write_all(&framed).await;
                    }
                }
            });
        }
    }

    fn answer(&self, wire: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let request = Message::from_vec(wire).ok()?;
        let query = request.queries.first()?;
        let name = text(&query.name);
        let mut state = self.state.lock().unwrap();
        state.log.push(Asked {
            name: name.clone(),
            rtype: query.query_type,
            recursive: request.metadata.recursion_desired,
            tcp,
        });

        let mut reply = request.clone();
        reply.metadata.message_type = MessageType::Response;
        reply.additionals.clear();
        reply.edns = request.edns.as_ref().map(|_| Edns::new());
        match state.manner {
            Manner::Silent => return None,
            Manner::TcpOnly if !tcp => return None,
            Manner::Truncating if !tcp => {
                reply.metadata.truncation = true;
                return Some(reply.to_vec().unwrap());
            }
            Manner::Rcode(rcode) => reply.metadata.response_code = rcode,
            Manner::WithoutEdns if request.edns.is_some() => {
                reply.edns = None;
                reply.metadata.response_code = ResponseCode::FormErr;
            }
            Manner::Resolver => state.recurse(&name, query.query_type, &mut reply),
            _ => state.look_up(&name, query.query_type, &mut reply),
        }
        if state.manner == Manner::WithoutSoa {
            reply
                .authorities
                .retain(|record| record.record_type() != RecordType::SOA);
        }
        let target = reply.answers.last().and_then(|record| match &record.data {
            RData::CNAME(target) => Some(text(&target.0)),
            _ => None,
        });
        if let (Manner::Following, Some(target)) = (state.manner, target)
            && query.query_type != RecordType::CNAME
        {
            state.look_up(&target, query.query_type, &mut reply);
        }
        if matches!(state.manner, Manner::Lame | Manner::Resolver) {
            reply.metadata.authoritative = false;
        }
        let wire = reply.to_vec().unwrap();
        if tcp || wire.len() <= 1232 {
            return Some(wire);
        }
        Some(reply.truncate().to_vec().unwrap())
    }
}

impl State {
    /// RFC 1034 section 4.3.2, as far as tests need it.
    fn look_up(&self, name: &str, rtype: RecordType, reply: &mut Message) {
        let apex = suffixes(name).find(|apex| self.zones.contains_key(*apex));
        let Some(apex) = apex else {
            reply.metadata.response_code = ResponseCode::Refused;
            return;
        };
        let zone = &self.zones[apex];
        let below: Vec<&str> = suffixes(name).take_while(|n| *n != apex).collect();
        for cut in below.iter().rev() {
            let hosts = of_type(zone, cut, RecordType::NS);
            if !hosts.is_empty() {
                for host in &hosts {
                    let RData::NS(host_name) = host else { continue };
                    let glue = self.zones.values();
                    for data in glue.flat_map(|z| of_type(z, &text(&host_name.0), RecordType::A)) {
                        reply.add_additional(Record::from_rdata(host_name.0.clone(), 60, data));
                    }
                }
                reply.add_authorities(at(cut, hosts));
                return;
            }
        }

        reply.metadata.authoritative = true;
        for above in below.iter().skip(1).copied().chain([apex]) {
            for data in of_type(zone, above, RecordType::DNAME) {
                let RData::Unknown { rdata, .. } = &data else {
                    continue;
                };
                let target = String::from_utf8(rdata.anything.clone()).unwrap();
                let prefix = name.strip_suffix(above).unwrap();
                let wire = Name::from_ascii(&target).unwrap().to_bytes().unwrap();
                let dname = RData::Unknown {
                    code: RecordType::DNAME,
                    rdata: NULL::with(wire),
                };
                let cname = CNAME(Name::from_ascii(format!("{prefix}{target}")).unwrap());
                reply.add_answers(at(above, vec![dname]));
                reply.add_answers(at(name, vec![RData::CNAME(cname)]));
                return;
            }
        }

        let exists = |n: &str| {
            let inside = format!(".{n}");
            zone.keys().any(|k| k == n || k.ends_with(&inside))
        };
        let encloser = suffixes(name).find(|n| exists(n)).unwrap_or(apex);
        let wildcard = format!("*.{encloser}");
        let node = match (encloser == name, zone.contains_key(&wildcard)) {
            (true, _) => name,
            (false, true) => &wildcard,
            (false, false) => {
                reply.metadata.response_code = ResponseCode::NXDomain;
                reply.add_authority(self.soa(apex));
                return;
            }
        };
        let mut found = of_type(zone, node, rtype);
        if found.is_empty() {
            found = of_type(zone, node, RecordType::CNAME);
        }
        if rtype == RecordType::SOA && node == apex {
            reply.add_answer(self.soa(apex));
        } else if found.is_empty() {
            reply.add_authority(self.soa(apex));
        }
        reply.add_answers(at(name, found));
    }

    /// What stands in any zone of this server, as if it were the whole DNS.
    fn recurse(&self, name: &str, rtype: RecordType, reply: &mut Message) {
        let found: Vec<RData> = self
            .zones
            .values()
            .flat_map(|zone| of_type(zone, name, rtype))
            .collect();
        let known = self.zones.values().any(|zone| zone.contains_key(name));
        if !known {
            reply.metadata.response_code = ResponseCode::NXDomain;
        }
        reply.metadata.recursion_available = true;
        reply.add_answers(at(name, found));
    }

    fn soa(&self, apex: &str) -> Record {
        let mname = Name::from_ascii(format!("primary.{apex}.")).unwrap();
        let soa = SOA::new(mname.clone(), mname, self.serial, 3600, 600, 86400, 60);
        Record::from_rdata(name(apex), 300, RData::SOA(soa))
    }
}

pub(super) fn domain(text: &str) -> DomainName {
    text.parse().unwrap()
}

fn of_type(zone: &BTreeMap<String, Vec<RData>>, name: &str, rtype: RecordType) -> Vec<RData> {
    let all = zone.get(name).into_iter().flatten();
    all.filter(|d| d.record_type() == rtype).cloned().collect()
}

fn at(owner: &str, data: Vec<RData>) -> Vec<Record> {
    data.into_iter()
        .map(|data| Record::from_rdata(name(owner), 60, data))
        .collect()
}

fn record(line: &str) -> (String, RData) {
    let mut parts = line.splitn(3, ' ');
    let (owner, rtype, data) = (
        parts.next().unwrap(),
        parts.next().unwrap(),
        parts.next().unwrap(),
    );
    let data = match rtype {
        "A" => RData::A(A(Ipv4Addr::from_str(data).unwrap())),
        // `flags tag value`
        "CAA" => {
            let mut parts = data.splitn(3, ' ');
            let flags: u8 = parts.next().unwrap().parse().unwrap();
            let mut caa = CAA::new_issue(flags & 128 != 0, None, Vec::new());
            caa.reserved_flags = flags & 127;
            caa.tag = parts.next().unwrap().to_owned();
            caa.value = parts.next().unwrap().as_bytes().to_vec();
            RData::CAA(caa)
        }
        "CNAME" => RData::CNAME(CNAME(name(data))),
        // Kept as text until it is sent.
        "DNAME" => RData::Unknown {
            code: RecordType::DNAME,
            rdata: NULL::with(data.as_bytes().to_vec()),
        },
        "NS" => RData::NS(NS(name(data))),
        "TXT" => RData::TXT(TXT::new(vec![data.to_owned()])),
        other => panic!("no {other} here"),
    };
    (owner.to_owned(), data)
}

fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |n| n.split_once('.').map(|(_, rest)| rest))
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

fn text(name: &Name) -> String {
    name.to_lowercase()
        .to_ascii()
        .trim_end_matches('.')
        .to_owned()
}
