//! Every fault, and what narrows it.

use std::time::Duration;

use super::*;

async fn code(server: &DnsServer) -> ResponseCode {
    let response = ask(server.addr(), "t.example.test", RecordType::TXT).await;
    response.metadata.response_code
}

fn addition() -> Message {
    let mut message = update("example.test");
    message.add_authority(add(&Record::txt("t.example.test", 60, "two")));
    message
}

/// Sends a request over UDP without waiting for an answer, and then asks until the log has both.
async fn unanswered(server: &DnsServer, message: &Message) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server.addr()).await.unwrap();
    server.clear_log();
    socket.send(&message.to_vec().unwrap()).await.unwrap();
    server.wait_for(|log| log.queries.len() == 1).await;
    assert_eq!(server.queries()[0].rcode, None);
    // One task decides and sends; were there an answer, it would come before that of a later request.
    server.heal();
    socket
        .send(
            &question("t.example.test", RecordType::TXT)
                .to_vec()
                .unwrap(),
        )
        .await
        .unwrap();
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).await.unwrap();
    let response = Message::from_vec(&buffer[..length]).unwrap();
    assert_ne!(response.metadata.id, message.metadata.id);
}

#[tokio::test]
async fn codes_come_as_often_as_told() {
    let server = start(example()).await;
    server.inject(Fault::servfail().times(2));
    assert_eq!(code(&server).await, ResponseCode::ServFail);
    assert_eq!(code(&server).await, ResponseCode::ServFail);
    assert_eq!(code(&server).await, ResponseCode::NoError);
    server.inject(Fault::refused());
    assert_eq!(code(&server).await, ResponseCode::Refused);
    server.heal();
    assert_eq!(code(&server).await, ResponseCode::NoError);
    server.inject(Fault::rcode(ResponseCode::NotImp));
    assert_eq!(code(&server).await, ResponseCode::NotImp);
}

#[tokio::test]
async fn faults_strike_only_what_they_are_meant_for() {
    let server = start(example()).await;
    server.inject(
        Fault::servfail()
            .qtype(RecordType::TXT)
            .below("example.test")
            .tcp(),
    );
    let message = question("t.example.test", RecordType::TXT);
    assert_eq!(code(&server).await, ResponseCode::NoError);
    let response = tcp(server.addr(), &message).await;
    assert_eq!(response.metadata.response_code, ResponseCode::ServFail);
    let response = tcp(server.addr(), &question("t.example.test", RecordType::A)).await;
    assert_eq!(response.metadata.response_code, ResponseCode::NoError);
    server.heal();
    server.inject(Fault::rcode(ResponseCode::NotAuth).updates());
    assert_eq!(code(&server).await, ResponseCode::NoError);
    let response = udp(server.addr(), &addition()).await;
    assert_eq!(response.metadata.response_code, ResponseCode::NotAuth);
    assert_eq!(server.values("t.example.test"), ["one"]);
}

#[tokio::test]
async fn a_dead_server_is_silent_and_still_logs() {
    let server = start(example()).await;
    let message = question("t.example.test", RecordType::TXT);
    server.inject(Fault::drop().udp());
    assert_eq!(
        values(&tcp(server.addr(), &message).await).unwrap(),
        ["one"]
    );
    unanswered(&server, &message).await;
    server.inject(Fault::drop().udp());
    unanswered(&server, &addition()).await;
    assert_eq!(server.values("t.example.test"), ["one"]);
    server.inject(Fault::close().tcp());
    assert_eq!(code(&server).await, ResponseCode::NoError);
    assert_eq!(
        tcp_raw(server.addr(), &message.to_vec().unwrap()).await,
        None
    );
}

#[tokio::test]
async fn lame_truncated_and_garbled_answers() {
    let server = start(example()).await;
    let message = question("t.example.test", RecordType::TXT);
    server.inject(Fault::lame().times(1));
    let response = udp(server.addr(), &message).await;
    assert!(!response.metadata.authoritative);
    assert_eq!(values(&response).unwrap(), ["one"]);
    server.inject(Fault::truncate());
    let response = udp(server.addr(), &message).await;
    assert!(response.metadata.truncation && response.answers.is_empty());
    let response = tcp(server.addr(), &message).await;
    assert!(!response.metadata.truncation && response.answers.len() == 1);
    server.heal();
    server.inject(Fault::garbage());
    let octets = message.to_vec().unwrap();
    assert!(Message::from_vec(&udp_raw(server.addr(), &octets).await).is_err());
    assert!(Message::from_vec(&tcp_raw(server.addr(), &octets).await.unwrap()).is_err());
}

#[tokio::test]
async fn a_delayed_answer_does_not_hold_up_another() {
    let server = start(example()).await;
    server.inject(Fault::delay(Duration::from_secs(3600)).qtype(RecordType::A));
    let slow = question("t.example.test", RecordType::A).to_vec().unwrap();
    let quick = question("t.example.test", RecordType::TXT);
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    for octets in [&slow, &quick.to_vec().unwrap()] {
        stream
            .write_u16(octets.len().try_into().unwrap())
            .await
            .unwrap();
        stream.write_all(octets).await.unwrap();
    }
    stream.read_u16().await.unwrap();
    assert_eq!(stream.read_u16().await.unwrap(), quick.metadata.id);
    server.heal();
    server.inject(Fault::delay(Duration::from_millis(20)));
    server.inject(Fault::delay(Duration::from_millis(20)));
    let before = std::time::Instant::now();
    assert_eq!(code(&server).await, ResponseCode::NoError);
    assert!(before.elapsed() >= Duration::from_millis(40));
}

#[tokio::test]
async fn updates_get_lost_in_both_directions() {
    let server = start(example()).await;
    server.inject(Fault::pretend());
    let response = udp(server.addr(), &addition()).await;
    assert_eq!(response.metadata.response_code, ResponseCode::NoError);
    assert_eq!(server.values("t.example.test"), ["one"]);
    assert_eq!(server.updates(), Updates::default());
    server.heal();
    server.inject(Fault::lose_response().updates());
    unanswered(&server, &addition()).await;
    assert_eq!(server.values("t.example.test"), ["one", "two"]);
    assert_eq!(
        (server.updates().messages, server.updates().changes),
        (1, 1)
    );
}
