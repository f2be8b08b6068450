//! Matchers.

use rumormill::store::matcher::{Labels, Matcher, Op, Syntax, is_label_name, set_matches};

use super::cost;

const ALL: [Syntax; 3] = [Syntax::Classic, Syntax::Fallback, Syntax::Utf8];

/// Any text is refused or is matchers, at a bounded cost, and what they are written as parses back. The
/// first byte says how it is read.
pub fn matchers(data: &[u8]) {
    let Some((&how, text)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    let syntax = ALL[usize::from(how) % ALL.len()];
    cost::is_bounded(text.len(), || match how / 3 % 3 {
        0 => {
            if let Ok(set) = syntax.matchers(text) {
                comes_back(&set);
            }
        }
        1 => {
            if let Ok(matcher) = syntax.matcher(text) {
                comes_back(&[matcher]);
            }
        }
        _ => {
            for op in [Op::Equal, Op::NotRegex, Op::Regex] {
                if let Ok(matcher) = Matcher::new("name", op, text) {
                    comes_back(&[matcher]);
                }
            }
        }
    });
}

fn comes_back(set: &[Matcher]) {
    for matcher in set {
        let text = matcher.to_string();
        // Texts that end in a brace are those of a list.
        assert_eq!(Syntax::Utf8.matcher(&text).as_ref(), Ok(matcher), "{text}");
        if is_label_name(matcher.name(), Syntax::Classic) {
            let list = format!("{{{text}}}");
            for syntax in ALL {
                let again = syntax.matchers(&list);
                assert_eq!(again.as_deref(), Ok(&[matcher.clone()][..]), "{list}");
            }
        }
        let opposite = match matcher.op() {
            Op::Equal => Op::NotEqual,
            Op::NotEqual => Op::Equal,
            Op::NotRegex => Op::Regex,
            Op::Regex => Op::NotRegex,
        };
        let opposite = Matcher::new(matcher.name(), opposite, matcher.value());
        let opposite = opposite.expect("its opposite is one too");
        for label in ["", "a", matcher.value()] {
            assert_ne!(matcher.matches(label), opposite.matches(label), "{text}");
        }
    }
    let labels: Labels = set
        .iter()
        .map(|it| (it.name().to_owned(), it.value().to_owned()))
        .collect();
    let all = set.iter().all(|matcher| matcher.matches_labels(&labels));
    assert_eq!(set_matches(set, &labels), all);
    let list: Vec<_> = set.iter().map(ToString::to_string).collect();
    let list = format!("{{{}}}", list.join(","));
    assert_eq!(Syntax::Utf8.matchers(&list).as_deref(), Ok(set), "{list}");
}
