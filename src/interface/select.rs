//! Which interfaces are watched, and why, or why not.

use std::borrow::Cow;
use std::fmt;

use glob::Pattern;

use super::{Interface, shown};

/// An interface name as it was asked for: one name, or a pattern with `*`, `?` or `[…]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern {
    pattern: Pattern,
    literal: bool,
}

impl NamePattern {
    /// Takes a name or pattern.
    ///
    /// # Errors
    ///
    /// A line that says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        let literal = !text.contains(['*', '?', '[', ']']);
        // dev_valid_name in net/core/dev.c.
        if literal && (text == "." || text == "..") {
            return Err("no interface can have this name".to_owned());
        }
        if text.contains(['/', ':']) || text.contains(char::is_whitespace) {
            return Err("no interface name holds '/', ':' or white space".to_owned());
        }
        // Names beside the first may have 127 bytes.
        if literal && text.len() > 15 {
            return Err(format!(
                "an interface is named by its first name, which has at most 15 bytes; if this is another name of one \
                 (altname), `ip link show {text}` tells the first"
            ));
        }
        let pattern = Pattern::new(text)
            .map_err(|error| format!("{} at character {}; use *, ? and [a-z]", error.msg, error.pos + 1))?;
        Ok(Self { pattern, literal })
    }

    /// The name, if it is one and not a pattern.
    pub fn literal(&self) -> Option<&str> {
        self.literal.then(|| self.pattern.as_str())
    }

    fn matches(&self, name: &str) -> bool {
        self.pattern.matches(name)
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.pattern.as_str())
    }
}

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Names and patterns to watch; none means the default choice.
    pub include: Vec<NamePattern>,
    /// Names and patterns never to watch.
    pub exclude: Vec<NamePattern>,
}

/// Whether an interface is watched, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is: by name.
    Named,
    /// It is: by this pattern.
    Matched(String),
    /// It is: by default.
    Default,
    /// It is not, for this reason.
    Not(String),
}

impl Verdict {
    /// Whether it is watched.
    pub fn is_watched(&self) -> bool {
        !matches!(self, Self::Not(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named => f.write_str("named"),
            Self::Matched(pattern) => write!(f, "matches {pattern}"),
            Self::Default => f.write_str("Ethernet, up, not a port of another"),
            Self::Not(why) => f.write_str(why),
        }
    }
}

impl Selection {
    /// The names that were given in full: they are waited for.
    pub fn literals(&self) -> impl Iterator<Item = &str> {
        self.include.iter().filter_map(NamePattern::literal)
    }

    /// The patterns that lead to none of these interfaces being watched.
    pub fn idle_patterns<'a>(&'a self, interfaces: &'a [Interface]) -> impl Iterator<Item = &'a NamePattern> {
        let watched: Vec<_> =
            interfaces.iter().filter(|one| self.verdict(one, interfaces, false).is_watched()).collect();
        let leads_to_none =
            move |pattern: &NamePattern| !watched.iter().any(|one| pattern.matches(&one.name));
        self.include.iter().filter(move |pattern| pattern.literal().is_none() && leads_to_none(pattern))
    }

    /// Whether an interface of this name is never watched.
    pub fn excludes(&self, name: &str) -> bool {
        self.exclude.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether a name is asked for, whatever the interface is like that has or had it.
    pub fn takes(&self, name: &str) -> bool {
        let included = self.include.is_empty() || self.include.iter().any(|pattern| pattern.matches(name));
        included && !self.excludes(name)
    }

    /// Whether this interface is watched. `all` are those that exist, to name masters; `watched` says that it
    /// is watched already: then going down does not end that.
    pub fn verdict(&self, interface: &Interface, all: &[Interface], watched: bool) -> Verdict {
        let name = &interface.name;
        if let Some(pattern) = self.exclude.iter().find(|pattern| pattern.matches(name)) {
            return Verdict::Not(format!("excluded by {pattern}"));
        }
        if let Some(unfit) = interface.unfit() {
            return Verdict::Not(unfit);
        }
        if !self.include.is_empty() {
            if self.literals().any(|literal| literal == name) {
                return Verdict::Named;
            }
            return match self.include.iter().find(|pattern| pattern.matches(name)) {
                Some(pattern) => Verdict::Matched(pattern.to_string()),
                None => Verdict::Not("not asked for by --interface".to_owned()),
            };
        }
        if let Some(master) = &interface.master
            && matches!(master.kind.as_str(), "bridge" | "bond" | "team")
        {
            let master_name = all
                .iter()
                .find(|other| other.index == master.index)
                .map_or(Cow::Borrowed("another namespace"), |other| shown(&other.name));
            let kind = &master.kind;
            return Verdict::Not(format!(
                "port of {kind} {master_name}, which sees all but link-local frames; name it to watch it"
            ));
        }
        if !interface.up && !watched {
            return Verdict::Not("down; watched as soon as it is up".to_owned());
        }
        Verdict::Default
    }
}

#[cfg(test)]
mod tests {
    use super::super::Master;
    use super::super::fixture::ethernet;
    use super::*;

    fn selection(include: &[&str], exclude: &[&str]) -> Selection {
        let patterns = |texts: &[&str]| texts.iter().map(|text| NamePattern::new(text).unwrap()).collect();
        Selection { include: patterns(include), exclude: patterns(exclude) }
    }

    fn why_not(selection: &Selection, interface: &Interface) -> String {
        match selection.verdict(interface, &[ethernet(9, "br0")], false) {
            Verdict::Not(why) => why,
            verdict => panic!("{verdict}"),
        }
    }

    fn port(kind: &str) -> Interface {
        Interface { master: Some(Master { index: 9, kind: kind.to_owned() }), ..ethernet(2, "eth0") }
    }

    #[test]
    fn by_default_ethernet_that_is_up_and_its_own_master() {
        let default = selection(&[], &[]);
        assert_eq!(default.verdict(&ethernet(2, "eth0"), &[], false), Verdict::Default);
        assert!(why_not(&default, &Interface { up: false, ..ethernet(2, "eth0") }).contains("down"));
        assert!(why_not(&default, &Interface { loopback: true, ..ethernet(1, "lo") }).contains("loopback"));
        assert!(why_not(&default, &Interface { hardware: 65_534, ..ethernet(3, "tun0") }).contains("tun"));
        for kind in ["bridge", "bond", "team"] {
            assert!(why_not(&default, &port(kind)).contains(&format!("port of {kind} br0")));
        }
        // A terminal does not act on the name of another.
        let verdict = default.verdict(&port("bridge"), &[ethernet(9, "b\x1b[31mX")], false);
        assert!(verdict.to_string().contains("port of bridge b\\u{1b}[31mX,"), "{verdict}");
        for kind in ["openvswitch", "vrf", ""] {
            assert_eq!(default.verdict(&port(kind), &[], false), Verdict::Default, "{kind:?}");
        }
    }

    #[test]
    fn what_is_watched_stays_watched_while_it_is_down() {
        let down = Interface { up: false, ..ethernet(2, "eth0") };
        assert_eq!(selection(&[], &[]).verdict(&down, &[], true), Verdict::Default);
    }

    #[test]
    fn names_and_patterns_take_ports_and_what_is_down() {
        let named = selection(&["eth0"], &[]);
        assert_eq!(named.verdict(&port("bridge"), &[], false), Verdict::Named);
        assert_eq!(
            named.verdict(&Interface { up: false, ..ethernet(2, "eth0") }, &[], false),
            Verdict::Named
        );
        assert!(why_not(&named, &ethernet(3, "eth1")).contains("not asked for"));
        let matched = selection(&["eth[0-9]"], &[]);
        assert_eq!(matched.verdict(&port("bridge"), &[], false), Verdict::Matched("eth[0-9]".to_owned()));
        assert!(why_not(&matched, &Interface { loopback: true, ..ethernet(1, "eth1") }).contains("loopback"));
    }

    #[test]
    fn exclusion_wins() {
        assert!(why_not(&selection(&[], &["veth*"]), &ethernet(2, "veth7")).contains("excluded by veth*"));
        assert!(why_not(&selection(&["e*"], &["eth0"]), &ethernet(2, "eth0")).contains("excluded"));
    }

    #[test]
    fn names_alone_can_be_asked_about() {
        for (include, exclude, taken) in [
            (&[][..], &[][..], true),
            (&["e*"], &[], true),
            (&["eth0"], &["e*"], false),
            (&["wg0"], &[], false),
        ] {
            assert_eq!(selection(include, exclude).takes("eth0"), taken, "{include:?} {exclude:?}");
        }
    }

    #[test]
    fn patterns_that_lead_to_nothing_are_known() {
        let selection = selection(&["eth*", "enp[0-9]*", "veth*", "wg0"], &["veth*"]);
        let interfaces = [ethernet(2, "eth0"), ethernet(3, "veth7")];
        let idle: Vec<_> = selection.idle_patterns(&interfaces).map(ToString::to_string).collect();
        assert_eq!(idle, ["enp[0-9]*", "veth*"]);
    }

    #[test]
    fn malformed_patterns_are_told() {
        for (text, part) in [
            ("eth[", "character"),
            ("a***", "wildcards"),
            (
                "a-name-too-long-for-linux",
                "15 bytes; if this is another name of one (altname), `ip link show a-name-",
            ),
            ("..", "no interface can have"),
            ("eth 0", "white space"),
            ("a/b", "'/'"),
        ] {
            let error = NamePattern::new(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
