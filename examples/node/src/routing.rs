//! The routing tree: which receivers an alert goes to, and how it is grouped.

use std::collections::BTreeMap;
use std::time::Duration;

use rumormill::store::matcher::{Labels, Matcher, Op, set_matches};
use serde_saphyr::Spanned;

use crate::duration::Term;
use crate::go_quote::go_quoted;
use crate::sections::{LabelName, List, Matchers, Pattern, RouteSection};

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
    /// Intervals in which it notifies nobody.
    pub(crate) mute_time_intervals: Vec<String>,
    /// Intervals outside of which it notifies nobody, if there are any.
    pub(crate) active_time_intervals: Vec<String>,
    /// Its place among all routes, from the root on and each before what is under it: two routes with
    /// the same matchers are still two.
    pub(crate) id: usize,
    /// What names the route in the notification log: the matchers on the way to it.
    key: String,
    matchers: Vec<Matcher>,
    goes_on: bool,
    routes: Vec<Self>,
}

impl Route {
    /// The tree from the file's `route:`, which has been checked.
    pub(crate) fn of_section(section: &RouteSection) -> Self {
        Self::under(section, None, &mut 0)
    }

    fn under(section: &RouteSection, parent: Option<&Self>, next: &mut usize) -> Self {
        let id = *next;
        *next += 1;
        let receiver = section.receiver.as_ref().map(|it| it.value.clone());
        let receiver = receiver.filter(|name| !name.is_empty());
        let inherited = || parent.map(|it| it.receiver.clone()).unwrap_or_default();
        // An empty list says nothing, as in Alertmanager.
        let given = section.group_by.as_ref().filter(|list| !list.is_empty());
        let group_by = match given {
            None => parent.map_or_else(|| Some(Vec::new()), |it| it.group_by.clone()),
            Some(labels) => {
                let all = labels.iter().any(|label| label.value.0 == "...");
                let names = labels.iter().map(|label| label.value.0.clone());
                (!all).then(|| names.collect())
            }
        };
        let span = |own: Option<Term>, parent: Option<Duration>, default| {
            let inherited = parent.unwrap_or_else(|| Duration::from_secs(default));
            own.map_or(inherited, |term| term.0)
        };
        let of = |own: &Option<Spanned<Term>>| own.as_ref().map(|it| it.value);
        let mut matchers = matchers(section.matchers.as_ref(), section.equal.as_ref(), None);
        matchers.extend(section.match_re.iter().flatten().filter_map(anchored));
        sort(&mut matchers);
        let names = |list: &List<String>| -> Vec<String> {
            let names = list.iter().flatten();
            names.map(|name| name.value.clone()).collect()
        };
        let texts: Vec<_> = matchers.iter().map(ToString::to_string).collect();
        let own = format!("{{{}}}", texts.join(","));
        let mut route = Self {
            receiver: receiver.unwrap_or_else(inherited),
            group_by,
            group_wait: span(section.group_wait, parent.map(|it| it.group_wait), 30),
            group_interval: span(
                of(&section.group_interval),
                parent.map(|it| it.group_interval),
                300,
            ),
            repeat_interval: span(
                of(&section.repeat_interval),
                parent.map(|it| it.repeat_interval),
                4 * 3600,
            ),
            key: parent.map_or_else(|| own.clone(), |it| format!("{}/{own}", it.key)),
            mute_time_intervals: names(&section.mute_time_intervals),
            active_time_intervals: names(&section.active_time_intervals),
            id,
            matchers,
            goes_on: section.goes_on.as_ref().is_some_and(|it| it.value.0),
            routes: Vec::new(),
        };
        let children = section.routes.iter().flatten();
        route.routes = children
            .map(|child| Self::under(&child.value, Some(&route), next))
            .collect();
        route
    }

    /// Whether it or a route under it names a receiver.
    pub(crate) fn names(&self, receiver: &str) -> bool {
        self.receiver == receiver || self.routes.iter().any(|route| route.names(receiver))
    }

    /// The matchers on the way to it and to each route under it, of those that repeat later than `than`.
    pub(crate) fn repeating_after(&self, than: Duration) -> Vec<(&str, Duration)> {
        let own = (self.repeat_interval > than).then_some((&self.key[..], self.repeat_interval));
        let under = self.routes.iter();
        let under = under.flat_map(|route| route.repeating_after(than));
        own.into_iter().chain(under).collect()
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
        let pairs = labels.iter();
        let pairs = pairs.map(|(name, value)| format!("{name}={}", go_quoted(value)));
        // Sorted as they are written: `a1=` comes before `a=`.
        let mut pairs: Vec<String> = pairs.collect();
        pairs.sort_unstable();
        format!("{}:{{{}}}", self.key, pairs.join(", "))
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

/// `matchers`, and the older `match` and `match_re`, sorted by name, value and operator: as Alertmanager
/// sorts them, so that a group has one key however its matchers are written.
pub(crate) fn matchers(
    lists: Option<&Vec<Matchers>>,
    equal: Option<&BTreeMap<LabelName, String>>,
    regex: Option<&BTreeMap<LabelName, Pattern>>,
) -> Vec<Matcher> {
    let lists = lists.into_iter().flatten();
    let mut all: Vec<Matcher> = lists.flat_map(|list| list.0.iter().cloned()).collect();
    let equal = equal.into_iter().flatten();
    let equal = equal.map(|(name, value)| (name, Op::Equal, value));
    let regex = regex.into_iter().flatten();
    let regex = regex.map(|(name, pattern)| (name, Op::Regex, &pattern.0));
    // Names and patterns were checked as they were read.
    all.extend(
        equal
            .chain(regex)
            .filter_map(|(name, op, value)| Matcher::new(&name.0, op, value).ok()),
    );
    sort(&mut all);
    all
}

/// A pattern of `match_re`, for which Alertmanager's routes have it between `^(?:` and `)$`, and keys of groups with it. It
/// matches the same as without.
fn anchored((name, pattern): (&LabelName, &Pattern)) -> Option<Matcher> {
    let anchored = Matcher::new(&name.0, Op::Regex, format!("^(?:{})$", pattern.0));
    // One that is as large as it may be would be too large.
    let matcher = anchored.or_else(|_| Matcher::new(&name.0, Op::Regex, &pattern.0));
    // Names and patterns were checked as they were read.
    matcher.ok()
}

fn sort(all: &mut [Matcher]) {
    let place = |op: Op| {
        let order = [Op::Equal, Op::NotEqual, Op::Regex, Op::NotRegex];
        order.into_iter().position(|it| it == op)
    };
    let rank = |it: &Matcher| (it.name().to_owned(), it.value().to_owned(), place(it.op()));
    all.sort_by_cached_key(rank);
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
        let tree = Route::of_section(&serde_saphyr::from_str(&tree.to_string()).unwrap());
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
        let ids: Vec<_> = tree.of(&labels(&[("team", "db"), ("severity", "warning")]));
        assert_eq!(ids.iter().map(|it| it.id).collect::<Vec<_>>(), [1, 2]);
        let alert = labels(&[("alertname", "x"), ("team", "db")]);
        assert_eq!(tree.group(&alert), labels(&[("alertname", "x")]));
        assert_eq!(tree.of(&alert)[0].group(&alert), alert);
    }

    /// Sorted, as in the log that Alertmanager keeps.
    #[test]
    fn a_group_has_one_key_however_its_matchers_are_written() {
        let key = |route: serde_json::Value| {
            let tree = json!({"receiver": "r", "group_by": ["alertname"], "routes": [route]});
            let tree = Route::of_section(&serde_saphyr::from_str(&tree.to_string()).unwrap());
            let alert = labels(&[("alertname", "x"), ("severity", "page"), ("team", "db")]);
            let route = tree.of(&alert)[0];
            route.group_key(&route.group(&alert))
        };
        let expected = "{}/{severity=\"page\",team=~\"^(?:d.*)$\",team=\"db\"}:{alertname=\"x\"}";
        for matchers in [
            json!({"matchers": ["team=db", "severity=page", "team=~\"^(?:d.*)$\""]}),
            json!({"matchers": ["{severity=page,team=~\"^(?:d.*)$\",team=db}"]}),
            json!({"match": {"team": "db"}, "match_re": {"team": "d.*"}, "matchers": ["severity=page"]}),
        ] {
            assert_eq!(key(matchers.clone()), expected, "{matchers}");
        }
    }

    /// As `model.LabelSet` writes them: sorted with their values, which are quoted as Go does.
    #[test]
    fn the_labels_of_a_key_are_written_as_go_writes_them() {
        let tree = json!({"receiver": "r"});
        let tree = Route::of_section(&serde_saphyr::from_str(&tree.to_string()).unwrap());
        let group = labels(&[("a", "x\u{a0}\u{7}"), ("a1", "e\u{301}"), ("a_b", "\"")]);
        let expected = "{}:{a1=\"e\u{301}\", a=\"x\\u00a0\\a\", a_b=\"\\\"\"}";
        assert_eq!(tree.group_key(&group), expected);
    }

    /// Also where the parent groups by all labels.
    #[test]
    fn an_empty_list_of_labels_is_inherited_over() {
        let alert = labels(&[("alertname", "x"), ("team", "db")]);
        for (parent, group) in [
            (json!(["alertname"]), labels(&[("alertname", "x")])),
            (json!(["..."]), alert.clone()),
            (json!([]), Labels::new()),
        ] {
            let tree = json!({"receiver": "r", "group_by": parent, "routes": [{"group_by": []}]});
            let tree = Route::of_section(&serde_saphyr::from_str(&tree.to_string()).unwrap());
            let route = tree.of(&alert)[0];
            assert_eq!((route.id, route.group(&alert)), (1, group));
        }
    }
}
