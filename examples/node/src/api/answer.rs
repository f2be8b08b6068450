//! Answers and refusals.
//!
//! An answer that may be large is written in pieces, each of which takes a piece of the room for
//! answers until it is sent. So what clients ask for and do not read stays within that room.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use serde::Serialize;
use serde_json::{Value, json};

use crate::client::Client;
use crate::limits::{Limit, Reached};
use crate::room::{Room, Share};
use crate::work::{Busy, Overrun};

/// A request that is not done. Nothing was written.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    body: String,
}

impl Refusal {
    /// Alertmanager's own refusals: a JSON string.
    pub(super) fn text(status: StatusCode, message: impl AsRef<str>) -> Self {
        let body = json!(clipped(message.as_ref())).to_string();
        Self { status, body }
    }

    /// A bad request, in Alertmanager's own words.
    pub(super) fn bad(message: impl AsRef<str>) -> Self {
        Self::text(StatusCode::BAD_REQUEST, message)
    }

    /// The refusals of its framework: a code and a message.
    pub(super) fn coded(status: StatusCode, code: u32, message: impl AsRef<str>) -> Self {
        let body = json!({"code": code, "message": clipped(message.as_ref())}).to_string();
        Self { status, body }
    }

    /// A field that must be there.
    pub(super) fn required(field: &str) -> Self {
        let message = format!("{field} in body is required");
        Self::coded(StatusCode::UNPROCESSABLE_ENTITY, 602, message)
    }

    /// As API v1 refuses.
    pub(super) fn v1(&self) -> Response {
        let message = match serde_json::from_str(&self.body) {
            Ok(Value::String(message)) => message,
            Ok(Value::Object(mut fields)) => match fields.remove("message") {
                Some(Value::String(message)) => message,
                _ => self.body.clone(),
            },
            _ => self.body.clone(),
        };
        let is_theirs = self.status.is_client_error();
        let (status, kind) = match self.status {
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => {
                (self.status, "bad_data")
            }
            _ if is_theirs => (StatusCode::BAD_REQUEST, "bad_data"),
            _ => (self.status, "server_error"),
        };
        let body = json!({"status": "error", "errorType": kind, "error": message});
        let refusal = Self {
            status,
            body: body.to_string(),
        };
        refusal.into_response()
    }

    /// It may be done later.
    pub(super) fn later(message: impl AsRef<str>) -> Self {
        Self::coded(StatusCode::SERVICE_UNAVAILABLE, 503, message)
    }
}

impl From<Busy> for Refusal {
    fn from(_: Busy) -> Self {
        Self::later("too many requests are under way, try again later")
    }
}

impl From<Overrun> for Refusal {
    fn from(_: Overrun) -> Self {
        Self::later("the request takes too much work; ask for less, with filters or in parts")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, JSON, self.body + "\n").into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

/// A message quotes what it is about, which may be megabytes.
fn clipped(message: &str) -> String {
    if message.len() <= MESSAGE_BYTES_MAX {
        return message.to_owned();
    }
    let (half, end) = (MESSAGE_BYTES_MAX / 2, message.len());
    let is_boundary = |at: &usize| message.is_char_boundary(*at);
    let from = (0..=half).rev().find(is_boundary).unwrap_or(0);
    let to = (end - half..=end).find(is_boundary).unwrap_or(end);
    format!("{}[...]{}", &message[..from], &message[to..])
}

/// What a handler answers.
pub(super) type Answer = Result<Response, Refusal>;

/// A small value as the body.
pub(super) fn json_of(value: &impl Serialize) -> Response {
    let mut body = serde_json::to_vec(value).expect("plain data is valid JSON");
    body.push(b'\n');
    (JSON, body).into_response()
}

/// The room that answers share, and who is told when it is full.
#[derive(Debug)]
pub(crate) struct AnswerRoom {
    room: Arc<Room>,
    reached: Arc<Reached>,
}

impl AnswerRoom {
    pub(crate) fn new(reached: Arc<Reached>) -> Self {
        Self {
            room: Room::new(ROOM_BYTES, PIECE_BYTES),
            reached,
        }
    }

    /// How much is taken.
    pub(crate) fn held(&self) -> usize {
        self.room.held()
    }

    /// An answer of nothing yet.
    pub(super) fn answer(&self, client: Client) -> Pieces {
        Pieces {
            pieces: VecDeque::new(),
            bytes: 0,
            share: self.room.enter(client),
        }
    }

    /// Room for what is needed to make an answer.
    pub(super) fn workspace(&self, client: Client) -> Share {
        self.room.enter(client)
    }

    /// There was none.
    pub(super) fn refusal(&self) -> Refusal {
        self.reached.hit(Limit::AnswerRoom);
        Refusal::later(
            "there is no room for the answer at the moment; ask for less, with filters, or try \
             again later",
        )
    }

    /// One value as the body, however large.
    pub(super) fn of(&self, client: Client, value: &impl Serialize) -> Answer {
        let mut pieces = self.answer(client);
        self.write(&mut pieces, value)?;
        Ok(pieces.finish())
    }

    fn write(&self, to: &mut Pieces, value: &impl Serialize) -> Result<(), Refusal> {
        let written = serde_json::to_writer(&mut *to, value).map_err(io::Error::from);
        written.map_err(|_| self.refusal())
    }

    /// A list as the body, made of its values one by one.
    pub(super) fn list(&self, client: Client) -> List<'_> {
        List {
            room: self,
            pieces: self.answer(client),
            around: ("", ""),
        }
    }

    /// The same, as the data of an answer of API v1.
    pub(super) fn list_v1(&self, client: Client) -> List<'_> {
        List {
            around: ("{\"status\":\"success\",\"data\":", "}"),
            ..self.list(client)
        }
    }
}

/// A JSON list that is being written.
pub(super) struct List<'a> {
    room: &'a AnswerRoom,
    pieces: Pieces,
    /// What is written before and after it.
    around: (&'static str, &'static str),
}

impl List<'_> {
    pub(super) fn push(&mut self, value: &impl Serialize) -> Result<(), Refusal> {
        if self.pieces.bytes == 0 {
            self.say(self.around.0)?;
            self.say("[")?;
        } else {
            self.say(",")?;
        }
        self.room.write(&mut self.pieces, value)
    }

    pub(super) fn finish(mut self) -> Answer {
        if self.pieces.bytes == 0 {
            self.say(self.around.0)?;
            self.say("[")?;
        }
        self.say("]")?;
        self.say(self.around.1)?;
        Ok(self.pieces.finish())
    }

    fn say(&mut self, text: &str) -> Result<(), Refusal> {
        let said = io::Write::write_all(&mut self.pieces, text.as_bytes());
        said.map_err(|_| self.room.refusal())
    }
}

/// An answer in pieces.
pub(super) struct Pieces {
    pieces: VecDeque<Vec<u8>>,
    bytes: usize,
    share: Share,
}

impl Pieces {
    fn finish(mut self) -> Response {
        // Even if there is no room for one byte more.
        match self.pieces.back_mut() {
            Some(last) => last.push(b'\n'),
            None => self.pieces.push_back(b"\n".to_vec()),
        }
        self.bytes += 1;
        (JSON, Body::new(self)).into_response()
    }
}

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let has_room = |last: &Vec<u8>| last.len() < PIECE_BYTES;
        if !self.pieces.back().is_some_and(has_room) {
            if !self.share.grow(PIECE_BYTES) {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            self.pieces.push_back(Vec::new());
        }
        let Some(last) = self.pieces.back_mut() else {
            return Ok(0);
        };
        let taken = bytes.len().min(PIECE_BYTES - last.len());
        last.extend_from_slice(&bytes[..taken]);
        self.bytes += taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(piece) = self.pieces.pop_front() else {
            return Poll::Ready(None);
        };
        self.bytes -= piece.len();
        self.share.shrink(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes as u64)
    }
}

const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
/// In seconds.
pub(super) const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");
/// What a refusal says at most.
const MESSAGE_BYTES_MAX: usize = 2 << 10;
/// An answer of one piece needs no room.
const PIECE_BYTES: usize = 64 << 10;
/// Answers under way, all together, and what it takes to make them: a list of 50,000 ordinary alerts
/// for one client, and as much for the others.
const ROOM_BYTES: usize = 96 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> Client {
        Client::V4([10, 0, 0, last].into())
    }

    fn room(pieces: usize) -> AnswerRoom {
        AnswerRoom {
            room: Room::new(pieces * PIECE_BYTES, PIECE_BYTES),
            reached: Arc::default(),
        }
    }

    async fn read(response: Response) -> Vec<u8> {
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await;
        body.unwrap().to_vec()
    }

    #[tokio::test]
    async fn a_list_is_what_its_values_are() {
        let room = room(100);
        assert_eq!(read(room.list(client(1)).finish().unwrap()).await, b"[]\n");
        let long = "x".repeat(PIECE_BYTES);
        let mut list = room.list(client(1));
        for value in ["a", &long, "b"] {
            list.push(&value).unwrap();
        }
        let response = list.finish().unwrap();
        assert_eq!(room.held(), PIECE_BYTES, "the first piece is free");
        let text = format!("[\"a\",\"{long}\",\"b\"]\n");
        assert_eq!(response.body().size_hint().exact(), Some(text.len() as u64));
        assert_eq!(read(response).await, text.as_bytes());
        assert_eq!(room.held(), 0);
    }

    /// What is not read keeps its room, and others their share of it.
    #[tokio::test]
    async fn answers_that_are_not_read_have_an_end() {
        let room = room(4);
        let large = "x".repeat(5 * PIECE_BYTES / 2);
        let unread = room.of(client(1), &large).unwrap();
        assert!(room.of(client(1), &large).is_err(), "half is one client's");
        assert!(room.of(client(1), &"small").is_ok());
        let other = room.of(client(2), &large).unwrap();
        assert!(room.of(client(3), &large).is_err(), "there is no more");
        drop(other);
        assert!(room.of(client(3), &large).is_ok());
        drop(unread);
        assert_eq!(room.held(), 0);
        let mut counts = room.reached.counts();
        assert_eq!(counts.find(|it| it.0 == Limit::AnswerRoom).unwrap().1, 2);
    }

    #[test]
    fn refusals_are_short() {
        let refusal = Refusal::bad("é".repeat(1 << 20));
        assert!(refusal.body.len() < MESSAGE_BYTES_MAX + 100);
        assert_eq!(Refusal::bad("short").body, "\"short\"");
    }
}
