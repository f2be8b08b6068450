//! The routing tree: which receivers an alert goes to, and how it is grouped.

use std::time::Duration;

use rumormill::store::matcher::{
    Labels, Matcher, MatcherError, Op, ParseError, Syntax, set_matches,
};
use serde_json::Value;

use crate::duration::Span;

/// A node of the tree, its receiver and grouping inherited where the file has none.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) receiver: String,
    /// `None`: by all labels (`group_by: ['...']`).
    pub(crate) group_by: Option<Vec<String>>,
    /// How long a new group waits for company.
    pub(crate) group_wait: Duration,
    /// How long until a group is looked at again.
    pub(crate) group_interval: Duration,
    /// How long until an unchanged group is notified again.
    pub(crate) repeat_interval: Duration,
    /// What names the route in the notification log: the matchers on the way to it.
    key: String,
    matchers: Vec<Matcher>,
    goes_on: bool,
    routes: Vec<Self>,
}

/// Why a route cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RouteError {
    #[error("the root route must not have matchers")]
    RootMatches,
    #[error("the root route has no receiver")]
    NoReceiver,
    #[error("a route names the receiver {0:?}, which is not defined")]
    UnknownReceiver(String),
    #[error("a matcher of a route, {text:?}: {error}")]
    Matcher { text: String, error: ParseError },
    #[error("a matcher of a route, for {name:?}: {error}")]
    Label { name: String, error: MatcherError },
    #[error("{0} of a route is not what it should be")]
    Shape(&'static str),
}

impl Route {
    /// The tree from the file's `route:`.
    pub(crate) fn read(value: &Value, receivers: &[String]) -> Result<Self, RouteError> {
        let root = Self::read_under(value, None, receivers)?;
        if !root.matchers.is_empty() {
            return Err(RouteError::RootMatches);
        }
        Ok(root)
    }

    fn read_under(
        value: &Value,
        parent: Option<&Self>,
        receivers: &[String],
    ) -> Result<Self, RouteError> {
        let receiver = match value.get("receiver").and_then(Value::as_str) {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => parent
                .map(|it| it.receiver.clone())
                .ok_or(RouteError::NoReceiver)?,
        };
        if !receivers.contains(&receiver) {
            return Err(RouteError::UnknownReceiver(receiver));
        }
        let group_by = match value.get("group_by") {
            None | Some(Value::Null) => {
                parent.map_or_else(|| Some(Vec::new()), |it| it.group_by.clone())
            }
            Some(list) => {
                let labels = texts(list, "group_by")?;
                (!labels.iter().any(|label| label == "...")).then_some(labels)
            }
        };
        let matchers = matchers(value)?;
        let texts: Vec<_> = matchers.iter().map(ToString::to_string).collect();
        let own = format!("{{{}}}", texts.join(","));
        let mut route = Self {
            receiver,
            group_by,
            group_wait: span(value, "group_wait", parent.map(|it| it.group_wait), 30)?,
            group_interval: span(
                value,
                "group_interval",
                parent.map(|it| it.group_interval),
                300,
            )?,
            repeat_interval: span(
                value,
                "repeat_interval",
                parent.map(|it| it.repeat_interval),
                4 * 3600,
            )?,
            key: parent.map_or_else(|| own.clone(), |it| format!("{}/{own}", it.key)),
            matchers,
            goes_on: value
                .get("continue")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            routes: Vec::new(),
        };
        if let Some(children) = value.get("routes").filter(|it| !it.is_null()) {
            let children = children.as_array().ok_or(RouteError::Shape("routes"))?;
            route.routes = children
                .iter()
                .map(|child| Self::read_under(child, Some(&route), receivers))
                .collect::<Result<_, _>>()?;
        }
        Ok(route)
    }

    /// The routes that an alert ends up at.
    pub(crate) fn of(&self, labels: &Labels) -> Vec<&Self> {
        let mut found = Vec::new();
        self.collect(labels, &mut found);
        found
    }

    fn collect<'a>(&'a self, labels: &Labels, found: &mut Vec<&'a Self>) -> bool {
        if !set_matches(&self.matchers, labels) {
            return false;
        }
        let before = found.len();
        for child in &self.routes {
            if child.collect(labels, found) && !child.goes_on {
                break;
            }
        }
        if found.len() == before {
            found.push(self);
        }
        true
    }

    /// What names a group in the notification log.
    pub(crate) fn group_key(&self, labels: &Labels) -> String {
        let pairs = labels
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"));
        format!("{}:{{{}}}", self.key, pairs.collect::<Vec<_>>().join(", "))
    }

    /// The labels of the group that an alert is in.
    pub(crate) fn group(&self, labels: &Labels) -> Labels {
        match &self.group_by {
            None => labels.clone(),
            Some(by) => by
                .iter()
                .filter_map(|name| labels.get_key_value(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        }
    }
}

/// `matchers`, and the older `match` and `match_re`.
fn matchers(value: &Value) -> Result<Vec<Matcher>, RouteError> {
    let mut all = Vec::new();
    if let Some(list) = value.get("matchers").filter(|it| !it.is_null()) {
        for text in texts(list, "matchers")? {
            let parsed = Syntax::Fallback.matchers(&text);
            all.extend(parsed.map_err(|error| RouteError::Matcher { text, error })?);
        }
    }
    for (field, op) in [("match", Op::Equal), ("match_re", Op::Regex)] {
        let Some(map) = value.get(field).filter(|it| !it.is_null()) else {
            continue;
        };
        for (name, value) in map.as_object().ok_or(RouteError::Shape(field))? {
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let matcher = Matcher::new(name, op, text);
            all.push(matcher.map_err(|error| RouteError::Label {
                name: name.clone(),
                error,
            })?);
        }
    }
    Ok(all)
}

/// A duration of a route, or its parent's, or a default in seconds.
fn span(
    value: &Value,
    field: &'static str,
    parent: Option<Duration>,
    default: u64,
) -> Result<Duration, RouteError> {
    match value.get(field).and_then(Value::as_str) {
        None => Ok(parent.unwrap_or_else(|| Duration::from_secs(default))),
        Some(text) => text
            .parse()
            .map(|Span(span)| span)
            .map_err(|_| RouteError::Shape(field)),
    }
}

fn texts(value: &Value, what: &'static str) -> Result<Vec<String>, RouteError> {
    let list = value.as_array().ok_or(RouteError::Shape(what))?;
    let text = |it: &Value| {
        it.as_str()
            .map(str::to_owned)
            .ok_or(RouteError::Shape(what))
    };
    list.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn an_alert_goes_to_the_deepest_route_that_matches() {
        let tree = json!({"receiver": "all", "group_by": ["alertname"], "routes": [
            {"receiver": "log", "continue": true, "matchers": ["severity=~\"warn.*\""]},
            {"receiver": "db", "match": {"team": "db"}, "group_by": ["..."], "routes": [
                {"match_re": {"severity": "crit|page"}, "receiver": "pager"}]},
            {"receiver": "log", "matchers": ["a=b", "c!=d"]}]});
        let names = ["all", "log", "db", "pager"].map(str::to_owned);
        let tree = Route::read(&tree, &names).unwrap();
        for (pairs, expected) in [
            (&[("x", "y")][..], &["all"][..]),
            (&[("team", "db")], &["db"]),
            (&[("team", "db"), ("severity", "page")], &["pager"]),
            (&[("team", "db"), ("severity", "warning")], &["log", "db"]),
            (&[("a", "b")], &["log"]),
            (&[("a", "b"), ("c", "d")], &["all"]),
        ] {
            let routes = tree.of(&labels(pairs));
            let found: Vec<_> = routes.iter().map(|it| it.receiver.as_str()).collect();
            assert_eq!(found, expected, "{pairs:?}");
        }
        let alert = labels(&[("alertname", "x"), ("team", "db")]);
        assert_eq!(tree.group(&alert), labels(&[("alertname", "x")]));
        assert_eq!(tree.of(&alert)[0].group(&alert), alert);
    }

    #[test]
    fn mistakes_are_errors() {
        let read = |tree: Value| Route::read(&tree, &["a".to_owned()]).map(drop);
        assert_eq!(read(json!({})), Err(RouteError::NoReceiver));
        assert_eq!(
            read(json!({"receiver": "b"})),
            Err(RouteError::UnknownReceiver("b".to_owned()))
        );
        assert_eq!(
            read(json!({"receiver": "a", "match": {"x": "y"}})),
            Err(RouteError::RootMatches)
        );
        assert!(read(json!({"receiver": "a", "routes": [{"matchers": ["x"]}]})).is_err());
        assert!(read(json!({"receiver": "a", "routes": {}})).is_err());
    }
}
