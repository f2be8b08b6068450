//! What a client sees that speaks HTTP by hand: answers to bodies that nobody reads.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::support::{Dir, Process};

/// A body that is refused before it was read, on every kind of route, again and again: the client,
/// which sends all of it before it reads anything, sees the answer each time.
#[test]
fn a_refused_body_never_costs_the_answer() {
    let dir = Dir::new("raw");
    let node = Process::start(&dir, "am", &["--cluster.listen-address="]);
    let body = vec![b'x'; 3 << 20];
    for round in 0..40 {
        for (line, status) in [
            ("POST /api/v2/silences", 413),
            ("PUT /api/v2/silences", 405),
            ("POST /api/v2/status", 405),
            ("DELETE /api/v2/silence/abc", 422),
            ("GET /metrics", 200),
            ("POST /nowhere", 404),
        ] {
            for chunked in [false, true] {
                let answer = ask(&node, line, &body, chunked);
                let expected = format!("HTTP/1.1 {status} ");
                let start = &answer[..answer.len().min(200)];
                assert!(start.starts_with(&expected), "{round} {line}: {start:?}");
            }
        }
    }
    assert_eq!(node.get("/api/v2/silences").1, serde_json::json!([]));
}

/// A request whose body does not come is answered when its time is over, and takes nothing away from
/// others meanwhile.
#[test]
fn a_request_that_takes_too_long_is_answered() {
    let dir = Dir::new("hasty");
    let flags = ["--cluster.listen-address=", "--web.timeout=300ms"];
    let node = Process::start(&dir, "am", &flags);
    let address = node.url.trim_start_matches("http://");
    let head = "POST /api/v2/alerts HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let mut slow: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(b"content-length: 1000\r\n\r\n[{").unwrap();
            stream
        })
        .collect();
    assert_eq!(node.get("/api/v2/alerts").0, 200);
    for stream in &mut slow {
        let mut answer = [0; 1024];
        let len = stream.read(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..len]);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(
            answer.ends_with("Exceeded configured timeout of 300ms.\n"),
            "{answer}"
        );
    }
    assert_eq!(node.get("/api/v2/alerts").1, serde_json::json!([]));
}

fn ask(node: &Process, line: &str, body: &[u8], chunked: bool) -> String {
    let mut stream = TcpStream::connect(node.url.trim_start_matches("http://")).unwrap();
    let length = if chunked {
        "transfer-encoding: chunked".to_owned()
    } else {
        format!("content-length: {}", body.len())
    };
    let head = format!(
        "{line} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    if chunked {
        for chunk in body.chunks(1 << 16) {
            let size = format!("{:x}\r\n", chunk.len());
            stream.write_all(size.as_bytes()).unwrap();
            stream.write_all(chunk).unwrap();
            stream.write_all(b"\r\n").unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
    } else {
        stream.write_all(body).unwrap();
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}
