//! Passwords: who may ask for anything, where `--web.config.file` names users.
//!
//! A hash is made to be slow, so that few are computed at a time, and a password that was right is remembered
//! by a hash that is fast and that nobody outside of this process can compute.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::Semaphore;

use super::{Seat, Shared};
use crate::app::App;
use crate::room::Room;
use crate::web::WebConfig;

/// What is known of passwords.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Hashes are computed so many at a time.
    turns: Arc<Semaphore>,
    /// Those who wait for that.
    queue: Arc<Room>,
    right: Mutex<Right>,
}

/// The last password of each user that was right, and the hash that it was right for.
#[derive(Debug, Default)]
struct Right {
    keys: [RandomState; 2],
    of: BTreeMap<String, [u64; 2]>,
}

impl Guard {
    pub(crate) fn new() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(TURNS)),
            queue: Room::new(QUEUE_MAX, 0),
            right: Mutex::default(),
        }
    }

    fn print(right: &Right, password: &str, hash: &str) -> [u64; 2] {
        let [first, second] = &right.keys;
        [
            first.hash_one((password, hash)),
            second.hash_one((hash, password)),
        ]
    }

    fn is_known(&self, user: &str, password: &str, hash: &str) -> bool {
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        right.of.get(user) == Some(&Self::print(&right, password, hash))
    }

    fn remember(&self, user: &str, password: &str, hash: &str) {
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        let print = Self::print(&right, password, hash);
        right.of.insert(user.to_owned(), print);
    }
}

/// Lets a request pass whose user and password are right, if there are any users; and gives every answer the
/// headers of the file.
pub(super) async fn guard(
    State(app): Shared,
    Extension(place): Seat,
    request: Request,
    next: Next,
) -> Response {
    let config = app.configuration.web();
    let mut response = if config.users.is_empty() {
        next.run(request).await
    } else {
        match may_pass(&app, &config, &place, request.headers()).await {
            Pass::Yes => next.run(request).await,
            Pass::No => unauthorized(),
            Pass::Later => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    };
    for (name, value) in &config.headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            let headers = response.headers_mut();
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

enum Pass {
    Later,
    No,
    Yes,
}

async fn may_pass(
    app: &App,
    config: &WebConfig,
    place: &crate::web::Place,
    headers: &HeaderMap,
) -> Pass {
    let Some((user, password)) = credentials(headers) else {
        return Pass::No;
    };
    // Whether a user is there takes as long as whether a password is right.
    let known = config.users.get(&user);
    let any = config.users.values().next();
    let Some(hash) = known.or(any).cloned() else {
        return Pass::No;
    };
    let guard = &app.guard;
    if known.is_some() && guard.is_known(&user, &password, &hash) {
        return Pass::Yes;
    }
    let mut waits = guard.queue.enter(place.client);
    if !waits.grow(1) {
        return Pass::Later;
    }
    let Ok(turn) = Arc::clone(&guard.turns).acquire_owned().await else {
        return Pass::Later;
    };
    let (said, asked) = (password.clone(), hash.clone());
    let verified = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        bcrypt::verify(said, &asked).unwrap_or(false)
    });
    if verified.await.unwrap_or(false) && known.is_some() {
        guard.remember(&user, &password, &hash);
        return Pass::Yes;
    }
    Pass::No
}

fn unauthorized() -> Response {
    let asks = [(header::WWW_AUTHENTICATE, "Basic")];
    (StatusCode::UNAUTHORIZED, asks, "Unauthorized\n").into_response()
}

/// The user and the password of `Authorization: Basic`.
fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(decoded(encoded.trim())?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Base64, as RFC 4648 has it, with or without what fills it up.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for c in text.trim_end_matches('=').bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}

/// Of a machine with few processors, half.
const TURNS: usize = 1;
/// Requests that wait for a hash, of all clients; half of them of one.
const QUEUE_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_decoded() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_str(text).unwrap());
            credentials(&headers)
        };
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(of("Basic YWxpY2U6czNjcmV0"), pair("alice", "s3cret"));
        assert_eq!(of("basic YTo="), pair("a", ""));
        assert_eq!(of("Basic YTpiOmM="), pair("a", "b:c"));
        for wrong in [
            "Basic",
            "Basic ?",
            "Bearer YTpi",
            "Basic YWI=",
            "Basic //8=",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_password_is_remembered_for_its_user_and_hash() {
        let guard = Guard::new();
        guard.remember("a", "p", "h");
        assert!(guard.is_known("a", "p", "h"));
        assert!(!guard.is_known("a", "q", "h"));
        assert!(!guard.is_known("a", "p", "i"), "the hash was changed");
        assert!(!guard.is_known("b", "p", "h"));
    }
}
