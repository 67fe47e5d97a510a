use hickory_proto::op::MessageType;
use hickory_proto::rr::Name;
use proptest::prelude::*;

use super::*;
use crate::dns::scripted::Manner;
use crate::dns::scripted::Net;
use crate::dns::scripted::domain;

async fn ask(net: &Net, name: &str) -> Result<Reply, AskError> {
    let asker = net.asker();
    let server = net.server(1).address;
    asker.ask(server, &domain(name), RecordType::TXT).await
}

#[tokio::test]
async fn answers_are_told_as_they_are() {
    let net = Net::new(1).await;
    let server = net.server(1);
    server.zone("example.test", &["a.example.test TXT hello"]);
    let reply = ask(&net, "a.example.test").await.unwrap();
    assert!(reply.authoritative);
    assert_eq!((reply.transport, reply.answers.len()), (Transport::Udp, 1));

    let reply = ask(&net, "b.example.test").await.unwrap();
    assert_eq!(reply.rcode, ResponseCode::NXDomain);
    let soa = reply.soa().unwrap();
    assert_eq!((soa.zone, soa.minimum), (domain("example.test"), 60));

    let reply = ask(&net, "other.test").await.unwrap();
    assert_eq!(reply.rcode_name(), "REFUSED");
    assert!(server.log().iter().all(|asked| !asked.recursive));
}

#[tokio::test]
async fn what_does_not_fit_comes_over_tcp() {
    let net = Net::new(1).await;
    let server = net.server(1);
    for n in 0..60 {
        let value = format!("a.example.test TXT {n:043}");
        server.zone("example.test", &[&value]);
    }
    let reply = ask(&net, "a.example.test").await.unwrap();
    assert_eq!((reply.transport, reply.answers.len()), (Transport::Tcp, 60));
    let over: Vec<bool> = server.log().iter().map(|asked| asked.tcp).collect();
    assert_eq!(over, [false, true]);

    server.behave(Manner::Truncating);
    let reply = ask(&net, "b.example.test").await.unwrap();
    assert_eq!(reply.transport, Transport::Tcp);
}

#[tokio::test]
async fn a_server_that_speaks_tcp_only_is_heard() {
    let net = Net::new(1).await;
    net.server(1).zone("example.test", &[]);
    net.server(1).behave(Manner::TcpOnly);
    let asker = net.asker_with(Duration::from_millis(500), Events::silent());
    let reply = asker
        .ask(
            net.server(1).address,
            &domain("example.test"),
            RecordType::SOA,
        )
        .await
        .unwrap();
    assert_eq!(reply.transport, Transport::Tcp);
}

#[tokio::test]
async fn an_old_server_is_asked_without_edns() {
    let net = Net::new(1).await;
    net.server(1)
        .zone("example.test", &["a.example.test TXT hello"]);
    net.server(1).behave(Manner::WithoutEdns);
    let reply = ask(&net, "a.example.test").await.unwrap();
    assert_eq!(reply.answers.len(), 1);
}

#[tokio::test]
async fn silence_says_how_it_was_tried_and_each_exchange_is_told() {
    let net = Net::new(1).await;
    net.server(1).behave(Manner::Silent);
    let (events, mut told) = Events::channel();
    let asker = net.asker_with(Duration::from_millis(50), events);
    let server = net.server(1).address;
    let error = asker
        .ask(server, &domain("example.test"), RecordType::TXT)
        .await
        .unwrap_err();
    let text = format!("{server} did not answer (udp: time-out, tcp: time-out)");
    assert_eq!(error.to_string(), text);
    for wanted in ["udp", "tcp"] {
        match told.recv().await.unwrap().what {
            What::DnsQuery {
                transport, outcome, ..
            } => assert_eq!((transport, outcome.as_str()), (wanted, "time-out")),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn only_the_answer_to_the_question_counts() {
    let question = |name: &str| {
        let server = SocketAddr::from(([127, 0, 0, 1], 53));
        Question::new(server.into(), &domain(name), RecordType::TXT, Recursion::No).unwrap()
    };
    let mut ours = question("a.test");
    let wire = ours.encode(7).unwrap();
    assert!(
        ours.accept(&wire).unwrap().is_none(),
        "a question is no answer"
    );

    let mut message = Message::from_vec(&wire).unwrap();
    message.metadata.message_type = MessageType::Response;
    let right = message.to_vec().unwrap();
    assert!(ours.accept(&right).unwrap().is_some());
    // The case of the name does not matter.
    let shouted = Name::from_ascii("A.TEST.").unwrap();
    message.queries[0].set_name(shouted);
    assert!(ours.accept(&message.to_vec().unwrap()).unwrap().is_some());

    message.queries[0].set_name(Name::from_ascii("b.test.").unwrap());
    assert!(ours.accept(&message.to_vec().unwrap()).unwrap().is_none());
    let mut other_id = right.clone();
    other_id[0] ^= 1;
    assert!(ours.accept(&other_id).unwrap().is_none());
    assert!(ours.accept(&right[..1]).unwrap().is_none());
    assert!(matches!(ours.accept(&right[..14]), Err(Problem::Garbled)));
}

proptest! {
    #[test]
    fn no_octets_are_too_strange(id: bool, mut wire in proptest::collection::vec(any::<u8>(), 0..600)) {
        let server = SocketAddr::from(([127, 0, 0, 1], 53));
        let mut question =
            Question::new(server.into(), &domain("a.test"), RecordType::TXT, Recursion::No).unwrap();
        let asked = question.encode(7).unwrap();
        if id && wire.len() > 2 {
            wire[..2].copy_from_slice(&asked[..2]);
            wire[2] |= 0x80;
        }
        if let Ok(Some(message)) = question.accept(&wire) {
            let reply = Reply::new(server.into(), Transport::Udp, Duration::ZERO, message);
            let _ = (reply.soa(), reply.is_alias(), reply.to_string());
        }
    }
}
