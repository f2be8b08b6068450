//! HTTP as the honest client and the hostile ones speak it: each request on a connection of its own.

use std::io::Read as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde_json::Value;

/// A status and a body.
pub(crate) type Answer = (u16, String);

pub(crate) fn get(to: SocketAddr, path: &str, within: Duration) -> Result<Answer, ureq::Error> {
    let agent = agent(within);
    read(agent.get(format!("http://{to}{path}")).call()?)
}

pub(crate) fn post(
    to: SocketAddr,
    path: &str,
    body: &str,
    within: Duration,
) -> Result<Answer, ureq::Error> {
    let agent = agent(within);
    let request = agent.post(format!("http://{to}{path}"));
    let request = request.header("content-type", "application/json");
    read(request.send(body.as_bytes())?)
}

pub(crate) fn delete(to: SocketAddr, path: &str, within: Duration) -> Result<Answer, ureq::Error> {
    let agent = agent(within);
    read(agent.delete(format!("http://{to}{path}")).call()?)
}

/// The names of the members that a node shows.
pub(crate) fn peers(to: SocketAddr, within: Duration) -> Option<Vec<String>> {
    let (_, body) = get(to, "/api/v2/status", within).ok()?;
    let status: Value = serde_json::from_str(&body).ok()?;
    let peers = status["cluster"]["peers"].as_array()?;
    let names = peers.iter().map(|peer| peer["name"].as_str());
    names.map(|name| name.map(str::to_owned)).collect()
}

/// A silence as it is posted, for an hour, of one matcher.
pub(crate) fn silence(name: &str, value: &str, is_regex: bool, comment: &str) -> String {
    let value = Value::from(value);
    let (from, to) = (from_now(0), from_now(3600));
    format!(
        r#"{{"matchers":[{{"name":"{name}","value":{value},"isRegex":{is_regex}}}],"startsAt":"{from}","endsAt":"{to}","createdBy":"bench","comment":"{comment}"}}"#
    )
}

/// The id in the answer to a posted silence.
pub(crate) fn id_of(body: &str) -> Option<String> {
    let answer: Value = serde_json::from_str(body).ok()?;
    answer["silenceID"].as_str().map(str::to_owned)
}

fn agent(within: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(within))
        .build()
        .new_agent()
}

fn read(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    let mut body = String::new();
    response.body_mut().as_reader().read_to_string(&mut body)?;
    Ok((response.status().as_u16(), body))
}

/// RFC 3339, `seconds` from now.
fn from_now(seconds: i64) -> String {
    let now = jiff::Timestamp::try_from(SystemTime::now());
    let at = now.unwrap_or_default() + jiff::SignedDuration::from_secs(seconds);
    at.to_string()
}
