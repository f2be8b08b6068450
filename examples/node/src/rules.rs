//! The inhibition rules that a configuration file comes to, in the new syntax and the old one alike.

use rumormill::store::matcher::Matcher;

use crate::file::File;
use crate::routing::matchers;
use crate::sections::InhibitRule;

/// While an alert that all of `sources` match fires, those that all of `targets` match are muted, if
/// they have the same values for all labels of `equal`: a label that is missing has an empty value. An
/// alert that both sides match is not muted by another one that both sides match.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) sources: Vec<Matcher>,
    pub(crate) targets: Vec<Matcher>,
    pub(crate) equal: Vec<String>,
}

impl File {
    /// The inhibition rules, in the order of the file, which has been checked.
    pub(crate) fn rules(&self) -> Vec<Rule> {
        let rules = self.inhibit_rules.iter().flatten();
        rules.map(Rule::of).collect()
    }
}

impl Rule {
    fn of(section: &InhibitRule) -> Self {
        let equal = section.equal.iter().flatten();
        Self {
            sources: matchers(
                section.source_matchers.as_ref(),
                section.source_match.as_ref(),
                section.source_match_re.as_ref(),
            ),
            targets: matchers(
                section.target_matchers.as_ref(),
                section.target_match.as_ref(),
                section.target_match_re.as_ref(),
            ),
            equal: equal.map(|label| label.0.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::file::parse;

    #[test]
    fn both_syntaxes_make_the_same_rule() {
        let rule = |text: &str| {
            let text = format!(
                "route: {{receiver: a}}\nreceivers: [{{name: a}}]\ninhibit_rules: [{text}]\n"
            );
            let rules = parse(&text).unwrap().rules();
            format!("{:?}", rules[0])
        };
        let old = rule(
            "{source_match: {severity: critical}, target_match_re: {severity: 'warn|info'}, \
              target_match: {a: b}, equal: [x]}",
        );
        let new = rule(
            "{source_matchers: ['severity=critical'], target_matchers: [a=b, \
              'severity=~\"warn|info\"'], equal: [x]}",
        );
        assert_eq!(old, new);
        assert!(old.contains("severity=~\"warn|info\""), "{old}");
    }
}
