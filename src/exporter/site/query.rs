//! What a person or a program asks of the sources: filters, order, which part. The API and the page take the same.

use crate::address::AddressType;

use super::form;

/// Most sources of one answer: the most that there are by design, so that one may ask for all at once.
pub(super) const MOST: usize = 65_536;

/// Most characters of a text to search for.
const LONGEST_TEXT: usize = 256;

/// See the module's docs. What is not asked for is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// On one of these; on any if there are none.
    pub(super) interfaces: Vec<String>,
    pub(super) known: Option<bool>,
    /// Part of an address, a name or a vendor.
    pub(super) text: String,
    pub(super) address_type: Option<AddressType>,
    pub(super) sort: Sort,
    pub(super) limit: Option<usize>,
    pub(super) offset: usize,
}

/// An order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sort {
    pub(super) key: Key,
    /// The other way round.
    pub(super) descending: bool,
}

/// What sources are ordered by. Those that are alike in it are in order of interface and address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Key {
    /// Unknown ones first, then the newest: what a person comes to see.
    #[default]
    Unknown,
    LastSeen,
    FirstSeen,
    Frames,
    Bytes,
    SourceMac,
    Name,
}

impl Key {
    const ALL: [Self; 7] = [
        Self::Unknown,
        Self::LastSeen,
        Self::FirstSeen,
        Self::Frames,
        Self::Bytes,
        Self::SourceMac,
        Self::Name,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::LastSeen => "last_seen",
            Self::FirstSeen => "first_seen",
            Self::Frames => "frames",
            Self::Bytes => "bytes",
            Self::SourceMac => "source_mac",
            Self::Name => "name",
        }
    }
}

impl Sort {
    /// As a parameter says it.
    pub(super) fn text(self) -> String {
        format!("{}{}", if self.descending { "-" } else { "" }, self.key.as_str())
    }

    fn parse(text: &str) -> Option<Self> {
        let (descending, name) = text.strip_prefix('-').map_or((false, text), |name| (true, name));
        let key = Key::ALL.into_iter().find(|key| key.as_str() == name)?;
        Some(Self { key, descending })
    }
}

/// A parameter that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) parameter: String,
    pub(super) value: String,
    /// What would.
    pub(super) allowed: String,
}

const PARAMETERS: &str = "interface, known, q, address_type, sort, limit, offset";

impl Query {
    /// Takes a query apart. What a form has fields for counts as absent if it is empty: all of them are sent.
    ///
    /// # Errors
    ///
    /// The first parameter that makes no sense.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let mut query = Self::default();
        let mut taken = Vec::new();
        for (parameter, value) in form::pairs(text) {
            let wrong = |allowed: &str| {
                let (parameter, value, allowed) = (parameter.clone(), value.clone(), allowed.to_owned());
                Err(Wrong { parameter, value, allowed })
            };
            if !PARAMETERS.split(", ").any(|known| known == parameter) {
                return wrong(&format!("these parameters: {PARAMETERS}"));
            }
            if value.is_empty() && !["limit", "offset"].contains(&parameter.as_str()) {
                continue;
            }
            if parameter == "interface" {
                query.interfaces.push(value);
                continue;
            }
            if taken.contains(&parameter) {
                return wrong("each parameter once, but for interface");
            }
            match parameter.as_str() {
                "known" => match value.as_str() {
                    "true" => query.known = Some(true),
                    "false" => query.known = Some(false),
                    _ => return wrong("true or false"),
                },
                "q" if value.chars().count() > LONGEST_TEXT => return wrong("at most 256 characters"),
                "q" => query.text.clone_from(&value),
                "address_type" => match AddressType::ALL.into_iter().find(|kind| kind.as_str() == value) {
                    Some(kind) => query.address_type = Some(kind),
                    None => return wrong(&AddressType::ALL.map(AddressType::as_str).join(", ")),
                },
                "sort" => match Sort::parse(&value) {
                    Some(sort) => query.sort = sort,
                    None => {
                        let keys = Key::ALL.map(Key::as_str).join(", ");
                        return wrong(&format!("{keys}; with - before it for the other way round"));
                    }
                },
                "limit" => match value.parse() {
                    Ok(limit @ 1..=MOST) if is_plain(&value) => query.limit = Some(limit),
                    _ => return wrong(&format!("a whole number from 1 to {MOST}")),
                },
                _ => match value.parse::<u32>() {
                    Ok(offset) if is_plain(&value) => query.offset = offset as usize,
                    _ => return wrong(&format!("a whole number from 0 to {}", u32::MAX)),
                },
            }
            taken.push(parameter);
        }
        Ok(query)
    }

    /// The same as a query text; what is as it is anyway is left out.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut push = |name, value: &str| form::push_pair(&mut text, name, value);
        self.interfaces.iter().for_each(|interface| push("interface", interface));
        if let Some(known) = self.known {
            push("known", if known { "true" } else { "false" });
        }
        if !self.text.is_empty() {
            push("q", &self.text);
        }
        if let Some(kind) = self.address_type {
            push("address_type", kind.as_str());
        }
        if self.sort != Sort::default() {
            push("sort", &self.sort.text());
        }
        if let Some(limit) = self.limit {
            push("limit", &limit.to_string());
        }
        if self.offset > 0 {
            push("offset", &self.offset.to_string());
        }
        text
    }

    /// Whether it leaves any source out.
    pub(super) fn filters(&self) -> bool {
        let Self { interfaces, known, text, address_type, .. } = self;
        !interfaces.is_empty() || known.is_some() || !text.is_empty() || address_type.is_some()
    }
}

/// Digits alone: `+1` is a number too for Rust, but not on the web.
fn is_plain(number: &str) -> bool {
    number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_asked_for_by_nothing() {
        for text in ["", "q=&known=&interface=&sort=&address_type="] {
            assert_eq!(Query::parse(text), Ok(Query::default()), "{text}");
        }
        assert!(!Query::default().filters());
    }

    #[test]
    fn each_parameter_says_its_part() {
        let text = "interface=eth0&interface=a%26b&known=false&q=Acme+Inc&address_type=local&sort=-frames&\
                    limit=65536&offset=4294967295";
        let query = Query::parse(text).unwrap();
        let expected = Query {
            interfaces: vec!["eth0".to_owned(), "a&b".to_owned()],
            known: Some(false),
            text: "Acme Inc".to_owned(),
            address_type: Some(AddressType::Local),
            sort: Sort { key: Key::Frames, descending: true },
            limit: Some(65_536),
            offset: 4_294_967_295,
        };
        assert_eq!(query, expected);
        assert!(query.filters());
    }

    #[test]
    fn what_makes_no_sense_is_named_with_what_would() {
        for (text, parameter, value, allowed) in [
            ("known=maybe", "known", "maybe", "true or false"),
            ("limit=0", "limit", "0", "from 1 to 65536"),
            ("limit=65537", "limit", "65537", "from 1 to 65536"),
            ("offset=", "offset", "", "from 0 to 4294967295"),
            ("limit=%2B1", "limit", "+1", "from 1 to 65536"),
            ("offset=-1", "offset", "-1", "from 0 to 4294967295"),
            ("sort=colour", "sort", "colour", "last_seen, first_seen"),
            ("sort=--name", "sort", "--name", "with - before it"),
            ("address_type=x%3Cy", "address_type", "x<y", "virtual_router"),
            ("intreface=eth0", "intreface", "eth0", "interface, known, q"),
            ("q=a&q=b", "q", "b", "once"),
        ] {
            let wrong = Query::parse(text).unwrap_err();
            assert_eq!((&*wrong.parameter, &*wrong.value), (parameter, value));
            assert!(wrong.allowed.contains(allowed), "{text}: {}", wrong.allowed);
        }
        assert!(Query::parse(&format!("q={}", "x".repeat(257))).is_err());
    }

    fn any_query() -> impl Strategy<Value = Query> {
        (
            proptest::collection::vec("\\PC{1,15}", 0..3),
            any::<Option<bool>>(),
            "\\PC{0,20}",
            proptest::option::of(proptest::sample::select(AddressType::ALL.to_vec())),
            (proptest::sample::select(Key::ALL.to_vec()), any::<bool>()),
            proptest::option::of(1..=MOST),
            any::<u32>(),
        )
            .prop_map(|(interfaces, known, text, address_type, (key, descending), limit, offset)| {
                Query {
                    interfaces,
                    known,
                    text,
                    address_type,
                    sort: Sort { key, descending },
                    limit,
                    offset: offset as usize,
                }
            })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(query in any_query()) {
            prop_assert_eq!(Query::parse(&query.text()), Ok(query));
        }

        #[test]
        fn no_query_is_too_odd(text in "(q|known|sort|limit|offset|interface|address_type|[%&=+\\PC]){0,12}") {
            if let Ok(query) = Query::parse(&text) {
                prop_assert_eq!(Query::parse(&query.text()), Ok(query));
            }
        }
    }
}
